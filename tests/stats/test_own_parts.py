"""Searches in parts of an array against counting one by one."""

import numpy as np
import pytest

from tfcausal.stats.own_parts import count_upto


@pytest.mark.parametrize("seed", range(4))
def test_counts_are_those_of_a_loop(seed: int) -> None:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(0, 20, 30)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    parts = [np.sort(generator.integers(-9, 9, length)) for length in lengths]
    chosen = generator.integers(0, 30, 50)
    bounds = generator.integers(-12, 12, (50, 3))
    found = count_upto(np.concatenate(parts), starts[chosen], ends[chosen], bounds)
    for row, part in enumerate(chosen):
        expected = [int(sum(parts[part] <= bound)) for bound in bounds[row]]
        assert found[row].tolist() == expected


def test_of_empty_parts_nothing_is_counted() -> None:
    places = np.asarray([0, 1, 1])
    found = count_upto(np.asarray([5]), places, places, np.full((3, 2), 9))
    assert found.tolist() == [[0, 0]] * 3
