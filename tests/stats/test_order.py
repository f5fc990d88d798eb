"""The order of an epoch is a permutation that seed and epoch decide."""

import numpy as np

from tfcausal.stats import order


def test_shard_order_is_a_permutation_that_follows_the_rows() -> None:
    users = np.arange(1, 501, dtype=np.int32)
    items = (users * 7 % 90).astype(np.int32)
    visited = order.shard_order(1, 2, users, items)
    assert sorted(visited.tolist()) == list(range(500))
    shuffled = np.random.default_rng(0).permutation(500)
    again = order.shard_order(1, 2, users[shuffled], items[shuffled])
    assert np.array_equal(users[visited], users[shuffled][again])


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    users = np.arange(1, 101, dtype=np.int32)
    orders = {
        order.shard_order(seed, epoch, users, users).tobytes()
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


def test_round_robin_takes_a_block_from_each_shard_in_turn() -> None:
    assert list(order.round_robin([2, 0, 3])) == [
        (0, 0),
        (2, 0),
        (0, 1),
        (2, 1),
        (2, 2),
    ]
    assert list(order.round_robin([])) == []


def test_block_permutation_is_a_permutation_of_each_group() -> None:
    first = order.block_permutation(0, 0, 0, 1000)
    second = order.block_permutation(0, 0, 1, 1000)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(1000))
    assert not np.array_equal(first, second)
