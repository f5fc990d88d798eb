"""The logarithm that is the same on every machine, against the C library's."""

import math

import numpy as np

from tfcausal.stats.logarithm import log


def test_is_within_two_units_in_the_last_place() -> None:
    generator = np.random.default_rng(0)
    values = np.concatenate(
        [
            generator.random(2_000),
            generator.random(2_000) ** 30 + 1e-300,
            1 - generator.random(2_000) * 1e-9,
            [2.0**-54, 1 - 2.0**-53, 0.5, math.sqrt(0.5), 1e300],
        ]
    )
    expected = np.asarray([math.log(value) for value in values])
    assert (np.abs(log(values) - expected) <= 2 * np.spacing(np.abs(expected))).all()


def test_one_is_exact() -> None:
    assert log(np.asarray([1.0])).tolist() == [0.0]
