"""The stable order is numpy's, whatever way it is found."""

import numpy as np
import pytest

from tfcausal.stats.sorting import stable_order


@pytest.mark.parametrize("end", [1, 7, 1 << 16, (1 << 16) + 1, 1 << 31])
@pytest.mark.parametrize("size", [0, 1, 2, 1_000, 1_025])
def test_as_numpy(end: int, size: int) -> None:
    generator = np.random.default_rng(size)
    codes = generator.integers(0, end, size).astype(np.int32)
    codes[: size // 3] = codes[size // 3 : 2 * (size // 3)]
    assert np.array_equal(stable_order(codes), np.argsort(codes, kind="stable"))
