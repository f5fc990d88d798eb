"""Full ranking: order, ties, true masks, short lists, refusals."""

import numpy as np
import pytest

from tests.evaluation import naive
from tests.evaluation.cases import interactions, random_case
from tfcausal.data.interactions import Interactions
from tfcausal.errors import InputError
from tfcausal.evaluation import ranking
from tfcausal.evaluation.ranking import ItemLists, rank_all
from tfcausal.schema.vectors import CausalVectors


def ranked(vectors: CausalVectors, masked: ItemLists, k: int) -> tuple:
    users = np.arange(1, len(vectors.queries), dtype=np.int32)
    blocks = list(rank_all(vectors, users, masked, k))
    return (
        np.concatenate([block.items for block in blocks]),
        np.concatenate([block.scores for block in blocks]),
    )


@pytest.mark.parametrize("k", [1, 7, 149, 200])
# Powers of two, about 1e6 and 1e30, so that sums stay exact.
@pytest.mark.parametrize("scale", [1.0, 2.0**20, 2.0**100])
@pytest.mark.parametrize("num_queries", [1, 3])
def test_agrees_with_the_naive_order(
    monkeypatch: pytest.MonkeyPatch, k: int, scale: float, num_queries: int
) -> None:
    # Blocks of a few users each.
    monkeypatch.setattr(ranking, "BLOCK_SCORES", 2_000)
    case = random_case(k, num_queries=num_queries, scale=scale)
    users = range(1, case.num_users)
    expected = naive.user_lists(case.vectors, case.masked, users, k)
    items, scores = ranked(case.vectors, case.against.masked, k)
    assert items.shape == scores.shape == (len(expected), k)
    for row, user in enumerate(users):
        found = [int(item) for item in items[row] if item]
        assert found == expected[user]
        assert np.isneginf(scores[row, len(found) :]).all()
        for item, score in zip(found, scores[row], strict=False):
            assert score == pytest.approx(
                naive.score(case.vectors, user, item), rel=1e-6
            )


def test_catalogue_smaller_than_a_tile() -> None:
    vectors = CausalVectors(
        np.ones((2, 1, 1), np.float32),
        np.asarray([[9], [1], [3], [3]], np.float32),
        {"preference": slice(0, 1)},
    )
    items, _ = ranked(vectors, ItemLists.empty(2), 100)
    assert items[0, :4].tolist() == [2, 3, 1, 0]
    assert not items[0, 3:].any()


def test_every_order_of_tiles_is_exact() -> None:
    # The largest scores all in the last tile, then one in each tile, then all equal.
    for scores in (np.arange(640), np.arange(640) % 64, np.zeros(640)):
        vectors = CausalVectors(
            np.ones((2, 1, 1), np.float32),
            scores.astype(np.float32)[:, None],
            {"preference": slice(0, 1)},
        )
        items, _ = ranked(vectors, ItemLists.empty(2), 70)
        expected = naive.ranked(dict(enumerate(scores.tolist())), {0}, 70)
        assert items[0].tolist() == expected


def test_lists_group_rows_and_count_repeats_once() -> None:
    rows = interactions({2: {5, 3}, 0: {1}})
    doubled = type(rows)(
        np.tile(rows.users, 2), np.tile(rows.items, 2), None, rows.shard_ends
    )
    lists = ItemLists.from_interactions(doubled, 4)
    assert lists.lengths.tolist() == [1, 0, 2, 0]
    owners, items = lists.of(np.asarray([2, 3, 2, 0], np.int32))
    assert owners.tolist() == [0, 0, 2, 2, 3]
    assert items.tolist() == [3, 5, 3, 5, 1]


def test_lists_in_the_order_of_rows_keep_the_first_of_repeats() -> None:
    users = np.asarray([2, 2, 2, 2, 0, 3, 3, 2], np.int32)
    items = np.asarray([9, 5, 9, 7, 4, 8, 1, 5], np.int32)
    rows = Interactions(users, items, None, np.asarray([4, 8]))
    lists = ItemLists.in_order_of_rows(rows, 5)
    assert lists.lengths.tolist() == [1, 0, 3, 2, 0]
    assert lists.items.tolist() == [4, 9, 5, 7, 8, 1]
    owners, items = lists.of(np.asarray([3, 1, 2], np.int32))
    assert owners.tolist() == [0, 0, 2, 2, 2]
    assert items.tolist() == [8, 1, 9, 5, 7]
    nothing = Interactions(users[:0], items[:0], None, np.zeros(0, np.int64))
    assert ItemLists.in_order_of_rows(nothing, 3).lengths.tolist() == [0, 0, 0]


def test_refuses_scores_beyond_float32() -> None:
    vectors = CausalVectors(
        np.full((2, 1, 2), 1e20, np.float32),
        np.full((3, 2), [1e20, -1e20], np.float32),
        {"preference": slice(0, 2)},
    )
    with pytest.raises(InputError, match="must stay below"):
        ranked(vectors, ItemLists.empty(2), 1)
    with pytest.raises(InputError, match="must be finite"):
        CausalVectors(
            np.full((2, 1, 2), np.nan, np.float32), vectors.candidates, vectors.causes
        )
