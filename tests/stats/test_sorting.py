"""The stable order is numpy's, whatever way it is found."""

import numpy as np
import numpy.typing as npt
import pytest

from tfcausal.stats.sorting import distinct, key_order, repeated, stable_order

ENDS = [1, 7, 1 << 16, (1 << 16) + 1, 1 << 31, 1 << 53, 1 << 63]
SIZES = [0, 1, 2, 1_000, 1_025]


def some_codes(end: int, size: int) -> npt.NDArray[np.int64]:
    generator = np.random.default_rng(size)
    codes = generator.integers(0, end, size)
    codes[: size // 3] = codes[size // 3 : 2 * (size // 3)]
    return codes.astype(np.int32 if end <= 1 << 31 else np.int64)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("size", SIZES)
def test_as_numpy(end: int, size: int) -> None:
    codes = some_codes(end, size)
    assert np.array_equal(stable_order(codes), np.argsort(codes, kind="stable"))


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("size", SIZES)
def test_repeated_against_a_dictionary(end: int, size: int) -> None:
    codes = some_codes(end, size)
    found: dict[int, list[int]] = {}
    for place, code in enumerate(codes.tolist()):
        found.setdefault(code, []).append(place)
    groups = [found[code] for code in sorted(found) if len(found[code]) > 1]
    places, follows = repeated(codes)
    assert places.tolist() == [place for group in groups for place in group]
    expected = [number > 0 for group in groups for number in range(len(group))]
    assert follows.tolist() == expected


@pytest.mark.parametrize("end", [1, 1 << 20, 1 << 60])
@pytest.mark.parametrize("size", SIZES)
def test_order_of_keys_as_numpy(end: int, size: int) -> None:
    # Keys that differ in their last bits only, in their first, and equal ones.
    keys = np.random.default_rng(size).integers(0, end, size, np.uint64)
    keys[size // 2 :] <<= np.uint64(4)
    assert np.array_equal(key_order(keys), np.argsort(keys, kind="stable"))


@pytest.mark.parametrize("num", [0, 1, 2, 1_000])
def test_distinct_values(num: int) -> None:
    values = np.random.default_rng(num).integers(-50, 50, num)
    assert distinct(values).tolist() == sorted(set(values.tolist()))
