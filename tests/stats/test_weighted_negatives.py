"""Negatives by popularity against their definition, user by user."""

import numpy as np
import pytest

from tests.stats.worlds import World, small_world
from tfcausal.errors import InputError
from tfcausal.stats import mixing
from tfcausal.stats.negatives import (
    CASE_LESS_POPULAR,
    CASE_MORE_POPULAR,
    CASE_TIE,
    Catalogue,
    Negatives,
    Positives,
)
from tfcausal.stats.weighted_negatives import ByPopularity, WeightedDraw


def weighted(world: World, law: ByPopularity) -> WeightedDraw:
    catalogue = Catalogue.from_popularity(world.popularity)
    positives = Positives.from_rows(world.users, world.items, catalogue)
    return WeightedDraw.of(law, catalogue, positives)


def draw(world: World, law: ByPopularity, epoch: int = 0) -> Negatives:
    start = mixing.stream(11, "negatives", epoch)
    keys = mixing.keys(start, world.users, world.items)
    return weighted(world, law).draw(world.users, world.items, keys)


def left_items(world: World, user: int) -> tuple[set[int], set[int]]:
    """Returns the items that a user has not met, and those of them with a weight."""
    met = {i for u, i in zip(world.users, world.items, strict=True) if u == user}
    unmet = set(range(1, len(world.popularity))) - met
    return unmet, {item for item in unmet if world.popularity[item]}


@pytest.mark.parametrize("beta", [0.0, 0.75, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_negative_is_one_of_the_definition(beta: float, seed: int) -> None:
    world = small_world(seed)
    drawn = draw(world, ByPopularity(5, beta))
    for row, (user, item) in enumerate(zip(world.users, world.items, strict=True)):
        _, possible = left_items(world, user)
        assert set(drawn.items[row].tolist()) <= possible
        assert set(drawn.support[row].tolist()) == {len(possible)}
        for negative, case in zip(drawn.items[row], drawn.case[row], strict=True):
            gap = world.popularity[negative] - world.popularity[item]
            expected = {1: CASE_MORE_POPULAR, -1: CASE_LESS_POPULAR, 0: CASE_TIE}
            assert case == expected[int(np.sign(gap))]


@pytest.mark.parametrize("beta", [0.0, 0.75, 1.0, 2.5])
def test_probabilities_are_those_of_the_formula(beta: float) -> None:
    world = small_world(2)
    everything = np.arange(1, len(world.popularity), dtype=np.int32)
    users = np.unique(world.users)
    found = weighted(world, ByPopularity(1, beta)).probabilities(
        users, np.ones_like(users), np.tile(everything, (len(users), 1))
    )
    for row, user in enumerate(users):
        _, possible = left_items(world, user)
        total = sum(float(world.popularity[item]) ** beta for item in possible)
        for item in possible:
            expected = float(world.popularity[item]) ** beta / total
            assert found[row, item - 1] == pytest.approx(expected, rel=1e-9)


def test_negatives_of_a_positive_are_drawn_independently() -> None:
    # Popularities 9, 4, 2, 1; the user has met the item of 4, and 12 are left.
    world = World(
        np.asarray([1], np.int32),
        np.asarray([2], np.int32),
        np.asarray([0, 9, 4, 2, 1, 0], np.int64),
    )
    times = 40_000
    keys = mixing.draws(np.zeros(1, np.uint64), np.arange(times))
    drawn = weighted(world, ByPopularity(2)).draw(
        np.full(times, 1, np.int32), np.full(times, 2, np.int32), keys
    )
    counts = np.zeros((6, 6))
    np.add.at(counts, (drawn.items[:, 0], drawn.items[:, 1]), 1)
    single = np.asarray([0, 9, 0, 2, 1, 0]) / 12
    expected = np.outer(single, single) * times
    assert not counts[expected == 0].any()
    possible = expected > 0
    chi_square = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    # Nine cells, eight degrees of freedom: above 27.9 once in two thousand seeds.
    assert chi_square < 27.9


def test_who_has_met_all_that_have_a_weight_draws_uniformly() -> None:
    popularity = np.asarray([0, 3, 2, 0, 0, 0], np.int64)
    users = np.asarray([1, 1, 2, 3, 3, 3, 3, 3], np.int32)
    items = np.asarray([1, 2, 1, 1, 2, 3, 4, 5], np.int32)
    world = World(users, items, popularity)
    law = ByPopularity(3)
    seen: set[int] = set()
    for epoch in range(30):
        drawn = draw(world, law, epoch)
        assert (drawn.support[:2] == 3).all()
        assert (drawn.items[2] == 2).all()
        assert (drawn.support[2] == 1).all()
        # Nothing is left for the third user.
        assert not drawn.items[3:].any()
        assert not drawn.support[3:].any()
        assert not drawn.case[3:].any()
        seen |= set(drawn.items[:2].ravel().tolist())
    assert seen == {3, 4, 5}
    likely = weighted(world, law).probabilities(
        users[:1], items[:1], np.asarray([[3, 4, 5]], np.int32)
    )
    assert likely.tolist() == [[1 / 3] * 3]


def test_weights_of_a_large_shard_may_sum_to_more_than_64_bits() -> None:
    num_users = 30_000
    users = np.repeat(np.arange(1, num_users + 1, dtype=np.int32), 2)
    items = np.tile(np.asarray([1, 2], np.int32), num_users)
    popularity = np.asarray([0, num_users, num_users, 3, 1], np.int64)
    whole = draw(World(users, items, popularity), ByPopularity(4))
    assert set(whole.items.ravel().tolist()) == {3, 4}
    last = draw(World(users[-2:], items[-2:], popularity), ByPopularity(4))
    assert np.array_equal(whole.items[-2:], last.items)


def test_a_wide_range_of_weights_keeps_the_rarest() -> None:
    popularity = np.asarray([0, 10**9, 1, 1], np.int64)
    law = ByPopularity(1, beta=3.0)
    likely = weighted(
        World(np.asarray([1], np.int32), np.asarray([2], np.int32), popularity), law
    ).probabilities(
        np.asarray([1], np.int32),
        np.asarray([2], np.int32),
        np.asarray([[1, 3]], np.int32),
    )
    assert (likely > 0).all()
    assert likely.sum() == pytest.approx(1)


@pytest.mark.parametrize("beta", [-0.5, float("nan"), float("inf")])
def test_a_senseless_power_is_refused(beta: float) -> None:
    with pytest.raises(InputError, match="`beta` must be finite and >= 0"):
        ByPopularity(beta=beta)
    with pytest.raises(InputError, match="`num_negatives` must be at least 1"):
        ByPopularity(num_negatives=0)
