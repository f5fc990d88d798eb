"""Options that methods share: weights of terms."""

from dataclasses import fields
from math import inf, nan

import pytest

from tfcausal import methods
from tfcausal.errors import InputError

WEIGHTS = [
    (name, option.name)
    for name in methods.names()
    for option in fields(methods.get(name).options_class)
    if option.name.endswith("_weight")
]


@pytest.mark.parametrize(("method", "option"), WEIGHTS)
@pytest.mark.parametrize("weight", [-0.1, nan, inf])
def test_a_term_must_have_a_finite_weight(
    method: str, option: str, weight: float
) -> None:
    make = methods.get(method).options_class
    assert getattr(make(**{option: 0.0}), option) == 0
    with pytest.raises(InputError, match=f"`{option}` must be a number >= 0; got "):
        make(**{option: weight})


def test_methods_with_several_terms_have_weights() -> None:
    assert {"dice", "dccl", "macr", "cause", "causerec"} == {
        method for method, _ in WEIGHTS
    }
