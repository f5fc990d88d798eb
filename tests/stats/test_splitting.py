"""Weights, keys and sizes of a split, against sampling step by step."""

import numpy as np
import pytest

from tfcausal.errors import InputError
from tfcausal.stats.splitting import (
    capped_weights,
    part_ends,
    part_keys,
    pool_keys,
    require_shares,
    row_words,
)


def test_weights_by_hand() -> None:
    # Distinct inverse popularities .1, .2, .5, 1 (item 3 and 4 share one). The 50th
    # percentile lies halfway between .2 and .5.
    counts = np.asarray([0, 10, 5, 2, 2, 1])
    weights = capped_weights(counts, 50)
    assert np.allclose(weights, [0, 0.1, 0.2, 0.35, 0.35, 0.35])
    assert np.allclose(capped_weights(counts, 100), [0, 0.1, 0.2, 0.5, 0.5, 1])


def test_pool_has_the_inclusion_probabilities_of_weighted_sampling() -> None:
    # 12 rows of three weights; 5 are drawn. The oracle draws one after the other, with
    # probability by weight among what is left.
    users, items = np.repeat(np.arange(1, 4), 4), np.tile(np.arange(1, 5), 3)
    weights = np.asarray([0.0, 1.0, 0.5, 0.25, 0.05])[items]
    trials, drawn = 6_000, 5
    included = np.zeros(12)
    for seed in range(trials):
        keys = pool_keys(row_words(seed, users, items, None), weights)
        included[np.argsort(keys)[:drawn]] += 1
    generator = np.random.default_rng(5)
    expected = np.zeros(12)
    for _ in range(trials):
        p = weights / weights.sum()
        expected[generator.choice(12, drawn, replace=False, p=p)] += 1
    # Rows of an item are alike, so the oracle's counts are averaged over them.
    expected = np.asarray([expected[items == item].mean() for item in items])
    variance = expected * (1 - expected / trials) * (1 + 1 / 3)
    chi_square = ((included - expected) ** 2 / variance).sum()
    # 11 degrees of freedom: 37 is passed once in 10,000.
    assert chi_square < 37


def test_part_of_a_row_does_not_depend_on_its_place_in_the_pool() -> None:
    users, items = np.repeat(np.arange(1, 201), 50), np.tile(np.arange(1, 51), 200)
    words = row_words(0, users, items, None)
    pool, part = pool_keys(words, np.ones(len(users))), part_keys(words)
    correlation = np.corrcoef(
        np.argsort(np.argsort(pool)), np.argsort(np.argsort(part))
    )
    assert abs(correlation[0, 1]) < 0.04


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
