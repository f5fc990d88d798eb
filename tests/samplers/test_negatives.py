"""The graph's sampler returns what numpy's does, bit for bit."""

import numpy as np
import pytest
import tensorflow as tf

from tests.stats.worlds import World, small_world
from tfcausal.samplers import mixing as graph_mixing
from tfcausal.samplers.negatives import NegativeSampler
from tfcausal.stats import mixing
from tfcausal.stats.negatives import (
    Catalogue,
    NegativeSampling,
    PopularityMargin,
    Positives,
    Uniform,
    draw_negatives,
)


def test_mixing_agrees_bit_for_bit() -> None:
    words = np.concatenate(
        [
            np.asarray([0, 1, 2**63, 2**64 - 1], np.uint64),
            mixing.draws(np.zeros(1, np.uint64), np.arange(10_000)),
        ]
    )
    for draw in (0, 1, 17):
        numbers = np.full(1, draw)
        drawn = mixing.draws(words, numbers)
        in_graph = tf.function(graph_mixing.draws)(tf.constant(words), draw)
        assert np.array_equal(in_graph.numpy(), drawn)
        uniforms = tf.function(graph_mixing.uniforms)(in_graph)
        assert np.array_equal(uniforms.numpy(), mixing.uniforms(drawn))


WORLDS = {
    "small": small_world(0),
    "larger": small_world(1, num_users=200, num_items=40),
    "all met": World(
        np.repeat(np.arange(1, 4, dtype=np.int32), 5),
        np.tile(np.arange(1, 6, dtype=np.int32), 3),
        np.asarray([0, 3, 3, 3, 3, 3], np.int64),
    ),
}


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())
@pytest.mark.parametrize(
    "sampling",
    [
        PopularityMargin(margin=10, min_pool=8),
        PopularityMargin(margin=3, down_margin=5, min_pool=4),
        PopularityMargin(margin=0.25, num_negatives=9, min_pool=9),
        Uniform(1),
        Uniform(6),
    ],
    ids=str,
)
@pytest.mark.parametrize("batch_size", [64, 10_000])
def test_graph_and_numpy_draw_the_same(
    world: World, sampling: NegativeSampling, batch_size: int
) -> None:
    catalogue = Catalogue.from_popularity(world.popularity)
    positives = Positives.from_rows(world.users, world.items, catalogue)
    sampler = NegativeSampler(
        catalogue,
        positives,
        num_users=int(world.users.max()) + 5,
        num_negatives=sampling.num_negatives,
    )
    draw = tf.function(sampler.__call__, reduce_retracing=True)
    for epoch in (0, 1, 30):
        pools = sampling.pools(world.popularity, epoch)
        start = mixing.stream(3, "negatives", epoch)
        keys = mixing.keys(start, world.users, world.items)
        expected = draw_negatives(
            pools,
            catalogue,
            positives,
            world.users,
            world.items,
            keys,
            sampling.num_negatives,
        )
        for first in range(0, min(len(world.users), 4 * batch_size), batch_size):
            rows = slice(first, first + batch_size)
            found = draw(
                tf.constant(pools.up_end),
                tf.constant(pools.down_start),
                tf.constant(pools.min_pool, tf.int64),
                tf.constant(world.users[rows]),
                tf.constant(world.items[rows]),
                tf.constant(keys[rows]),
            )
            assert np.array_equal(found["negatives"].numpy(), expected.items[rows])
            assert np.array_equal(found["case"].numpy(), expected.case[rows])
            assert np.array_equal(found["support"].numpy(), expected.support[rows])
