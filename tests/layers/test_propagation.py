"""Propagation against dense float64 matrices, and its gradient against differences."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.stats.test_graph import normalised
from tfcausal.layers.propagation import Propagation

import tensorflow as tf  # isort: skip

Array = npt.NDArray[Any]
NUM_USERS, NUM_ITEMS, DIM = 9, 7, 4


def pairs() -> tuple[Array, Array]:
    """Random pairs, some twice; row 0 of each side and the last user have none."""
    generator = np.random.default_rng(3)
    users = generator.integers(1, NUM_USERS - 1, 30).astype(np.int32)
    return users, generator.integers(1, NUM_ITEMS, 30).astype(np.int32)


def dense_graph(*, self_loops: bool) -> Array:
    users, items = pairs()
    met = np.zeros((NUM_USERS, NUM_ITEMS))
    met[users, items] = 1.0
    return normalised(met, "symmetric", self_loops)


def propagation(num_layers: int, **given: Any) -> Propagation:
    sizes = {"num_users": NUM_USERS, "num_items": NUM_ITEMS}
    return Propagation(*pairs(), **sizes, num_layers=num_layers, **given)


def tables(seed: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    generator = np.random.default_rng(seed)
    whole = generator.normal(size=(NUM_USERS + NUM_ITEMS, DIM)).astype(np.float32)
    return tf.constant(whole[:NUM_USERS]), tf.constant(whole[NUM_USERS:])


def joined(sides: tuple[tf.Tensor, tf.Tensor]) -> Array:
    return np.concatenate([side.numpy() for side in sides]).astype(np.float64)


def mean_of_layers(graph: Array, first: Array, num_layers: int) -> Array:
    layers = [first]
    for _ in range(num_layers):
        layers.append(graph @ layers[-1])
    return np.mean(layers, axis=0)


def test_by_hand() -> None:
    # User 0 met items 0 and 1, user 1 item 1: degrees 2, 1 and 1, 2.
    small = Propagation(
        np.asarray([0, 0, 1], np.int32),
        np.asarray([0, 1, 1], np.int32),
        num_users=2,
        num_items=2,
        num_layers=1,
    )
    users, items = small(tf.constant([[2.0], [4.0]]), tf.constant([[6.0], [8.0]]))
    # (2 + 6 / sqrt(2 * 1) + 8 / sqrt(2 * 2)) / 2 and (4 + 8 / sqrt(1 * 2)) / 2
    assert users.numpy().ravel().tolist() == pytest.approx([5.1213203, 4.8284271])
    # (6 + 2 / sqrt(1 * 2)) / 2 and (8 + 2 / sqrt(2 * 2) + 4 / sqrt(2 * 1)) / 2
    assert items.numpy().ravel().tolist() == pytest.approx([3.7071068, 5.9142136])


@pytest.mark.parametrize("self_loops", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_it_is_the_mean_of_the_layers(num_layers: int, self_loops: bool) -> None:
    given = tables()
    found = joined(propagation(num_layers, self_loops=self_loops)(*given))
    graph = dense_graph(self_loops=self_loops)
    expected = mean_of_layers(graph, joined(given), num_layers)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    lonely = [0, NUM_USERS - 1, NUM_USERS]
    share = 1.0 if self_loops else 1 / (num_layers + 1)
    np.testing.assert_allclose(found[lonely], joined(given)[lonely] * share, atol=1e-6)


@pytest.mark.parametrize("self_loops", [False, True])
def test_the_gradient_is_that_of_differences(self_loops: bool) -> None:
    graph = dense_graph(self_loops=self_loops)
    weights = np.random.default_rng(5).normal(size=(NUM_USERS + NUM_ITEMS, DIM))

    def slow_loss(first: Array) -> float:
        return float((weights * np.sin(mean_of_layers(graph, first, 3))).sum())

    given = tables()
    with tf.GradientTape() as tape:
        tape.watch(given)
        result = propagation(3, self_loops=self_loops)(*given)
        loss = tf.reduce_sum(
            tf.constant(weights, tf.float32) * tf.sin(tf.concat(result, axis=0))
        )
    found = joined(tape.gradient(loss, given))
    first = joined(given)
    for place in np.ndindex(*first.shape):
        step = np.zeros_like(first)
        step[place] = 1e-5
        slope = (slow_loss(first + step) - slow_loss(first - step)) / 2e-5
        assert found[place] == pytest.approx(slope, abs=1e-5)


def test_the_gradient_of_looked_up_rows_in_a_traced_step() -> None:
    layer = propagation(2)
    rows = tf.constant([3, 1, 3])
    given = tables()

    @tf.function
    def step(users: tf.Tensor, items: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch((users, items))
            propagated, _ = layer(users, items)
            loss = tf.reduce_sum(tf.gather(propagated, rows))
        return tape.gradient(loss, (users, items))

    graph = dense_graph(self_loops=False)
    upstream = np.zeros((NUM_USERS + NUM_ITEMS, DIM))
    np.add.at(upstream, rows.numpy(), 1.0)
    expected = mean_of_layers(graph.T, upstream, 2)
    np.testing.assert_allclose(joined(step(*given)), expected, atol=1e-6)


def masked(found: Array, whole: Array, dropout: float) -> Array:
    """Returns which coordinates were kept; those kept are scaled and no others."""
    kept = found != 0
    np.testing.assert_allclose(
        found, np.where(kept, whole / (1 - dropout), 0), atol=1e-5
    )
    return kept


def test_dropout_sets_coordinates_of_each_layer_to_zero() -> None:
    given = tables()
    seed = tf.constant([11, 5], tf.int64)
    options = {"self_loops": True, "dropout": 0.4}
    graph, first = dense_graph(self_loops=True), joined(given)
    one = joined(propagation(1, **options)(*given, seed))
    layer_1 = 2 * one - first
    layer_1[np.abs(layer_1) < 1e-6] = 0
    kept_1 = masked(layer_1, graph @ first, 0.4)
    two = joined(propagation(2, **options)(*given, seed))
    layer_2 = 3 * two - first - layer_1
    layer_2[np.abs(layer_2) < 1e-5] = 0
    # Where all that is summed was dropped, nothing tells whether the sum was.
    alive = np.abs(graph @ layer_1) > 1e-5
    kept_2 = masked(layer_2, graph @ layer_1, 0.4)[alive]
    assert 0.4 < kept_1.mean() < 0.8
    assert 0.4 < kept_2.mean() < 0.8
    assert (kept_1[alive] != kept_2).any()
    assert (kept_1[:NUM_ITEMS] != kept_1[NUM_USERS:]).any()
    # Coordinates are dropped by themselves, hence causes too.
    assert (kept_1[:, : DIM // 2] != kept_1[:, DIM // 2 :]).any()


def test_dropout_keeps_its_share() -> None:
    everyone = np.arange(1, 500, dtype=np.int32)
    layer = Propagation(
        everyone,
        everyone,
        num_users=500,
        num_items=500,
        num_layers=1,
        dropout=0.2,
    )
    zeros, ones = tf.zeros((500, 64)), tf.ones((500, 64))
    users, items = layer(zeros, ones, tf.constant([1, 2], tf.int64))
    # Each pair knows itself alone: half of the other side, over 1 - 0.2, or zero.
    assert set(np.unique(users[1:].numpy())) == {0.0, 0.625}
    # 499 * 64 draws have a standard error of 0.0022.
    assert np.mean(users[1:].numpy() == 0) == pytest.approx(0.2, abs=0.01)
    assert np.all(items.numpy() == 0.5)


def test_the_gradient_under_dropout_is_the_transposed_map() -> None:
    layer = propagation(3, self_loops=True, dropout=0.3)
    seed = tf.constant([2, 9], tf.int64)
    given, weights = tables(0), tables(1)
    with tf.GradientTape() as tape:
        tape.watch(given)
        result = layer(*given, seed)
        loss = tf.reduce_sum(tf.concat(result, 0) * tf.concat(weights, 0))
    found = joined(tape.gradient(loss, given))
    # The map is linear, so that its gradient times any input is the loss of that input.
    for number in range(4):
        other = tables(number)
        expected = (joined(layer(*other, seed)) * joined(weights)).sum()
        assert (found * joined(other)).sum() == pytest.approx(expected, abs=1e-4)


def test_equal_seeds_give_equal_bytes() -> None:
    layer = propagation(2, dropout=0.2)
    given = tables()

    def result(*seed: int) -> Array:
        return joined(layer(*given, tf.constant(seed, tf.int64)))

    assert np.array_equal(result(1, 2), result(1, 2))
    assert not np.array_equal(result(1, 2), result(1, 3))
    assert not np.array_equal(result(1, 2), result(2, 2))
    without = joined(layer(*given))
    assert np.array_equal(without, joined(propagation(2)(*given)))
    assert not np.array_equal(result(1, 2), without)
