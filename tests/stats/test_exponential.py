"""The machine-independent exponential, against the standard library's."""

import math

import numpy as np
import pytest

from tfcausal.stats.exponential import exp, powers


def test_within_one_unit_in_the_last_place() -> None:
    values = np.random.default_rng(0).uniform(-700, 700, 5_000)
    expected = np.asarray([math.exp(value) for value in values])
    assert (np.abs(exp(values) - expected) <= np.spacing(expected)).all()


def test_ends() -> None:
    found = exp(np.asarray([0.0, -0.0, -np.inf, -1e300, -800.0]))
    assert found.tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("exponent", [0.02, 0.5, 1.0, 3.0, -0.25])
def test_powers(exponent: float) -> None:
    bases = np.random.default_rng(1).uniform(1e-3, 1e3, 500)
    expected = [base**exponent for base in bases.tolist()]
    assert powers(bases, exponent) == pytest.approx(expected, rel=1e-14)
    assert powers(np.ones(1), exponent).tolist() == [1.0]
