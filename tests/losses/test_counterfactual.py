"""Contrasts of counterfactual users against the formulas, in float64 numpy."""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from tfcausal.losses.counterfactual import contrast_with_items, contrast_with_users

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Case = tuple[Floats, Floats, Floats, Mask, Mask]


def slow_users(
    users: Floats,
    positives: Floats,
    negatives: Floats,
    positives_exist: Mask,
    negatives_exist: Mask,
    margin: float,
) -> float:
    """Eq. 9, pair by pair."""
    total = 0.0
    for row, user in enumerate(users):
        for m in np.flatnonzero(positives_exist[row]):
            for n in np.flatnonzero(negatives_exist[row]):
                near = math.dist(user, positives[row, m])
                far = math.dist(user, negatives[row, n])
                total += max(0.0, near - far + margin)
    return total / len(users)


def slow_items(
    items: Floats,
    positives: Floats,
    negatives: Floats,
    positives_exist: Mask,
    negatives_exist: Mask,
    margin: float,
) -> float:
    """Eq. 10, vector by vector."""

    def cosine(first: Floats, second: Floats) -> float:
        lengths = math.hypot(*first) * math.hypot(*second)
        return float(first @ second) / lengths if lengths else 0.0

    total = 0.0
    for row, item in enumerate(items):
        for m in np.flatnonzero(positives_exist[row]):
            total += 1 - cosine(positives[row, m], item)
        for n in np.flatnonzero(negatives_exist[row]):
            total += max(0.0, cosine(negatives[row, n], item) - margin)
    return total / len(items)


LOSSES = pytest.mark.parametrize(
    ("fast", "slow", "margin"),
    [
        (contrast_with_users, slow_users, 1.0),
        (contrast_with_items, slow_items, 0.5),
    ],
    ids=["users", "items"],
)


def case(seed: int, m: int = 2, n: int = 5, rows: int = 7, dim: int = 4) -> Case:
    """Random vectors; a row without positives, one without negatives, one without."""
    generator = np.random.default_rng(seed)
    base = generator.normal(size=(rows, dim))
    positives = base[:, None] + generator.normal(size=(rows, m, dim))
    negatives = base[:, None] + generator.normal(size=(rows, n, dim))
    positives_exist = generator.random((rows, m)) < 0.8
    negatives_exist = generator.random((rows, n)) < 0.8
    positives_exist[[1, 3]] = False
    negatives_exist[[2, 3]] = False
    return base, positives, negatives, positives_exist, negatives_exist


def value(fast: Callable[..., Any], given: Case, **margin: float) -> float:
    anchors, positives, negatives, positives_exist, negatives_exist = given
    found = fast(
        tf.constant(anchors),
        tf.constant(positives),
        tf.constant(negatives),
        positives_exist=tf.constant(positives_exist),
        negatives_exist=tf.constant(negatives_exist),
        **margin,
    )
    assert found.shape == ()
    return float(found)


def gradients(fast: Callable[..., Any], given: Case) -> list[Floats]:
    variables = [tf.Variable(vectors) for vectors in given[:3]]
    with tf.GradientTape() as tape:
        loss = fast(
            *variables,
            positives_exist=tf.constant(given[3]),
            negatives_exist=tf.constant(given[4]),
        )
    return [gradient.numpy() for gradient in tape.gradient(loss, variables)]


def test_users_by_hand() -> None:
    # d+ = 5; d- = 3, 10, and one that does not exist
    # max(0, 5 - 3 + 1) + max(0, 5 - 10 + 1) = 3 + 0; the second row has no positive
    given = (
        np.zeros((2, 2)),
        np.asarray([[[3.0, 4.0]], [[9.0, 9.0]]]),
        np.asarray([[[0.0, 3.0], [6.0, 8.0], [0.0, 0.0]], [[0.0, 1.0]] * 3]),
        np.asarray([[True], [False]]),
        np.asarray([[True, True, False], [True, True, True]]),
    )
    assert value(contrast_with_users, given) == pytest.approx(3 / 2)
    # 4 + 0 for margin 2, 7.5 + 0.5 for margin 5.5
    assert value(contrast_with_users, given, margin=2.0) == pytest.approx(4 / 2)
    assert value(contrast_with_users, given, margin=5.5) == pytest.approx(8 / 2)


def test_items_by_hand() -> None:
    # cos+ = 0.6, cos- = 1, 0, -1: (1 - 0.6) + (1 - 0.5) + 0 + 0
    given = (
        np.asarray([[2.0, 0.0]]),
        np.asarray([[[3.0, 4.0]]]),
        np.asarray([[[5.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]]),
        np.asarray([[True]]),
        np.asarray([[True, True, True]]),
    )
    assert value(contrast_with_items, given) == pytest.approx(0.9)
    assert value(contrast_with_items, given, margin=0.8) == pytest.approx(0.6)


@LOSSES
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("m", "n"), [(1, 8), (2, 5), (3, 1)])
def test_value_is_the_formula(
    fast: Callable[..., Any],
    slow: Callable[..., float],
    margin: float,
    seed: int,
    m: int,
    n: int,
) -> None:
    given = case(seed, m, n)
    assert value(fast, given) == pytest.approx(slow(*given, margin), rel=1e-12)
    assert value(fast, given, margin=0.2) == pytest.approx(slow(*given, 0.2), rel=1e-12)


@LOSSES
def test_gradient_is_the_finite_difference_of_the_formula(
    fast: Callable[..., Any], slow: Callable[..., float], margin: float
) -> None:
    given = case(4, rows=5)
    found = gradients(fast, given)
    for which in range(3):
        for index in np.ndindex(given[which].shape):
            moved = []
            for sign in (1, -1):
                vectors = [array.copy() for array in given[:3]]
                vectors[which][index] += sign * 1e-6
                moved.append(slow(*vectors, *given[3:], margin))
            difference = (moved[0] - moved[1]) / 2e-6
            assert found[which][index] == pytest.approx(difference, abs=1e-8)


@LOSSES
@pytest.mark.parametrize(("m", "n"), [(0, 3), (2, 0), (0, 0)])
def test_without_one_kind(
    fast: Callable[..., Any],
    slow: Callable[..., float],
    margin: float,
    m: int,
    n: int,
) -> None:
    given = case(5, m, n)
    assert value(fast, given) == pytest.approx(slow(*given, margin), rel=1e-12)
    assert all(np.isfinite(gradient).all() for gradient in gradients(fast, given))


@LOSSES
def test_what_does_not_exist_is_as_if_absent(
    fast: Callable[..., Any], slow: Callable[..., float], margin: float
) -> None:
    given = case(6)
    anchors, positives, negatives, positives_exist, negatives_exist = given
    other = (
        anchors,
        np.where(positives_exist[..., None], positives, 1e3),
        np.where(negatives_exist[..., None], negatives, 0.0),
        positives_exist,
        negatives_exist,
    )
    assert value(fast, other) == value(fast, given)
    for changed in (given, other):
        of_anchors, of_positives, of_negatives = gradients(fast, changed)
        # The row without either half.
        assert not of_anchors[3].any()
        assert not of_positives[~positives_exist].any()
        assert not of_negatives[~negatives_exist].any()
        assert of_positives[positives_exist].any()
        assert of_negatives[negatives_exist].any()


@LOSSES
def test_zeros_and_equal_vectors_are_finite(
    fast: Callable[..., Any], slow: Callable[..., float], margin: float
) -> None:
    anchors, positives, negatives, _, _ = case(7)
    anchors[0] = 0
    positives[1] = anchors[1]
    negatives[2] = anchors[2]
    positives[3], negatives[4] = 0, 0
    anchors[5], positives[5], negatives[5] = 0, 0, 0
    given = (
        anchors,
        positives,
        negatives,
        np.ones((7, 2), bool),
        np.ones((7, 5), bool),
    )
    assert value(fast, given) == pytest.approx(slow(*given, margin), rel=1e-12)
    found = gradients(fast, given)
    assert all(np.isfinite(gradient).all() for gradient in found)
    # All of them lie in one place, or have no direction.
    assert not any(gradient[5].any() for gradient in found)


def test_short_vectors_have_a_bounded_gradient_in_float32() -> None:
    for length in (0.0, 1e-38, 1e-30, 1e-20, 1e-12, 1e-7, 2e-6):
        items = tf.constant([[0.0, 1.0]])
        vectors = tf.Variable([[[length, 0.0]]])
        exists = tf.constant([[True]])
        for fast, most in ((contrast_with_users, 1.0), (contrast_with_items, 1e6)):
            with tf.GradientTape() as tape:
                loss = fast(
                    items * 0 if most == 1 else items,
                    vectors,
                    vectors,
                    positives_exist=exists,
                    negatives_exist=exists,
                )
            gradient = tape.gradient(loss, vectors).numpy()
            assert np.isfinite(loss.numpy())
            assert np.abs(gradient).max() <= most


def test_items_look_at_directions_alone() -> None:
    anchors, positives, negatives, *exist = case(8)
    scales = np.random.default_rng(0).uniform(1e-3, 1e3, (7, 1))
    scaled = (
        anchors * scales,
        positives / scales[:, None],
        negatives * 7,
        exist[0],
        exist[1],
    )
    given = (anchors, positives, negatives, exist[0], exist[1])
    assert value(contrast_with_items, scaled) == pytest.approx(
        value(contrast_with_items, given), rel=1e-12
    )


@LOSSES
def test_graph_of_any_number_of_rows(
    fast: Callable[..., Any], slow: Callable[..., float], margin: float
) -> None:
    step = tf.function(
        lambda x, p, n, p_exist, n_exist: fast(
            x, p, n, positives_exist=p_exist, negatives_exist=n_exist
        ),
        input_signature=[
            tf.TensorSpec([None, 4], tf.float32),
            tf.TensorSpec([None, 2, 4], tf.float32),
            tf.TensorSpec([None, 5, 4], tf.float32),
            tf.TensorSpec([None, 2], tf.bool),
            tf.TensorSpec([None, 5], tf.bool),
        ],
    )
    for rows in (4, 9):
        given = case(rows, rows=rows)
        vectors = [tf.constant(array, tf.float32) for array in given[:3]]
        found = step(*vectors, *given[3:])
        assert float(found) == pytest.approx(slow(*given, margin), rel=1e-5)
    none = [array[:0] for array in case(0)]
    assert float(step(*(np.float32(array) for array in none[:3]), *none[3:])) == 0


def test_losses_work_without_tensorflow() -> None:
    script = """
import sys
import jax
import numpy as np
from tfcausal.losses.counterfactual import contrast_with_items, contrast_with_users
positives = np.sin(np.arange(24, dtype="float32")).reshape(4, 2, 3)
negatives = np.cos(np.arange(36, dtype="float32")).reshape(4, 3, 3)
exist = {
    "positives_exist": positives[..., 0] > 0,
    "negatives_exist": negatives[..., 0] > 0,
}
for loss in (contrast_with_users, contrast_with_items):
    print(float(loss(positives[:, 0] + 1, positives, negatives, **exist)))
    # Distances and lengths of 0, where TensorFlow alone forgives a root's gradient.
    slopes = jax.grad(lambda x, y: loss(x[:, 0], x, y, **exist), argnums=(0, 1))
    assert all(np.isfinite(s).all() for s in slopes(positives, negatives * 0))
assert "tensorflow" not in sys.modules
"""
    found = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    positives = np.sin(np.arange(24.0)).reshape(4, 2, 3)
    negatives = np.cos(np.arange(36.0)).reshape(4, 3, 3)
    given = (
        positives[:, 0] + 1,
        positives,
        negatives,
        positives[..., 0] > 0,
        negatives[..., 0] > 0,
    )
    assert float(found[0]) == pytest.approx(slow_users(*given, 1.0), rel=1e-5)
    assert float(found[1]) == pytest.approx(slow_items(*given, 0.5), rel=1e-5)
