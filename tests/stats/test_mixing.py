"""splitmix64 against its published reference, and the laws that draws rest on."""

import numpy as np
import pytest

from tfcausal.stats import mixing


def _splitmix64(state: int) -> tuple[int, int]:
    """The published generator, one step in plain Python."""
    state = (state + 0x9E3779B97F4A7C15) % 2**64
    word = state
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % 2**64
    return state, word ^ (word >> 31)


def test_first_outputs_from_seed_zero_are_the_published_ones() -> None:
    words = mixing.draws(np.zeros(1, np.uint64), np.arange(3))
    assert [int(word) for word in words] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]


@pytest.mark.parametrize("start", [0, 1, 2**63, 2**64 - 1])
def test_draws_are_the_generator_started_at_the_key(start: int) -> None:
    state, expected = start, []
    for _ in range(5):
        state, word = _splitmix64(state)
        expected.append(word)
    found = mixing.draws(np.asarray([start], np.uint64), np.arange(5))
    assert [int(word) for word in found] == expected


def test_keys_do_not_depend_on_order_or_on_company() -> None:
    users = np.arange(1000, dtype=np.int32)
    items = np.arange(1000, dtype=np.int32)[::-1].copy()
    start = mixing.stream(3, "test", 2)
    whole = mixing.keys(start, users, items)
    order = np.argsort(whole)
    assert np.array_equal(mixing.keys(start, users[order], items[order]), whole[order])
    assert np.array_equal(mixing.keys(start, users[:7], items[:7]), whole[:7])


def test_occurrence_zero_is_the_key_without_occurrences() -> None:
    users = np.asarray([4, 4, 4], np.int32)
    items = np.asarray([9, 9, 9], np.int32)
    start = mixing.stream(0, "test")
    keys = mixing.keys(start, users, items, np.asarray([0, 1, 2], np.int32))
    assert keys[0] == mixing.keys(start, users[:1], items[:1])[0]
    assert len(set(keys.tolist())) == 3


def test_streams_differ_by_seed_purpose_and_epoch() -> None:
    starts = {
        mixing.stream(seed, purpose, epoch)
        for seed in (-1, 0, 1)
        for purpose in ("negatives", "order")
        for epoch in range(5)
    }
    assert len(starts) == 30


def test_uniforms_fill_the_interval_evenly() -> None:
    users = np.repeat(np.arange(400, dtype=np.int32), 250)
    items = np.tile(np.arange(250, dtype=np.int32), 400)
    values = mixing.uniforms(mixing.keys(mixing.stream(5, "test"), users, items))
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.histogram(values, bins=100, range=(0, 1))[0]
    chi_square = ((counts - 1000) ** 2 / 1000).sum()
    # 99 degrees of freedom: mean 99, deviation 14; beyond 170 has p < 1e-5.
    assert 40 < chi_square < 170
