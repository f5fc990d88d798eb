"""Counts of items and the table made of them."""

import numpy as np
import pytest

from tfcausal.errors import InputError
from tfcausal.stats.popularity import ItemCounts, popularity_table

ITEMS = np.asarray([1, 3, 3, 2, 1, 3], np.int32)


@pytest.mark.parametrize("cuts", [[], [2], [0, 6], [1, 2, 3, 4, 5]])
def test_any_grouping_gives_the_same_counts(cuts: list[int]) -> None:
    accumulators = [ItemCounts.zeros(5).add(block) for block in np.split(ITEMS, cuts)]
    total = accumulators[-1]
    for other in accumulators[:-1]:
        total.merge(other)
    assert total.counts.tolist() == [0, 2, 1, 3, 0]


def test_an_index_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(InputError, match="must be below 3"):
        ItemCounts.zeros(3).add(ITEMS)


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
