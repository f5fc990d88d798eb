"""Softmax over a sample against its formula in float64, row by row."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tfcausal.layers.softmax import SampledSoftmax, SharedLaw
from tfcausal.samplers.mixing import word_of_step
from tfcausal.samplers.shared_negatives import ItemSampler, item_probabilities
from tfcausal.stats import mixing

import tensorflow as tf  # isort: skip

Floats = npt.NDArray[np.float64]

NUM_ITEMS = 12
NUM_ROWS = 7
NUM_SAMPLED = 20
DIM = 3
SEED = 4
POPULARITY = np.asarray([0, 9, 5, 0, 5, 1, 3, 20, 7, 0, 2, 2], np.int64)
TARGETS = np.asarray([7, 7, 1, 3, 9, 11, 1], np.int32)
HISTORIES = np.asarray(
    [
        [1, 8, 0, 0],
        [2, 4, 6, 8],
        [0, 0, 0, 0],
        # Its target has been met before, and an item twice.
        [3, 7, 7, 0],
        [1, 2, 0, 0],
        [5, 0, 0, 0],
        [10, 11, 1, 0],
    ],
    np.int32,
)
NO_HISTORIES = np.zeros((NUM_ROWS, 0), np.int32)
LAWS: tuple[SharedLaw, ...] = ("uniform", "log_uniform", "popularity", "in_batch")
every_law = pytest.mark.parametrize("law", LAWS)


def probabilities(law: SharedLaw) -> Floats:
    """The laws' probabilities from their formulas, not from the code."""
    known = POPULARITY[1:].tolist()
    if law == "uniform":
        weights = [1.0] * len(known)
    elif law == "log_uniform":
        # Sorting is stable: of equally popular items the first has the better rank.
        order = sorted(range(len(known)), key=lambda item: -known[item])
        weights = [np.log(1 + 1 / (order.index(item) + 1)) for item in range(11)]
    else:
        weights = [float(max(count, 1)) for count in known]
    return np.append(0.0, np.asarray(weights) / np.sum(weights))


def drawn_items(law: SharedLaw, step: int) -> list[int]:
    """What the layer draws in a step, from the sampler itself."""
    if law == "in_batch":
        return [int(target) for target in TARGETS]
    sampler = ItemSampler(item_probabilities(POPULARITY, law))
    stream = mixing.stream(SEED, "shared negatives")
    start = word_of_step(stream, tf.constant(step, tf.int64))
    drawn: list[int] = sampler(start, NUM_SAMPLED).numpy().tolist()
    return drawn


def slow_loss(
    queries: Floats,
    own: Floats,
    items: Floats,
    drawn: list[int],
    log_q: Floats,
    left_out: npt.NDArray[np.int32],
) -> float:
    """The mean over rows of -log softmax, each score less its item's log_q."""
    total = 0.0
    for row, target in enumerate(TARGETS):
        exponents = [queries[row] @ own[row] - log_q[target]]
        for item in drawn:
            if item != target and item not in left_out[row]:
                exponents.append(queries[row] @ items[item] - log_q[item])
        total -= exponents[0] - np.log(np.exp(exponents).sum())
    return total / len(TARGETS)


def slope(function: Callable[[Floats], float], at: Floats) -> Floats:
    found = np.zeros_like(at)
    for place in np.ndindex(*at.shape):
        step = np.zeros_like(at)
        step[place] = 1e-6
        found[place] = (function(at + step) - function(at - step)) / 2e-6
    return found


def values(scale: float = 1.0) -> tuple[Floats, Floats, Floats]:
    """Queries, the targets' vectors, and the table: the targets' are not its rows."""
    generator = np.random.default_rng(1)
    return (
        scale * generator.normal(size=(NUM_ROWS, DIM)),
        generator.normal(size=(NUM_ROWS, DIM)),
        generator.normal(size=(NUM_ITEMS, DIM)),
    )


def layer(law: SharedLaw, log_q: float, **changes: Any) -> SampledSoftmax:
    given = {"num_sampled": NUM_SAMPLED, "seed": SEED, **changes}
    return SampledSoftmax(POPULARITY, law=law, log_q=log_q, **given)


def loss_of(
    softmax: SampledSoftmax,
    variables: list[tf.Variable],
    left_out: npt.NDArray[np.int32],
    step: int,
) -> tf.Tensor:
    queries, own, items = variables
    return softmax(
        queries,
        tf.constant(TARGETS),
        own,
        lambda rows: tf.gather(items, rows),
        tf.constant(left_out),
        tf.constant(step, tf.int64),
    )


def variables_of(*arrays: Floats) -> list[tf.Variable]:
    return [tf.Variable(array, dtype=tf.float32) for array in arrays]


@every_law
@pytest.mark.parametrize("log_q", [0.0, 1.0, 0.4])
@pytest.mark.parametrize("masked", [False, True])
def test_values_and_gradients(law: SharedLaw, log_q: float, masked: bool) -> None:
    left_out = HISTORIES if masked else NO_HISTORIES
    step = 3
    drawn = drawn_items(law, step)
    logs = np.zeros(NUM_ITEMS)
    logs[1:] = log_q * np.log(probabilities(law)[1:])
    arrays = values()
    variables = variables_of(*arrays)
    softmax = layer(law, log_q)

    @tf.function
    def step_of() -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            loss = loss_of(softmax, variables, left_out, step)
        gradients = tape.gradient(loss, variables)
        return loss, *(tf.convert_to_tensor(gradient) for gradient in gradients)

    loss, *gradients = step_of()
    assert loss.shape == ()
    expected = slow_loss(*arrays, drawn, logs, left_out)
    assert float(loss) == pytest.approx(expected, rel=2e-6)
    for place, found in enumerate(gradients):

        def with_changed(changed: Floats, place: int = place) -> float:
            queries, own, items = (
                changed if number == place else array
                for number, array in enumerate(arrays)
            )
            return slow_loss(queries, own, items, drawn, logs, left_out)

        np.testing.assert_allclose(found, slope(with_changed, arrays[place]), atol=2e-6)
    # Only what was drawn has a gradient in the table: the own vectors come apart.
    rows = np.flatnonzero(gradients[2].numpy().any(axis=1))
    assert set(rows.tolist()) <= set(drawn)
    assert len(rows) > 2


@every_law
def test_a_history_that_is_left_out_makes_the_loss_smaller(law: SharedLaw) -> None:
    softmax = layer(law, 1.0)
    variables = variables_of(*values())
    whole = float(loss_of(softmax, variables, NO_HISTORIES, 3))
    assert float(loss_of(softmax, variables, HISTORIES, 3)) < whole - 0.01
    # Pads are no items.
    pads = np.zeros((NUM_ROWS, 6), np.int32)
    assert float(loss_of(softmax, variables, pads, 3)) == pytest.approx(whole)


def test_of_one_item_nothing_is_left_to_choose() -> None:
    # Every row's target is the only one of the batch: -log 1.
    for left_out in (NO_HISTORIES[:3], HISTORIES[:3]):
        queries, own, items = values()
        loss = layer("in_batch", 1.0)(
            tf.constant(queries[:3], tf.float32),
            tf.constant([7, 7, 7]),
            tf.constant(own[:3], tf.float32),
            lambda rows, items=items: tf.gather(tf.constant(items, tf.float32), rows),
            tf.constant(left_out),
            tf.constant(0, tf.int64),
        )
        assert float(loss) == pytest.approx(0, abs=1e-6)


def test_in_batch_by_hand() -> None:
    # Scores 0 everywhere, no correction: rows of 7, 7 and 1 against the others'.
    # 7: log(1 + 1), 7: log(1 + 1), 1: log(1 + 2)
    softmax = layer("in_batch", 0.0)
    loss = softmax(
        tf.zeros([3, DIM]),
        tf.constant([7, 7, 1]),
        tf.zeros([3, DIM]),
        lambda rows: tf.zeros([tf.size(rows), DIM]),
        tf.zeros([3, 0], tf.int32),
        tf.constant(0, tf.int64),
    )
    assert float(loss) == pytest.approx((2 * np.log(2) + np.log(3)) / 3, rel=1e-6)


def test_draws_follow_from_seed_and_step() -> None:
    variables = variables_of(*values())

    def loss(step: int, law: SharedLaw = "uniform", **changes: Any) -> float:
        softmax = layer(law, 1.0, **changes)
        return float(loss_of(softmax, variables, NO_HISTORIES, step))

    assert loss(3) == loss(3)
    assert len({loss(step) for step in range(5)}) == 5
    assert loss(3) != loss(3, seed=5)
    assert loss(3, num_sampled=21) > loss(3)
    # The batch's own items depend on neither.
    assert loss(3, "in_batch") == loss(9, "in_batch", seed=5, num_sampled=1)


@every_law
def test_large_scores_stay_finite(law: SharedLaw) -> None:
    variables = variables_of(*values(1e4))
    with tf.GradientTape() as tape:
        loss = loss_of(layer(law, 1.0), variables, HISTORIES, 0)
    assert np.isfinite(float(loss))
    assert float(loss) > 100
    for gradient in tape.gradient(loss, variables):
        assert np.isfinite(tf.convert_to_tensor(gradient).numpy()).all()
