"""Options as frozen dataclasses: help from the docstring, values from text."""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any

from tfcausal.errors import InputError
from tfcausal.schema.paths import as_path


def field_types(cls: type[Any]) -> dict[str, Any]:
    """Returns the type of each field of a dataclass."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def field_meanings(cls: type[Any]) -> dict[str, str]:
    """Reads what each field means from the Attributes of a class and its bases."""
    meanings: dict[str, str] = {}
    for described in reversed(cls.__mro__):
        meanings |= _described(described.__doc__ or "")
    return meanings


def _described(docstring: str) -> dict[str, str]:
    meanings: dict[str, str] = {}
    name = ""
    for line in docstring.partition("Attributes:\n")[2].splitlines():
        indent = len(line) - len(line.lstrip())
        if indent == 8 and ":" in line:
            name, _, meaning = line.strip().partition(":")
            meanings[name] = meaning.strip()
        elif indent > 8 and name:
            meanings[name] += " " + line.strip()
    return meanings


def parse_value(name: str, text: str, kind: Any) -> Any:
    """Turns a text into a value of a field's type.

    Args:
        name: The option's name, for the message.
        text: Such as "3", "true", "none" where the type allows None, or "0.7,0.3" for
            a tuple.
        kind: int, float, str, bool, Path, Literal, tuple[T, ...], or such | None.
    Raises:
        InputError: If the text does not fit.
    """
    origin, choices = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if text.lower() == "none":
            return None
        (kind,) = [choice for choice in choices if choice is not types.NoneType]
        return parse_value(name, text, kind)
    if origin is typing.Literal:
        if text not in choices:
            raise InputError(
                f"`{name}` must be one of {', '.join(choices)}; got {text}."
            )
        return text
    if origin is tuple:
        return tuple(parse_value(name, part, choices[0]) for part in text.split(","))
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise InputError(f"`{name}` must be true or false; got {text}.")
        return text.lower() == "true"
    if kind is Path:
        # Only a path with a scheme must not become a pathlib.Path, which joins slashes.
        return as_path(text) if "://" in text else Path(text)
    try:
        return kind(text)
    except ValueError as error:
        raise InputError(
            f"`{name}` must be of type {kind.__name__}; got {text}."
        ) from error
