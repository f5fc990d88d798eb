"""Methods by name. A method's decorator is its registration."""

from collections.abc import Callable
from typing import TypeVar

from tfcausal.errors import unknown_name
from tfcausal.methods.base import Method

_METHODS: dict[str, type[Method]] = {}
_Class = TypeVar("_Class", bound=type[Method])


def register(name: str) -> Callable[[_Class], _Class]:
    """Registers a method's class under the name that command lines use.

    Raises:
        ValueError: If the name is taken.
    """

    def add(method: _Class) -> _Class:
        if name in _METHODS:
            raise ValueError(f"Method names must be unique; `{name}` is taken.")
        _METHODS[name] = method
        method.registered_name = name
        return method

    return add


def get(name: str) -> type[Method]:
    """Returns a method's class.

    Raises:
        InputError: If there is none of that name; it names the nearest.
    """
    if name not in _METHODS:
        raise unknown_name("method", name, _METHODS)
    return _METHODS[name]


def names() -> list[str]:
    """Returns the names of all methods, sorted."""
    return sorted(_METHODS)
