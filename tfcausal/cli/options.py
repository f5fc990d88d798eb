"""`--set name=value` into the frozen dataclasses that hold options."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import click

from tfcausal.errors import InputError, unknown_name
from tfcausal.schema.options import field_meanings, field_types, parse_value


def parse_settings(settings: Iterable[str], flag: str = "--set") -> dict[str, str]:
    """Splits `name=value` texts.

    Args:
        settings: The texts.
        flag: The option that they were given as, for the message.
    Raises:
        InputError: If a text has another form, or a name stands twice.
    """
    parsed: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (name and equals):
            raise InputError(f"`{flag}` must be name=value; got {setting}.")
        if name in parsed:
            raise InputError(f"`{flag} {name}` must be given once; got it twice.")
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
    fields = {name: kind for cls in classes for name, kind in field_types(cls).items()}
    for name, text in settings.items():
        if name in fixed:
            raise InputError(f"`--set {name}` must be given as --{name}={text}.")
        if name not in fields:
            raise unknown_name("option", name, fields)
    values = {
        name: parse_value(name, text, fields[name]) for name, text in settings.items()
    }
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


def write_options(
    formatter: click.HelpFormatter,
    title: str,
    cls: type[Any],
    *,
    besides: type[Any] | None = None,
) -> None:
    """Writes the options of a dataclass, as `--set` takes them, with their meanings.

    Args:
        formatter: Where to.
        title: Title of the section.
        cls: The dataclass.
        besides: A base whose options are written elsewhere; those with another default
            are written here too.
    """
    known = dict(_defaults(besides)) if besides else {}
    meanings = field_meanings(cls)
    rows = [
        (f"{name}={_as_set(default)}", meanings.get(name, ""))
        for name, default in _defaults(cls)
        if name not in known or default != known[name]
    ]
    with formatter.section(title):
        formatter.write_dl(rows or [("none", "")])


def _defaults(cls: type[Any]) -> list[tuple[str, Any]]:
    return [(field.name, field.default) for field in dataclasses.fields(cls)]


def _as_set(value: Any) -> str:
    """Returns a value as `parse_value` reads it."""
    if isinstance(value, tuple):
        return ",".join(map(_as_set, value))
    return (
        str(value).lower() if value is None or isinstance(value, bool) else str(value)
    )
