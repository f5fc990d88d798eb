"""The losses against other items of the batch, row by row in float64."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tfcausal.losses import in_batch
from tfcausal.losses.in_batch import (
    candidate_softmax,
    in_batch_softmax,
    popularity_contrast,
)
from tfcausal.samplers.in_batch import InBatch

import tensorflow as tf  # isort: skip

Float64s = npt.NDArray[np.float64]
USERS = [3, 5, 3, 7, 5, 9, 3, 1, 2, 2, 4]
ITEMS = [2, 2, 4, 6, 8, 4, 6, 6, 2, 1, 8]


def vectors(seed: int, rows: int) -> Float64s:
    return np.random.default_rng(seed).normal(size=(rows, 4))


def found_in_batch() -> InBatch:
    return InBatch.of(tf.constant(USERS, tf.int32), tf.constant(ITEMS, tf.int32))


def user_items(user: int) -> set[int]:
    return {item for other, item in zip(USERS, ITEMS, strict=True) if other == user}


def by_item(values: npt.ArrayLike) -> tf.Tensor:
    """Orders what is given by item id as the columns of the batch are."""
    return tf.constant(np.asarray(values)[found_in_batch().items.numpy()], tf.float32)


def slow_softmax(
    queries: Float64s, items: Float64s, log_q: Float64s, weights: Float64s
) -> float:
    total = 0.0
    for row, (user, item) in enumerate(zip(USERS, ITEMS, strict=True)):
        own = np.exp(queries[row] @ items[item] - log_q[item])
        others = sum(
            np.exp(queries[row] @ items[other] - log_q[other])
            for other in ITEMS
            if other not in user_items(user)
        )
        total -= weights[row] * np.log(own / (own + others))
    return total / len(USERS)


def slow_contrast(
    queries: Float64s,
    items: Float64s,
    weights: Float64s,
    popularity: Float64s | None,
    filtered: str,
) -> float:
    total = 0.0
    for row, (user, item) in enumerate(zip(USERS, ITEMS, strict=True)):
        above, below = 0.1, 0.1
        for other in ITEMS:
            score, positive = queries[row] @ items[other], other in user_items(user)
            if popularity is not None and popularity[other] > popularity[item]:
                if filtered == "zeroed":
                    score = 0.0
                elif not positive:
                    continue
            below += np.exp(score)
            above += np.exp(score) if positive else 0.0
        total += weights[row] * -np.log(above / below)
    return total


def slow_gradient(function: Any, at: Float64s) -> Float64s:
    gradient = np.zeros_like(at)
    for place in np.ndindex(*at.shape):
        ahead, behind = at.copy(), at.copy()
        ahead[place] += 1e-5
        behind[place] -= 1e-5
        gradient[place] = (function(ahead) - function(behind)) / 2e-5
    return gradient


def compare(fast: Any, slow: Any) -> None:
    """Compares values and gradients at all queries and items."""
    queries, items = vectors(0, len(USERS)), vectors(1, 10)
    q, c = tf.Variable(queries, dtype=tf.float32), tf.Variable(items, dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = fast(q, tf.gather(c, found_in_batch().items))
    assert float(loss) == pytest.approx(slow(queries, items), rel=1e-5)
    of_queries, of_items = tape.gradient(loss, [q, c])
    np.testing.assert_allclose(
        of_queries, slow_gradient(lambda at: slow(at, items), queries), atol=2e-5
    )
    np.testing.assert_allclose(
        tf.convert_to_tensor(of_items),
        slow_gradient(lambda at: slow(queries, at), items),
        atol=2e-5,
    )


@pytest.fixture(params=[256, 4])
def block_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_batch, "_BLOCK_ROWS", request.param)


@pytest.mark.usefixtures("block_rows")
@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_softmax_and_its_gradient(weighted: bool, corrected: bool) -> None:
    log_q = np.log(np.linspace(0.05, 0.4, 10)) * corrected
    weights = np.linspace(0.1, 2.0, len(USERS)) ** weighted
    batch = found_in_batch()
    compare(
        lambda queries, candidates: in_batch_softmax(
            queries,
            candidates,
            columns=batch.columns,
            met_rows=batch.met_rows,
            met_columns=batch.met_columns,
            counts=batch.counts,
            log_q=by_item(log_q),
            weights=tf.constant(weights, tf.float32) if weighted else None,
        ),
        lambda queries, items: slow_softmax(queries, items, log_q, weights),
    )


# Which candidates a row leaves out: one, none, all of them, one twice, and several.
LEFT_OUT = [[2], [], [0, 1, 2, 3, 4, 5], [], [4, 4], [], [0, 5], [], [], [3], [1, 2, 3]]
CANDIDATE_COUNTS = np.asarray([1.0, 3.0, 2.0, 1.0, 5.0, 1.0])
CANDIDATE_LOG_Q = np.log(np.asarray([0.3, 0.05, 0.1, 0.25, 0.02, 0.28]))


def slow_candidates(
    queries: Float64s,
    own: Float64s,
    candidates: Float64s,
    log_q: Float64s,
    weights: Float64s,
) -> float:
    total = 0.0
    for row, left_out in enumerate(LEFT_OUT):
        others = sum(
            CANDIDATE_COUNTS[j] * np.exp(queries[row] @ candidates[j] - log_q[j])
            for j in range(6)
            if j not in left_out
        )
        total -= weights[row] * np.log(np.exp(own[row]) / (np.exp(own[row]) + others))
    return total / len(LEFT_OUT)


@pytest.mark.usefixtures("block_rows")
@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("known_size", [False, True])
def test_softmax_over_shared_candidates_and_its_gradient(
    known_size: bool, weighted: bool, corrected: bool
) -> None:
    log_q = CANDIDATE_LOG_Q * corrected
    rows = len(LEFT_OUT)
    weights = np.linspace(0.0, 2.0, rows) if weighted else np.ones(rows)
    own = np.random.default_rng(6).normal(size=rows)
    arrays = (vectors(4, rows), own, vectors(5, 6))
    met = [(row, column) for row, gone in enumerate(LEFT_OUT) for column in gone]
    met_rows, met_columns = zip(*met, strict=True)

    @tf.function(
        input_signature=[
            tf.TensorSpec([rows if known_size else None, 4]),
            tf.TensorSpec([rows if known_size else None]),
            tf.TensorSpec([None, 4]),
        ]
    )
    def step(*given: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(given)
            loss = candidate_softmax(
                *given,
                met_rows=tf.constant(met_rows),
                met_columns=tf.constant(met_columns),
                counts=tf.constant(CANDIDATE_COUNTS, tf.float32),
                log_q=tf.constant(log_q, tf.float32),
                weights=tf.constant(weights, tf.float32) if weighted else None,
            )
        return loss, *tape.gradient(loss, given)

    loss, *gradients = step(*(tf.constant(one, tf.float32) for one in arrays))
    assert float(loss) == pytest.approx(
        slow_candidates(*arrays, log_q, weights), rel=1e-5
    )
    for place, gradient in enumerate(gradients):

        def changed(at: Float64s, place: int = place) -> float:
            queries, own, candidates = (
                at if number == place else array for number, array in enumerate(arrays)
            )
            return slow_candidates(queries, own, candidates, log_q, weights)

        np.testing.assert_allclose(
            gradient, slow_gradient(changed, arrays[place]), atol=2e-5
        )


def test_a_row_that_leaves_everything_out_costs_nothing() -> None:
    # log(1 + 2 e^0) for the second row, 0 for the first, whatever its score.
    loss = candidate_softmax(
        tf.zeros([2, 4]),
        tf.constant([-5.0, 0.0]),
        tf.zeros([2, 4]),
        met_rows=tf.constant([0, 0]),
        met_columns=tf.constant([1, 0]),
        counts=tf.ones(2),
        log_q=tf.zeros(2),
    )
    assert float(loss) == pytest.approx(np.log(3) / 2)


@pytest.mark.usefixtures("block_rows")
@pytest.mark.parametrize("filtered", ["none", "dropped", "zeroed"])
def test_contrast_and_its_gradient(filtered: str) -> None:
    popularity = np.asarray([0, 9, 5, 0, 5, 0, 3, 0, 7, 0], np.float64)
    weights = np.linspace(0.1, 1.0, len(USERS))
    batch = found_in_batch()
    limits = {
        "levels": by_item(popularity),
        "limits": tf.constant(popularity[ITEMS], tf.float32),
        "filtered": filtered,
    }
    compare(
        lambda queries, candidates: popularity_contrast(
            queries,
            candidates,
            weights=tf.constant(weights, tf.float32),
            met_rows=batch.met_rows,
            met_columns=batch.met_columns,
            counts=batch.counts,
            **({} if filtered == "none" else limits),
        ),
        lambda queries, items: slow_contrast(
            queries,
            items,
            weights,
            None if filtered == "none" else popularity,
            filtered,
        ),
    )


def test_large_scores_stay_finite() -> None:
    batch = found_in_batch()
    q = tf.Variable(100 * vectors(0, len(USERS)), dtype=tf.float32)
    c = tf.Variable(vectors(1, 10), dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = popularity_contrast(
            q,
            tf.gather(c, batch.items),
            weights=tf.ones(len(USERS)),
            met_rows=batch.met_rows,
            met_columns=batch.met_columns,
            counts=batch.counts,
        )
    assert np.isfinite(float(loss))
    assert float(loss) > 1
    assert np.isfinite(tape.gradient(loss, q).numpy()).all()


def test_what_rows_of_a_batch_have_in_common() -> None:
    batch = found_in_batch()
    items = batch.items.numpy()
    assert items[batch.columns.numpy()].tolist() == ITEMS
    assert batch.first_rows.numpy().tolist() == [ITEMS.index(item) for item in items]
    assert batch.counts.numpy().tolist() == [ITEMS.count(item) for item in items]
    rows, columns = batch.met_rows.numpy(), batch.met_columns.numpy()
    assert rows.tolist() == sorted(rows)
    for row, user in enumerate(USERS):
        met = items[columns[rows == row]].tolist()
        assert sorted(met) == sorted(user_items(user))
