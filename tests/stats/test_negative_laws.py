"""Every law of negatives: how often it draws what, and the log_q that it tells."""

import math

import numpy as np
import pytest

from tests.stats.test_hard_negatives import vectors
from tests.stats.test_negatives import allowed_pools
from tests.stats.worlds import World, small_world
from tfcausal.stats import mixing
from tfcausal.stats.hard_negatives import mine_pools
from tfcausal.stats.negative_laws import (
    AnySampling,
    HardDraw,
    NegativeDraw,
    law_of,
    log_q,
)
from tfcausal.stats.negatives import Catalogue, PopularityMargin, Positives, Uniform
from tfcausal.stats.weighted_negatives import ByPopularity

EPOCH = 2
BASES: dict[str, AnySampling] = {
    "uniform": Uniform(3),
    "margin": PopularityMargin(num_negatives=3, margin=3, min_pool=5),
    "down margin": PopularityMargin(2, margin=2, down_margin=4, min_pool=4),
    "popularity": ByPopularity(3, beta=0.75),
}
SHARES = (0.0, 0.3, 1.0)
POOL = 8


def make_law(world: World, sampling: AnySampling, share: float) -> NegativeDraw:
    catalogue = Catalogue.from_popularity(world.popularity)
    positives = Positives.from_rows(world.users, world.items, catalogue)
    base = law_of(sampling, catalogue, positives, EPOCH)
    if share == 0:
        return base
    pools = mine_pools(*vectors(1), world.users, world.items, POOL)
    return HardDraw(base, pools, share, catalogue)


def by_definition(
    world: World, sampling: AnySampling, share: float, user: int, item: int
) -> dict[int, float]:
    """Returns the probability of each item as a negative of a positive."""
    met = set(world.items[world.users == user].tolist())
    unmet = [j for j in range(1, len(world.popularity)) if j not in met]
    if isinstance(sampling, PopularityMargin):
        pools = allowed_pools(world, user, item, sampling, EPOCH)
        base = {
            j: sum((j in pool) / len(pool) for pool in pools) / len(pools)
            for j in unmet
        }
    elif isinstance(sampling, ByPopularity):
        weights = {j: float(world.popularity[j]) ** sampling.beta for j in unmet}
        weights = {j: w if world.popularity[j] else 0.0 for j, w in weights.items()}
        base = {j: weight / sum(weights.values()) for j, weight in weights.items()}
    else:
        base = {j: 1 / len(unmet) for j in unmet}
    if share == 0:
        return base
    queries, candidates = vectors(1)
    score = {j: float(queries[user, 0] @ candidates[j]) for j in unmet}
    hard = sorted(unmet, key=lambda j: (-score[j], j))[:POOL]
    return {j: share * (j in hard) / len(hard) + (1 - share) * base[j] for j in unmet}


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("sampling", BASES.values(), ids=BASES.keys())
def test_log_q_is_the_logarithm_of_the_definition(
    sampling: AnySampling, share: float
) -> None:
    world = small_world(6)
    law = make_law(world, sampling, share)
    keys = mixing.keys(mixing.stream(0, "negatives", EPOCH), world.users, world.items)
    drawn = law.draw(world.users, world.items, keys)
    found = log_q(law, world.users, world.items, drawn)
    assert found.dtype == np.float32
    assert drawn.items.shape == (len(world.users), sampling.num_negatives)
    for row, (user, item) in enumerate(zip(world.users, world.items, strict=True)):
        likely = by_definition(world, sampling, share, user, item)
        assert sum(likely.values()) == pytest.approx(1)
        for negative, logarithm in zip(drawn.items[row], found[row], strict=True):
            expected = math.log(likely[int(negative)])
            assert logarithm == pytest.approx(expected, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("sampling", BASES.values(), ids=BASES.keys())
def test_draws_come_as_often_as_the_definition_says(
    sampling: AnySampling, share: float
) -> None:
    world = small_world(6)
    law = make_law(world, sampling, share)
    times = 30_000
    for row in (3, 50, 200):
        keys = mixing.draws(np.full(1, row, np.uint64), np.arange(times))
        user, item = world.users[row], world.items[row]
        users, items = np.full(times, user), np.full(times, item)
        drawn = law.draw(users, items, keys)
        likely = by_definition(world, sampling, share, user, item)
        possible = np.asarray([j for j, share in likely.items() if share > 0])
        expected = np.asarray([likely[j] for j in possible]) * times
        # Each of a positive's negatives has the same law.
        for column in drawn.items.T:
            counts = np.bincount(column, minlength=len(world.popularity))
            assert counts[possible].sum() == times
            chi_square = ((counts[possible] - expected) ** 2 / expected).sum()
            freedom = len(possible) - 1
            # Five standard deviations above its mean.
            assert chi_square < freedom + 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("sampling", BASES.values(), ids=BASES.keys())
def test_negatives_that_do_not_exist_have_log_q_0(sampling: AnySampling) -> None:
    users = np.asarray([1, 1, 1, 2, 2, 2, 2, 2], np.int32)
    items = np.asarray([1, 2, 3, 1, 2, 3, 4, 5], np.int32)
    world = World(users, items, np.asarray([0, 5, 4, 3, 2, 1], np.int64))
    catalogue = Catalogue.from_popularity(world.popularity)
    positives = Positives.from_rows(users, items, catalogue)
    base = law_of(sampling, catalogue, positives, 0)
    queries, candidates = vectors(0, num_items=6)
    hard = HardDraw(
        base, mine_pools(queries, candidates, users, items, 5), 0.5, catalogue
    )
    for law in (base, hard):
        keys = mixing.keys(mixing.stream(0, "negatives"), users, items)
        drawn = law.draw(users, items, keys)
        found = log_q(law, users, items, drawn)
        assert not found[3:].any()
        assert not drawn.items[3:].any()
        exists = drawn.support[:3] > 0
        assert exists.any(axis=1).all()
        assert set(drawn.items[:3][exists].tolist()) <= {4, 5}
        assert (found[:3][~exists] == 0).all()
        assert (found[:3][exists] < 0).all()


def test_draws_do_not_depend_on_the_block_or_on_other_users() -> None:
    world = small_world(7)
    chosen = np.flatnonzero(world.users % 3 == 1)[::-1]
    own = world.users % 3 == 1
    part = World(world.users[own], world.items[own], world.popularity)
    keys = mixing.keys(mixing.stream(1, "negatives"), world.users, world.items)
    for sampling in BASES.values():
        whole = make_law(world, sampling, 0.5).draw(world.users, world.items, keys)
        some = make_law(part, sampling, 0.5).draw(
            world.users[chosen], world.items[chosen], keys[chosen]
        )
        assert np.array_equal(some.items, whole.items[chosen])
        assert np.array_equal(some.support, whole.support[chosen])
