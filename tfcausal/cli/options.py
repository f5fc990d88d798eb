"""`--set name=value` into the frozen dataclasses that hold options."""

import dataclasses
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from tfcausal.errors import InputError, unknown_name

_Options = TypeVar("_Options")


def parse_settings(settings: Iterable[str]) -> dict[str, str]:
    """Splits `name=value` texts.

    Raises:
        InputError: If a text has another form, or a name stands twice.
    """
    parsed: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (name and equals):
            raise InputError(f"`--set` must be name=value; got {setting}.")
        if name in parsed:
            raise InputError(f"`--set {name}` must be given once; got it twice.")
        parsed[name] = value
    return parsed


def build_options(
    classes: Sequence[type[Any]], settings: dict[str, str], **fixed: Any
) -> list[Any]:
    """Builds options from texts; each name goes to the classes that have it.

    Args:
        classes: Dataclasses of options.
        settings: Name to text, as `parse_settings` gives them.
        **fixed: Values that have options of their own on the command line.
    Returns:
        An instance of each class.
    Raises:
        InputError: If no class has a name, or a text does not fit the field's type.
    """
    fields = {
        field.name: typing.get_type_hints(cls)[field.name]
        for cls in classes
        for field in dataclasses.fields(cls)
    }
    for name in settings:
        if name in fixed:
            raise InputError(f"`--set {name}` must be given as --{name}={fixed[name]}.")
        if name not in fields:
            raise unknown_name("option", name, fields)
    values = {name: _parse(name, text, fields[name]) for name, text in settings.items()}
    values |= fixed
    return [
        cls(
            **{
                field.name: values[field.name]
                for field in dataclasses.fields(cls)
                if field.name in values
            }
        )
        for cls in classes
    ]


def describe_options(cls: type[Any]) -> str:
    """Returns a line for each option of a dataclass: name, default and meaning."""
    meanings = _documented(cls.__doc__ or "")
    return "\n".join(
        f"  {field.name}={field.default}  {meanings.get(field.name, '')}".rstrip()
        for field in dataclasses.fields(cls)
    )


def _documented(docstring: str) -> dict[str, str]:
    """Reads the Attributes section of a Google docstring."""
    meanings: dict[str, str] = {}
    name = ""
    lines = docstring.partition("Attributes:\n")[2].splitlines()
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if indent == 8 and ":" in line:
            name, _, meaning = line.strip().partition(":")
            meanings[name] = meaning.strip()
        elif indent > 8 and name:
            meanings[name] += " " + line.strip()
    return meanings


def _parse(name: str, text: str, kind: Any) -> Any:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        if text.lower() == "none":
            return None
        (kind,) = [choice for choice in typing.get_args(kind) if choice is not type(None)]
    if typing.get_origin(kind) is typing.Literal:
        choices = typing.get_args(kind)
        if text not in choices:
            raise InputError(
                f"`{name}` must be one of {', '.join(choices)}; got {text}."
            )
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise InputError(f"`{name}` must be true or false; got {text}.")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError as error:
        raise InputError(
            f"`{name}` must be of type {kind.__name__}; got {text}."
        ) from error
