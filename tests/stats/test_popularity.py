"""Counts of items and the tables made of them."""

import math

import numpy as np
import pytest

from tfcausal.errors import InputError
from tfcausal.stats.popularity import (
    ItemCounts,
    entropy,
    min_max,
    normalised_table,
    popularity_groups,
    popularity_table,
)

ITEMS = np.asarray([1, 3, 3, 2, 1, 3], np.int32)


@pytest.mark.parametrize("cuts", [[], [2], [0, 6], [1, 2, 3, 4, 5]])
def test_any_grouping_gives_the_same_counts(cuts: list[int]) -> None:
    accumulators = [ItemCounts.zeros(5).add(block) for block in np.split(ITEMS, cuts)]
    total = accumulators[-1]
    for other in accumulators[:-1]:
        total.merge(other)
    assert total.counts.tolist() == [0, 2, 1, 3, 0]


def test_an_index_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(InputError, match=r"must be below 3.*got 3"):
        ItemCounts.zeros(3).add(ITEMS)
    with pytest.raises(InputError, match="got -2"):
        ItemCounts.zeros(3).add(np.asarray([1, -2], np.int32))


def test_ranks_by_count_then_index_and_the_unknown_item_last() -> None:
    table = popularity_table(np.asarray([0, 2, 5, 2, 0]), np.asarray([0, 0, 1, 0, 4]))
    assert table.to_pydict() == {
        "item": [0, 1, 2, 3, 4],
        "popularity": [0, 2, 5, 2, 0],
        "popularity_intervened": [0, 0, 1, 0, 4],
        "popularity_rank": [4, 1, 0, 2, 3],
    }
    alone = popularity_table(np.asarray([0, 1]), None)
    assert alone["popularity_intervened"].to_pylist() == [0, 0]


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(InputError, match="at least one interaction"):
        popularity_table(np.zeros(4, np.int64), None)


@pytest.mark.parametrize("seed", range(3))
def test_comparable_forms(seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 30, 40)
    counts[0] = 0
    table = normalised_table(counts, 3, decayed=counts / 2).to_pydict()
    total, known = int(counts.sum()), counts[1:].tolist()
    smoothed = [(count + 1) / (total + 39) for count in known]
    least, span = min(smoothed), max(smoothed) - min(smoothed)
    for item in range(1, 40):
        count = int(counts[item])
        assert table["popularity_share"][item] == count / total
        below = sum(other <= count for other in known)
        assert table["popularity_percentile"][item] == pytest.approx(100 * below / 39)
        assert table["popularity_min_max"][item] == pytest.approx(
            (smoothed[item - 1] - least) / span
        )
        ahead = sum(
            int(counts[other])
            for other in range(1, 40)
            if (-counts[other], other) < (-count, item)
        )
        group = min(int(3 * ahead / total), 2)
        assert table["popularity_group"][item] == group
        assert table["popularity_decayed"][item] == count / 2
    assert [table[name][0] for name in list(table)[1:5]] == [0.0, 0.0, 0.0, 2]
    assert "popularity_decayed" not in normalised_table(counts, 3).column_names


def test_groups_by_hand() -> None:
    # Of 12 interactions item 1 has 6; items 2 and 3 have what is left of the first 2/3.
    counts = np.asarray([0, 6, 2, 1, 1, 1, 1, 0])
    assert popularity_groups(counts, 2).tolist() == [1, 0, 1, 1, 1, 1, 1, 1]
    assert popularity_groups(counts, 3).tolist() == [2, 0, 1, 2, 2, 2, 2, 2]
    assert popularity_groups(counts, 1).tolist() == [0] * 8


def test_min_max_of_items_all_alike_is_one() -> None:
    values = np.asarray([[0.5, 2.0, 2.0], [9.0, 1.0, 3.0]])
    assert min_max(values).tolist() == [[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]


def test_entropy() -> None:
    assert entropy(np.asarray([0, 4, 4, 4, 4])) == pytest.approx(math.log(4))
    assert entropy(np.asarray([0, 7])) == 0.0
    counts = np.random.default_rng(0).integers(0, 9, 100)
    shares = [count / counts.sum() for count in counts.tolist() if count]
    expected = -sum(share * math.log(share) for share in shares)
    assert entropy(counts) == pytest.approx(expected, rel=1e-14)
