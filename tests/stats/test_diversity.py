"""Diverse lists as the formula fills them, one user and one place after the other."""

from itertools import combinations

import numpy as np
import pytest

from tfcausal.errors import InputError
from tfcausal.stats.concepts import NO_VALUE, MultiHot
from tfcausal.stats.diversity import (
    NONE_LEFT,
    diversified,
    pair_diversity,
)

LISTS, CANDIDATES, K = 40, 12, 7


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """Up to three values of each candidate; some have none."""
    generator = np.random.default_rng(0)
    found = np.full((LISTS, CANDIDATES, 3), NO_VALUE, np.int32)
    for place in np.ndindex(LISTS, CANDIDATES):
        own = generator.choice(5, generator.integers(0, 4), replace=False)
        found[place][: len(own)] = own
    return found


@pytest.fixture(scope="module")
def scores() -> np.ndarray:
    # Halves, so that gains are often equal.
    drawn = np.random.default_rng(1).integers(-6, 7, (LISTS, CANDIDATES)) / 2
    found = -np.sort(-drawn, axis=1).astype(np.float32)
    found[3, 5:] = -np.inf
    return found


def sets(values: np.ndarray) -> list[set[int]]:
    return [set(one.tolist()) - {NO_VALUE} for one in values]


@pytest.mark.parametrize("weight", [0.0, 0.5, 0.7, 10.0])
def test_each_place_is_filled_by_what_scores_and_differs_most(
    scores: np.ndarray, values: np.ndarray, weight: float
) -> None:
    found = diversified(scores, values, K, weight)
    assert found.shape == (LISTS, K)
    for row in range(LISTS):
        about = sets(values[row])
        left = [c for c in range(CANDIDATES) if scores[row, c] > -np.inf]
        chosen: list[int] = []
        while left and len(chosen) < K:
            gains = [
                float(scores[row, c])
                + weight * sum(not about[c] & about[s] for s in chosen)
                for c in left
            ]
            chosen.append(left.pop(int(np.argmax(np.round(gains, 9)))))
        expected = chosen + [NONE_LEFT] * (K - len(chosen))
        assert found[row].tolist() == expected


def test_without_weight_the_order_stays_and_with_it_lists_differ_more(
    scores: np.ndarray, values: np.ndarray
) -> None:
    plain = diversified(scores, values, K, 0.0)
    assert plain[0].tolist() == list(range(K))
    assert plain[3].tolist() == [0, 1, 2, 3, 4, NONE_LEFT, NONE_LEFT]
    diversity = []
    for weight in (0.0, 0.3, 3.0):
        chosen = diversified(scores, values, K, weight)
        own = np.take_along_axis(values, chosen[..., None], axis=1)
        exists = chosen != NONE_LEFT
        found = pair_diversity(own, exists)
        for row in range(LISTS):
            about = sets(own[row, exists[row]])
            pairs = [not a & b for a, b in combinations(about, 2)]
            assert found[row] == pytest.approx(np.mean(pairs))
        diversity.append(found.mean())
    assert diversity[0] < diversity[1] < diversity[2]


def test_lists_of_one_and_of_more_than_there_are(
    scores: np.ndarray, values: np.ndarray
) -> None:
    exists = np.ones((LISTS, 1), bool)
    assert not pair_diversity(values[:, :1], exists).any()
    longer = diversified(scores, values, CANDIDATES + 2, 0.5)
    assert sorted(longer[0].tolist()) == [NONE_LEFT, NONE_LEFT, *range(CANDIDATES)]
    assert diversified(scores[:0], values[:0], 3, 0.5).shape == (0, 3)
    for weight in (-0.1, np.nan, np.inf):
        with pytest.raises(InputError, match="`diversity` must be >= 0"):
            diversified(scores, values, K, weight)


def test_values_of_items_are_padded() -> None:
    items = MultiHot(np.asarray([0, 0, 2, 3]), np.asarray([1, 4, 0], np.int32))
    found = items.padded(np.asarray([[2, 1], [0, 2]], np.int32))
    assert found.tolist() == [[[0, -1], [1, 4]], [[-1, -1], [0, -1]]]
    nothing = MultiHot(np.zeros(3, np.int64), np.zeros(0, np.int32))
    assert nothing.padded(np.asarray([1], np.int32)).tolist() == [[-1]]
