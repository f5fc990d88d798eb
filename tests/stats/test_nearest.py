"""The k best against a slow obvious version, in every cut and at every scale."""

from fractions import Fraction

import numpy as np
import pytest

from tfcausal.stats import nearest
from tfcausal.stats.nearest import Items, Lists, Pairs, Queries

CAUSES = {"interest": slice(0, 4), "conformity": slice(4, 6)}


def obvious(queries: Queries, items: Items, hidden: Pairs, k: int) -> Lists:
    """Adds every score up in fractions, and sorts."""
    lists = Lists.empty(len(queries.vectors), k, queries.num_causes)
    never = set(zip(hidden.users.tolist(), hidden.items.tolist(), strict=True))
    for user, vectors in enumerate(queries.vectors.tolist()):
        found = []
        for row, item in enumerate(items.vectors.tolist()):
            if (user, row + items.first) in never:
                continue
            best = None
            for query in vectors:
                terms = [Fraction(0)] * queries.num_causes
                for place, cause in enumerate(queries.cause_of.tolist()):
                    terms[cause] += Fraction(query[place]) * Fraction(item[place])
                score = np.float32(float(sum(terms)))
                if best is None or score > best[0]:
                    best = (score, [float(term) for term in terms])
            found.append((-best[0], row + items.first, best[1]))
        for place, (score, item, terms) in enumerate(sorted(found)[:k]):
            lists.items[user, place] = item
            lists.scores[user, place] = -score
            lists.terms[user, place] = terms
    return lists


def assert_same(found: Lists, wanted: Lists) -> None:
    assert found.items.tolist() == wanted.items.tolist()
    assert found.scores.tolist() == wanted.scores.tolist()
    np.testing.assert_allclose(found.terms, wanted.terms, rtol=1e-6)


def some(
    num_users: int = 7,
    num_items: int = 40,
    num_queries: int = 1,
    scale: float = 1.0,
    seed: int = 0,
) -> tuple[Queries, Items, Pairs]:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(num_users, num_queries, 6)) * scale
    items = Items(1, rng.normal(size=(num_items, 6)).astype(np.float32))
    hidden = rng.random((num_users, num_items)) < 0.3
    users, rows = np.nonzero(hidden)
    return (
        Queries.of(vectors.astype(np.float32), CAUSES),
        items,
        Pairs(users, rows + items.first),
    )


def best(queries: Queries, items: Items, hidden: Pairs, k: int) -> Lists:
    empty = Lists.empty(len(queries.vectors), k, queries.num_causes)
    return nearest.with_items(empty, queries, items, hidden)


@pytest.fixture(params=[(512, 1 << 15), (3, 16), (2, 7)], ids=str)
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cuts users and items into tiles of several sizes."""
    users, items = request.param
    monkeypatch.setattr(nearest, "_TILE_QUERIES", users)
    monkeypatch.setattr(nearest, "_TILE_ITEMS", items)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("num_queries", [1, 3])
@pytest.mark.parametrize("k", [1, 5, 60])
def test_as_the_obvious_version(num_queries: int, k: int) -> None:
    queries, items, hidden = some(num_queries=num_queries, seed=k)
    assert_same(best(queries, items, hidden, k), obvious(queries, items, hidden, k))


def test_by_hand() -> None:
    # Scores 1*3 + 2*1 = 5, 1*1 + 2*2 = 5, 1*4 + 2*(-1) = 2: the tie goes to item 1.
    queries = Queries.of(
        np.asarray([[[1, 2]]], np.float32), {"a": slice(0, 1), "b": slice(1, 2)}
    )
    items = Items(1, np.asarray([[3, 1], [1, 2], [4, -1]], np.float32))
    found = best(queries, items, Pairs.none(), 4)
    assert found.items.tolist() == [[1, 2, 3, 0]]
    assert found.scores.tolist() == [[5, 5, 2, -np.inf]]
    assert found.terms.tolist() == [[[3, 2], [1, 4], [4, -2], [0, 0]]]
    assert found.filled.tolist() == [[True, True, True, False]]


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1e18, 1e37])
def test_masks_hold_at_any_scale(scale: float) -> None:
    queries, items, hidden = some(scale=scale)
    found = best(queries, items, hidden, 10)
    assert_same(found, obvious(queries, items, hidden, 10))
    never = set(zip(hidden.users.tolist(), hidden.items.tolist(), strict=True))
    shown = {
        (user, item)
        for user, listed in enumerate(found.items.tolist())
        for item in listed
    }
    assert not shown & never
    assert np.isfinite(found.scores[found.filled]).all()


@pytest.mark.usefixtures("tiles")
def test_nothing_is_left_when_all_is_hidden() -> None:
    queries, items, _ = some(num_users=2)
    users = np.repeat([0, 1], 40)
    everything = Pairs(users, np.tile(np.arange(1, 41), 2))
    found = best(queries, items, everything, 3)
    assert not found.filled.any()
    assert (found.scores == -np.inf).all()


@pytest.mark.usefixtures("tiles")
def test_all_scores_equal() -> None:
    queries, items, hidden = some()
    alike = Items(1, np.repeat(items.vectors[:1], 40, axis=0))
    assert_same(best(queries, alike, hidden, 9), obvious(queries, alike, hidden, 9))
    silent = Queries(queries.vectors * 0, queries.cause_of, queries.num_causes)
    found = best(silent, items, Pairs.none(), 9)
    assert found.items.tolist() == [list(range(1, 10))] * 7
    assert (found.scores == 0).all()


@pytest.mark.usefixtures("tiles")
def test_scores_nearer_than_the_product_can_tell() -> None:
    # Coordinates that cancel: in float32 the sum depends on its order.
    rng = np.random.default_rng(3)
    large = rng.normal(size=(50, 3)) * 1e4
    rows = np.concatenate([large, -large + rng.normal(size=(50, 3)) * 1e-3], axis=1)
    items = Items(1, rows.astype(np.float32))
    queries = Queries.of(np.ones((4, 1, 6), np.float32), CAUSES)
    assert_same(
        best(queries, items, Pairs.none(), 8), obvious(queries, items, Pairs.none(), 8)
    )


@pytest.mark.parametrize("sizes", [[40], [1, 39], [13, 13, 14], [5] * 8])
@pytest.mark.parametrize("order", [1, -1])
def test_the_same_bytes_in_any_cut_and_order(sizes: list[int], order: int) -> None:
    queries, items, hidden = some(num_queries=2)
    whole = best(queries, items, hidden, 6)
    ends = np.cumsum(sizes)
    shards = [
        Items(1 + end - size, items.vectors[end - size : end])
        for end, size in zip(ends.tolist(), sizes, strict=True)
    ]
    lists = Lists.empty(7, 6, 2)
    for shard in shards[::order]:
        lists = nearest.with_items(lists, queries, shard, hidden)
    for name in ("items", "scores", "terms"):
        assert getattr(lists, name).tobytes() == getattr(whole, name).tobytes()
    alone = [
        best(queries.at(slice(u, u + 1)), items, hidden.of_users(slice(u, u + 1)), 6)
        for u in range(7)
    ]
    for user, one in enumerate(alone):
        assert one.terms.tobytes() == whole.at(slice(user, user + 1)).terms.tobytes()
        assert one.items.tolist() == whole.items[user : user + 1].tolist()


def test_large_blocks() -> None:
    # Several tiles of users and of items, with groups of columns and their rest.
    rng = np.random.default_rng(0)
    items = Items(1, rng.normal(size=(40_001, 6)).astype(np.float32))
    vectors = rng.normal(size=(600, 1, 6)).astype(np.float32)
    found = best(Queries.of(vectors, CAUSES), items, Pairs.none(), 20)
    exact = vectors[:, 0].astype(np.float64) @ items.vectors.astype(np.float64).T
    wanted = np.sort(exact, axis=1)[:, :-21:-1]
    np.testing.assert_allclose(found.scores, wanted, rtol=1e-6)
    at = np.take_along_axis(exact, found.items - 1, axis=1)
    np.testing.assert_allclose(found.scores, at, rtol=1e-6)
    np.testing.assert_allclose(found.terms.sum(axis=2), at, rtol=1e-5, atol=1e-5)


def test_weights_scale_causes() -> None:
    vectors = some()[0].vectors
    found = Queries.of(vectors, CAUSES, {"conformity": -2.0})
    expected = vectors * np.asarray([1, 1, 1, 1, -2, -2], np.float32)
    assert found.vectors.tolist() == expected.tolist()
    assert found.cause_of.tolist() == [0, 0, 0, 0, 1, 1]


def test_a_silent_cause_adds_nothing_and_costs_nothing() -> None:
    queries, items, hidden = some()
    off = Queries.of(queries.vectors, CAUSES, {"conformity": 0.0})
    fewer, cut = off.without_silent(items)
    assert fewer.vectors.shape[2] == cut.vectors.shape[1] == 4
    found = best(off, items, hidden, 6)
    assert_same(found, obvious(off, items, hidden, 6))
    assert (found.terms[:, :, 1] == 0).all()


def test_candidates_are_ranked_once_and_hidden() -> None:
    queries, items, hidden = some(num_queries=2)
    users, rows = (one.ravel() for one in np.mgrid[:7, :40])
    twice = Pairs(np.tile(users, 2), np.tile(rows + 1, 2))
    found = nearest.of_candidates(queries, 6, items, twice, hidden)
    assert_same(found, obvious(queries, items, hidden, 6))
    few = Pairs(np.asarray([2, 2]), np.asarray([9, 4]))
    found = nearest.of_candidates(queries, 6, items, few, Pairs.none())
    assert found.filled.sum(axis=1).tolist() == [0, 0, 2, 0, 0, 0, 0]
    assert sorted(found.items[2, :2].tolist()) == [4, 9]


def test_pairs_of_some_users() -> None:
    pairs = Pairs(np.asarray([0, 0, 2, 3, 3]), np.asarray([5, 6, 7, 8, 9]))
    chosen = pairs.chosen(np.asarray([0, 3]))
    assert chosen.users.tolist() == [0, 0, 1, 1]
    assert chosen.items.tolist() == [5, 6, 8, 9]
    after = pairs.of_users(slice(2, 4))
    assert after.users.tolist() == [0, 1, 1]
    assert after.items.tolist() == [7, 8, 9]


def test_pairs_of_some_items() -> None:
    pairs = Pairs(np.asarray([0, 0, 2, 3]), np.asarray([5, 9, 7, 8]))
    inside = pairs.of_items(Items(7, np.zeros((2, 6), np.float32)))
    assert inside.users.tolist() == [2, 3]
    assert inside.items.tolist() == [7, 8]


@pytest.mark.parametrize("k", [1, 6, 60])
def test_merged_lists_are_those_of_all_items(k: int) -> None:
    queries, items, hidden = some()
    # Equal scores must keep the order of items across the cut.
    items.vectors[25] = items.vectors[3]
    apart = [
        Items(items.first + part.start, items.vectors[part])
        for part in (slice(0, 22), slice(22, 40))
    ]
    first, second = (best(queries, part, hidden.of_items(part), k) for part in apart)
    wanted = best(queries, items, hidden, k)
    for found in (nearest.merged(first, second), nearest.merged(second, first)):
        assert_same(found, wanted)


def test_scores_that_leave_float32_are_told() -> None:
    queries, items, _ = some()
    longest = nearest.longest(items.vectors)
    assert nearest.scores_are_finite(queries, longest)
    for weight in (1e38, 1e300, np.nan):
        wild = Queries.of(queries.vectors, CAUSES, {"interest": weight})
        assert not nearest.scores_are_finite(wild, longest)


def test_no_users_and_no_items() -> None:
    queries, items, _ = some()
    nobody = queries.at(slice(0, 0))
    assert best(nobody, items, Pairs.none(), 3).items.shape == (0, 3)
    nothing = Items(1, items.vectors[:0])
    assert not best(queries, nothing, Pairs.none(), 3).filled.any()
    assert nearest.longest(items.vectors[:0]) == 0
