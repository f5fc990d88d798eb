"""What tests of methods share: a batch with gaps, and losses in float64 from formulas.

Some negatives of the batch do not exist; one row has none at all, one has all.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tfcausal.data.interactions import Interactions
from tfcausal.data.train_window import SlotPopularity, TrainWindow
from tfcausal.methods.triplets import TripletBatch, TripletMethod

import tensorflow as tf  # isort: skip

NUM_USERS = 10
NUM_ITEMS = 12
NUM_ROWS = 6
NUM_NEGATIVES = 3
_STEP = 2.0**-11

Float64s = npt.NDArray[np.float64]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def bpr(positive: float, negative: float) -> float:
    return -math.log(sigmoid(positive - negative))


def log_loss(label: int, score: float) -> float:
    return -math.log(sigmoid(score) if label else 1 - sigmoid(score))


def batch(facts: Mapping[str, list[int]] | None = None, seed: int = 0) -> TripletBatch:
    generator = np.random.default_rng(seed)
    support = generator.integers(0, 3, (NUM_ROWS, NUM_NEGATIVES))
    support[2], support[3] = 0, 5
    negatives = generator.integers(1, NUM_ITEMS, (NUM_ROWS, NUM_NEGATIVES))
    return TripletBatch(
        users=tf.constant(generator.integers(1, NUM_USERS, NUM_ROWS), tf.int32),
        positives=tf.constant(generator.integers(1, NUM_ITEMS, NUM_ROWS), tf.int32),
        negatives=tf.constant(np.where(support, negatives, 0), tf.int32),
        case=tf.zeros([NUM_ROWS, NUM_NEGATIVES], tf.int8),
        support=tf.constant(support, tf.int32),
        facts={
            name: tf.constant(values, tf.int32)
            for name, values in (facts or {}).items()
        },
    )


def pairs(given: TripletBatch) -> Iterator[tuple[int, int, int, int]]:
    """Yields row, user, positive and negative of each pair that exists."""
    for row in range(NUM_ROWS):
        for column in range(NUM_NEGATIVES):
            if int(given.support[row, column]):
                yield (
                    row,
                    int(given.users[row]),
                    int(given.positives[row]),
                    int(given.negatives[row, column]),
                )


def window(
    popularity: list[int],
    rows: list[int] | None = None,
    slots: SlotPopularity | None = None,
    drawn: list[int] | None = None,
) -> TrainWindow:
    """Describes training rows of one user each, with the items `rows`."""
    items = np.asarray(rows or [], np.int32)
    met = Interactions(np.ones_like(items), items, None, np.asarray([len(items)]))

    def read_slots() -> SlotPopularity:
        assert slots is not None
        return slots

    return TrainWindow(
        np.asarray(popularity, np.int64),
        np.asarray(drawn or popularity, np.int64),
        lambda _: met,
        read_slots,
        lambda length: np.zeros((NUM_USERS, length), np.int32),
    )


def randomise(model: TripletMethod, seed: int = 7) -> None:
    """Gives every variable values of about 1 that no formula can hide behind."""
    generator = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(generator.normal(0, 0.8, variable.shape))


def tables(model: TripletMethod) -> tuple[Float64s, Float64s]:
    users, items = model.users.table.numpy(), model.items.table.numpy()
    return users.astype(np.float64), items.astype(np.float64)


def gradients(
    model: TripletMethod,
    given: TripletBatch,
    variables: Sequence[tf.Variable] | None = None,
) -> list[Float64s]:
    """Returns the gradients of the whole loss, dense; by default of all variables."""
    variables = model.trainable_variables if variables is None else variables
    with tf.GradientTape() as tape:
        terms = model.loss_terms(given, model.towers(training=True))
        loss = tf.add_n(
            [model.initial_term_weights()[name] * term for name, term in terms.items()]
        )
    found = tape.gradient(loss, variables)
    return [tf.convert_to_tensor(gradient).numpy() for gradient in found]


def require_formula(
    model: TripletMethod,
    given: TripletBatch,
    formula: Callable[[], Mapping[str, float]],
    *,
    rel: float = 1e-5,
    others: frozenset[str] = frozenset(),
) -> None:
    """Fails unless the terms of the loss, and their gradients, are those of a formula.

    Args:
        model: The model.
        given: The batch.
        formula: Name of a term to its value in float64, read anew from the model's
            variables at each call.
        rel: How far values may be apart.
        others: Terms that there must be besides, which are not looked at.
    """
    weights = model.initial_term_weights()
    expected = formula()
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        terms = model.loss_terms(given, model.towers(training=True))
        loss = tf.add_n([weights[name] * terms[name] for name in expected])
    np.testing.assert_equal(set(terms), expected.keys() | others)
    for name, value in expected.items():
        np.testing.assert_allclose(float(terms[name]), value, rtol=rel, err_msg=name)
    none = tf.UnconnectedGradients.ZERO
    slopes = tape.gradient(loss, variables, unconnected_gradients=none)
    for variable, slope in zip(variables, slopes, strict=True):
        by_difference = differences(
            variable,
            lambda: sum(weights[name] * value for name, value in formula().items()),
        )
        dense = tf.convert_to_tensor(slope).numpy()
        np.testing.assert_allclose(dense, by_difference, rtol=1e-3, atol=2e-6)


def differences(variable: tf.Variable, loss: Callable[[], float]) -> Float64s:
    """Returns the slope of a float64 loss along each value of a float32 variable."""
    values = variable.numpy()
    slopes = np.zeros(values.shape)
    for place in np.ndindex(values.shape):
        ends = []
        for step in (-_STEP, _STEP):
            moved = np.array(values)
            moved[place] += step
            variable.assign(moved)
            # What float32 has made of the step is the step.
            ends.append((float(moved[place]), loss()))
        (low, below), (high, above) = ends
        slopes[place] = (above - below) / (high - low)
    variable.assign(values)
    return slopes


def rankings(model: TripletMethod) -> npt.NDArray[np.int64]:
    """Returns each user's items by falling score."""
    vectors = model.vectors()
    scores = vectors.queries[:, 0] @ vectors.candidates.T
    return np.argsort(-scores, axis=1, kind="stable")
