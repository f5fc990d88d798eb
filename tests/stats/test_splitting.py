"""Weights, keys and sizes of a split, against drawing one row after the other."""

from itertools import permutations

import numpy as np
import pytest

from tfcausal.errors import InputError
from tfcausal.stats.splitting import (
    capped_weights,
    part_ends,
    part_keys,
    pool_keys,
    require_shares,
    resampling_keys,
    row_words,
    time_keys,
    user_words,
)


def test_weights_by_hand() -> None:
    # Distinct inverse popularities .1, .2, .5, 1 (item 3 and 4 share one). The 50th
    # percentile lies halfway between .2 and .5.
    counts = np.asarray([0, 10, 5, 2, 2, 1])
    weights = capped_weights(counts, 50)
    assert np.allclose(weights, [0, 0.1, 0.2, 0.35, 0.35, 0.35])
    assert np.allclose(capped_weights(counts, 100), [0, 0.1, 0.2, 0.5, 0.5, 1])


def exact_chances(weights: list[float], drawn: int) -> dict[frozenset[int], float]:
    """Returns the chance of each set of rows, drawing one after the other."""
    chances: dict[frozenset[int], float] = {}
    for order in permutations(range(len(weights)), drawn):
        left, chance = sum(weights), 1.0
        for row in order:
            chance *= weights[row] / left
            left -= weights[row]
        chances[frozenset(order)] = chances.get(frozenset(order), 0.0) + chance
    return chances


def test_pool_has_the_exact_chances_of_drawing_one_row_after_the_other() -> None:
    # 40,000 populations of 6 rows of three weights, a user each; 3 rows are drawn.
    trials, weights = 40_000, [1.0, 1.0, 0.5, 0.5, 0.1, 0.1]
    users = np.repeat(np.arange(1, trials + 1), 6)
    items = np.tile(np.arange(1, 7), trials)
    keys = pool_keys(row_words(7, users, items, None), np.tile(weights, trials))
    chosen = np.argsort(keys.reshape(trials, 6))[:, :3]
    codes, counts = np.unique((1 << chosen).sum(axis=1), return_counts=True)
    found = dict(zip(codes.tolist(), counts.tolist(), strict=True))
    chi_square = 0.0
    chances = exact_chances(weights, 3)
    assert sum(chances.values()) == pytest.approx(1)
    for rows, chance in chances.items():
        count = found.get(sum(1 << row for row in rows), 0)
        chi_square += (count - trials * chance) ** 2 / (trials * chance)
    # 20 sets, so 19 degrees of freedom: 50.8 is passed once in 10,000.
    assert chi_square < 50.8


def test_part_of_a_row_does_not_depend_on_its_place_in_the_pool() -> None:
    users, items = np.repeat(np.arange(1, 201), 50), np.tile(np.arange(1, 51), 200)
    words = row_words(0, users, items, None)
    pool, part = pool_keys(words, np.ones(len(users))), part_keys(words)
    correlation = np.corrcoef(
        np.argsort(np.argsort(pool)), np.argsort(np.argsort(part))
    )
    assert abs(correlation[0, 1]) < 0.04


def test_resampling_keys_come_in_two_groups() -> None:
    users, items = np.arange(1, 5_001), np.ones(5_000, int)
    words, last = row_words(0, users, items, None), users % 3 == 0
    keys = resampling_keys(words, last)
    assert keys[~last].max() < keys[last].min()
    assert len(np.unique(keys)) == 5_000


def test_time_keys_fill_their_leading_bits() -> None:
    words = np.asarray([0, 2**64 - 1, 2**63, 5], np.uint64)
    times = np.asarray([10, 10, 11, 13])
    # A span of 3 takes two bits; the words are shifted below them.
    expected = [0, 2**62 - 1, 2**62 + 2**61, 2**63 + 2**62 + 1]
    assert time_keys(times, words, 10, 13).tolist() == expected


def test_users_have_words_of_their_own() -> None:
    users = np.arange(100_000)
    assert len(np.unique(user_words(0, users))) == 100_000
    assert not np.isin(user_words(1, users), user_words(0, users)).any()


def test_words_differ_by_seed_and_occurrence_only_where_they_should() -> None:
    users, items = np.asarray([1, 1, 2]), np.asarray([3, 3, 3])
    met = np.asarray([0, 1, 0])
    words = row_words(0, users, items, met)
    assert len(set(words.tolist())) == 3
    assert np.array_equal(row_words(0, users[::-1], items, met[::-1]), words[::-1])
    assert not np.isin(row_words(1, users, items, met), words).any()


@pytest.mark.parametrize("total", [0, 1, 7, 10, 1_001])
def test_sizes_sum_up_and_are_off_by_less_than_one(total: int) -> None:
    shares = (0.25, 0.25, 0.5)
    ends = part_ends(total, shares)
    sizes = np.diff([0, *ends])
    assert sizes.sum() == total
    assert (np.abs(sizes - np.asarray(shares) * total) <= 1).all()


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.5, 0.6, -0.1), (0.3, 0.3, 0.3)])
def test_shares_that_do_not_sum_to_one_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="`fractions` must be 3 shares"):
        require_shares("fractions", shares, 3)
