"""Methods by name."""

import pytest

from tfcausal import methods
from tfcausal.errors import InputError


def test_a_misspelt_name_is_told_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean `dice`"):
        methods.get("dcie")


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="`mf` is taken"):
        methods.register("mf")(methods.get("dice"))
    assert methods.get("dice").registered_name == "dice"


def test_names_are_sorted_and_documented() -> None:
    assert methods.names() == sorted(methods.names())
    assert {"dice", "mf"} <= set(methods.names())
