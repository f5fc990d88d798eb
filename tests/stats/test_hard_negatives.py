"""Hard negatives against a sort of all scores, and whatever the blocks are."""

import numpy as np
import numpy.typing as npt
import pytest

from tests.stats.worlds import World, small_world
from tfcausal.stats import hard_negatives
from tfcausal.stats.hard_negatives import Float32s, HardPools, mine_pools


def vectors(
    seed: int, *, num_users: int = 30, num_items: int = 60, num_queries: int = 1
) -> tuple[Float32s, Float32s]:
    """Small whole numbers, so that scores are exact and often equal."""
    generator = np.random.default_rng(seed)
    queries = generator.integers(-3, 4, (num_users, num_queries, 5))
    candidates = generator.integers(-3, 4, (num_items, 5))
    return queries.astype(np.float32), candidates.astype(np.float32)


def by_sorting(
    world: World, queries: Float32s, candidates: Float32s, size: int
) -> dict[int, list[int]]:
    """Returns the unmet items of highest score of each user, smaller indices first."""
    pools = {}
    for user in sorted(set(world.users.tolist())):
        met = set(world.items[world.users == user].tolist())
        scores = {
            item: max(float(query @ candidates[item]) for query in queries[user])
            for item in range(1, len(candidates))
            if item not in met
        }
        best = sorted(scores, key=lambda item: (-scores[item], item))
        pools[user] = sorted(best[:size])
    return pools


def as_lists(pools: HardPools) -> dict[int, list[int]]:
    return {
        int(user): items[:size].tolist()
        for user, items, size in zip(pools.users, pools.items, pools.sizes, strict=True)
    }


@pytest.mark.parametrize("num_queries", [1, 3])
@pytest.mark.parametrize("size", [1, 7, 40, 1_000])
def test_pools_are_those_of_a_sort(num_queries: int, size: int) -> None:
    world = small_world(1)
    queries, candidates = vectors(2, num_queries=num_queries)
    pools = mine_pools(queries, candidates, world.users, world.items, size)
    assert as_lists(pools) == by_sorting(world, queries, candidates, size)
    assert pools.items.dtype == np.int32


def test_pools_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    world = small_world(3)
    generator = np.random.default_rng(0)
    queries = generator.normal(size=(30, 2, 16)).astype(np.float32)
    candidates = generator.normal(size=(60, 16)).astype(np.float32)
    # Items with equal vectors have equal scores.
    candidates[31:] = candidates[1:30]
    expected = as_lists(mine_pools(queries, candidates, world.users, world.items, 9))
    monkeypatch.setattr(hard_negatives, "_ITEMS_AT_ONCE", 7)
    monkeypatch.setattr(hard_negatives, "_QUERIES_AT_ONCE", 4)
    mixed = generator.permutation(len(world.users))
    again = mine_pools(queries, candidates, world.users[mixed], world.items[mixed], 9)
    assert as_lists(again) == expected


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_scores_do_not_depend_on_the_order_of_adding(scale: float) -> None:
    world = small_world(4)
    generator = np.random.default_rng(1)
    queries = (generator.normal(size=(30, 1, 200)) * scale).astype(np.float32)
    candidates = generator.normal(size=(60, 200)).astype(np.float32)
    # These differ in the order of coordinates alone, where floats would round.
    queries[:, :, 100:] = queries[:, :, :100]
    candidates[31:, :100] = candidates[1:30, 100:]
    candidates[31:, 100:] = candidates[1:30, :100]
    expected = as_lists(mine_pools(queries, candidates, world.users, world.items, 9))
    order = generator.permutation(200)
    again = mine_pools(
        queries[:, :, order], candidates[:, order], world.users, world.items, 9
    )
    assert as_lists(again) == expected
    exact: npt.NDArray[np.float64] = (
        queries[:, 0].astype(np.float64) @ candidates.astype(np.float64).T
    )
    for user, pool in expected.items():
        met = set(world.items[world.users == user].tolist())
        others = set(range(1, 60)) - met - set(pool)
        gap = exact[user, pool].min() - exact[user, sorted(others)].max()
        assert gap > -1e-5 * np.abs(exact[user]).max()


def test_who_has_met_nearly_all_has_a_smaller_pool() -> None:
    users = np.asarray([4, 4, 4, 9, 9, 9, 9], np.int32)
    items = np.asarray([1, 2, 4, 1, 2, 3, 4], np.int32)
    queries, candidates = vectors(0, num_items=5)
    pools = mine_pools(queries, candidates, users, items, 3)
    assert as_lists(pools) == {4: [3], 9: []}
    place = pools.place(np.asarray([4, 9], np.int32))
    asked = np.asarray([[1, 3, 4], [1, 3, 0]], np.int32)
    assert pools.contain(place, asked).tolist() == [
        [False, True, False],
        [False, False, False],
    ]


def test_contain_knows_every_item_of_every_pool() -> None:
    world = small_world(5)
    queries, candidates = vectors(5)
    pools = mine_pools(queries, candidates, world.users, world.items, 11)
    asked = np.tile(np.arange(60, dtype=np.int32), (len(pools.users), 1))
    found = pools.contain(pools.place(pools.users), asked)
    for row, pool in enumerate(as_lists(pools).values()):
        assert np.flatnonzero(found[row]).tolist() == pool


def test_vectors_of_zeros_and_an_empty_shard() -> None:
    nothing = np.zeros((3, 1, 4), np.float32), np.zeros((6, 4), np.float32)
    pools = mine_pools(
        *nothing, np.asarray([2], np.int32), np.asarray([1], np.int32), 2
    )
    assert as_lists(pools) == {2: [2, 3]}
    none = np.empty(0, np.int32)
    assert as_lists(mine_pools(*nothing, none, none, 2)) == {}
