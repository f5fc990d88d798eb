"""The hash that decides a user's shard."""

import numpy as np
import pyarrow as pa
import pytest

from tfcausal.stats.hashing import hash_strings, shards_of

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15


def plain_mix(word: int) -> int:
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)


def plain_hash(text: str) -> int:
    content = text.encode()
    state = plain_mix(len(content) * _GAMMA & _MASK)
    for first in range(0, len(content), 8):
        word = int.from_bytes(content[first : first + 8], "little")
        state = plain_mix((state * _GAMMA + word) & _MASK)
    return state


TEXTS = ["a", "b", "ab", "12345678", "123456789", "é", "日本語のユーザー", "x" * 100]


def test_is_the_documented_hash() -> None:
    assert hash_strings(pa.array(TEXTS)).tolist() == [plain_hash(t) for t in TEXTS]


def test_does_not_depend_on_neighbours_or_slices() -> None:
    whole = hash_strings(pa.array(TEXTS))
    assert np.array_equal(hash_strings(pa.array(["other", *TEXTS])[1:]), whole)
    assert hash_strings(pa.array([], pa.string())).tolist() == []
    assert np.array_equal(hash_strings(pa.array(TEXTS, pa.large_string())), whole)


@pytest.mark.parametrize("num_shards", [1, 3, 16])
def test_spreads_consecutive_ids_evenly(num_shards: int) -> None:
    shards = shards_of(pa.array([str(number) for number in range(20_000)]), num_shards)
    counts = np.bincount(shards, minlength=num_shards)
    expected = 20_000 / num_shards
    chi_square = ((counts - expected) ** 2 / expected).sum()
    # 15 degrees of freedom: 44 is passed once in 10,000.
    assert chi_square < 44
