"""The sampler against the definition of PNSM, pair by pair."""

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
    NegativeSampling,
    PopularityMargin,
    Positives,
    Uniform,
    draw_negatives,
)


def draw(world: World, sampling: NegativeSampling, epoch: int = 0) -> Negatives:
    catalogue = Catalogue.from_popularity(world.popularity)
    start = mixing.stream(11, "negatives", epoch)
    return draw_negatives(
        sampling.pools(world.popularity, epoch),
        catalogue,
        Positives.from_rows(world.users, world.items, catalogue),
        world.users,
        world.items,
        mixing.keys(start, world.users, world.items),
        sampling.num_negatives,
    )


def allowed_pools(
    world: World, user: int, item: int, sampling: PopularityMargin, epoch: int
) -> list[set[int]]:
    """The pools a positive's negatives may come from, by the words of the paper."""
    met = {i for u, i in zip(world.users, world.items, strict=True) if u == user}
    unmet = set(range(1, len(world.popularity))) - met
    popularity = world.popularity
    decay = sampling.margin_decay**epoch
    up = {
        j for j in unmet if popularity[j] > popularity[item] + sampling.margin * decay
    }
    below = (
        popularity[item] / 2
        if sampling.down_margin is None
        else popularity[item] - sampling.down_margin * decay
    )
    down = {j for j in unmet if popularity[j] < below}
    if len(up) < sampling.min_pool:
        return [down] if len(down) >= sampling.num_negatives else [unmet]
    if len(down) < sampling.min_pool:
        return [up]
    return [up, down]


@pytest.mark.parametrize(
    ("sampling", "epoch"),
    [
        (PopularityMargin(margin=10, min_pool=8), 0),
        (PopularityMargin(margin=10, min_pool=8), 7),
        (PopularityMargin(margin=3, down_margin=5, min_pool=4), 2),
        (PopularityMargin(margin=0, num_negatives=1, min_pool=1), 0),
        (PopularityMargin(margin=5, num_negatives=7, min_pool=20), 1),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_negative_lies_in_a_pool_of_the_definition(
    sampling: PopularityMargin, epoch: int, seed: int
) -> None:
    world = small_world(seed)
    drawn = draw(world, sampling, epoch)
    for row, (user, item) in enumerate(zip(world.users, world.items, strict=True)):
        pools = allowed_pools(world, user, item, sampling, epoch)
        negatives = drawn.items[row].tolist()
        assert len(set(negatives)) == sampling.num_negatives
        for negative, case, support in zip(
            negatives, drawn.case[row], drawn.support[row], strict=True
        ):
            (pool,) = [pool for pool in pools if negative in pool]
            assert support == len(pool) * len(pools)
            gap = world.popularity[negative] - world.popularity[item]
            expected = {1: CASE_MORE_POPULAR, -1: CASE_LESS_POPULAR, 0: CASE_TIE}
            assert case == expected[int(np.sign(gap))]


def test_negatives_are_uniform_in_their_pool_and_the_coin_is_fair() -> None:
    world = small_world(3)
    sampling = PopularityMargin(margin=2, min_pool=5, margin_decay=1.0)
    row, pools = next(
        (row, pools)
        for row in range(len(world.users))
        if len(
            pools := allowed_pools(
                world, world.users[row], world.items[row], sampling, 0
            )
        )
        == 2
    )
    counts = np.zeros((sampling.num_negatives, len(world.popularity)), int)
    epochs = 6000
    catalogue = Catalogue.from_popularity(world.popularity)
    positives = Positives.from_rows(world.users, world.items, catalogue)
    for epoch in range(epochs):
        users, items = world.users[row : row + 1], world.items[row : row + 1]
        drawn = draw_negatives(
            sampling.pools(world.popularity, 0),
            catalogue,
            positives,
            users,
            items,
            mixing.keys(mixing.stream(0, "negatives", epoch), users, items),
            sampling.num_negatives,
        )
        counts[np.arange(sampling.num_negatives), drawn.items[0]] += 1
    for column in counts:
        for pool in pools:
            expected = epochs / 2 / len(pool)
            chi_square = sum((column[j] - expected) ** 2 / expected for j in pool)
            bound = len(pool) + 5 * (2 * len(pool)) ** 0.5
            assert chi_square < bound
        assert column.sum() == epochs


def test_uniform_never_gives_a_met_item_and_covers_the_rest() -> None:
    world = small_world(5)
    seen = set(zip(world.users.tolist(), world.items.tolist(), strict=True))
    drawn_somewhere: set[int] = set()
    for epoch in range(20):
        drawn = draw(world, Uniform(3), epoch)
        for user, row in zip(world.users.tolist(), drawn.items.tolist(), strict=True):
            assert len(set(row)) == 3
            assert not any((user, item) in seen for item in row)
            drawn_somewhere |= set(row)
    users = set(world.users.tolist())
    unmet_by_some = {
        item
        for item in range(1, len(world.popularity))
        if any((user, item) not in seen for user in users)
    }
    assert drawn_somewhere == unmet_by_some


def test_user_who_has_met_nearly_all_gets_what_is_left_and_then_nothing() -> None:
    popularity = np.asarray([0, 5, 4, 3, 2, 1], np.int64)
    users = np.asarray([1, 1, 1, 2, 2, 2, 2, 2], np.int32)
    items = np.asarray([1, 2, 3, 1, 2, 3, 4, 5], np.int32)
    drawn = draw(World(users, items, popularity), PopularityMargin())
    for row in range(3):
        assert sorted(drawn.items[row].tolist()) == [0, 0, 4, 5]
        assert sorted(drawn.support[row].tolist()) == [0, 0, 2, 2]
    assert not drawn.items[3:].any()
    assert not drawn.support[3:].any()
    assert not drawn.case[3:].any()


def test_draws_do_not_depend_on_block_order_or_on_other_users() -> None:
    world = small_world(7)
    sampling = PopularityMargin(margin=4, min_pool=6)
    whole = draw(world, sampling)
    catalogue = Catalogue.from_popularity(world.popularity)
    chosen = np.flatnonzero(world.users % 3 == 1)[::-1]
    own = world.users % 3 == 1
    part = draw_negatives(
        sampling.pools(world.popularity, 0),
        catalogue,
        Positives.from_rows(world.users[own], world.items[own], catalogue),
        world.users[chosen],
        world.items[chosen],
        mixing.keys(
            mixing.stream(11, "negatives"), world.users[chosen], world.items[chosen]
        ),
        sampling.num_negatives,
    )
    assert np.array_equal(part.items, whole.items[chosen])
    assert np.array_equal(part.support, whole.support[chosen])


def test_refusals() -> None:
    with pytest.raises(InputError, match="num_negatives"):
        Uniform(0)
    with pytest.raises(InputError, match="min_pool"):
        PopularityMargin(num_negatives=4, min_pool=3)
    with pytest.raises(InputError, match="margin"):
        PopularityMargin(margin=float("nan"))
    with pytest.raises(InputError, match="at least one interaction"):
        Catalogue.from_popularity(np.zeros(4, np.int64))
