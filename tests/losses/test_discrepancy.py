"""Discrepancies against loops in float64; finite gradients where others have NaN."""

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from tfcausal.losses.discrepancy import distance_correlation, negative_l1, negative_l2

Matrix = npt.NDArray[np.float64]


def slow_distance_correlation(first: Matrix, second: Matrix) -> float:
    """The definition (Szekely et al. 2007, Eq. 2.8-2.10), entry by entry."""

    def centred(rows: Matrix) -> Matrix:
        n = len(rows)
        a = np.zeros((n, n))
        for i in range(n):
            for j in range(n):
                a[i, j] = np.sqrt(((rows[i] - rows[j]) ** 2).sum())
        result = np.zeros((n, n))
        for i in range(n):
            for j in range(n):
                result[i, j] = a[i, j] - a[i].mean() - a[:, j].mean() + a.mean()
        return result

    a, b = centred(first), centred(second)
    covariance = max((a * b).mean(), 0.0)
    scale = np.sqrt((a * a).mean()) * np.sqrt((b * b).mean())
    return float(np.sqrt(covariance / scale))


def samples(seed: int, size: int = 24) -> tuple[Matrix, Matrix]:
    generator = np.random.default_rng(seed)
    first = generator.normal(size=(size, 5))
    return first, 0.6 * first[:, :3] ** 2 + generator.normal(size=(size, 3))


@pytest.mark.parametrize("seed", range(4))
def test_value_is_the_definition(seed: int) -> None:
    first, second = samples(seed)
    found = distance_correlation(
        tf.constant(first, tf.float32), tf.constant(second, tf.float32)
    )
    assert float(found) == pytest.approx(
        slow_distance_correlation(first, second), rel=1e-4
    )


@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_the_finite_difference_of_the_definition(seed: int) -> None:
    first, second = samples(seed, size=9)
    variables = [tf.Variable(first), tf.Variable(second)]
    with tf.GradientTape() as tape:
        value = distance_correlation(*variables)
    gradients = [gradient.numpy() for gradient in tape.gradient(value, variables)]
    for which, matrix in enumerate((first, second)):
        for index in np.ndindex(matrix.shape):
            step = np.zeros_like(matrix)
            step[index] = 1e-5
            moved = [
                slow_distance_correlation(
                    first + sign * step if which == 0 else first,
                    second + sign * step if which == 1 else second,
                )
                for sign in (1, -1)
            ]
            difference = (moved[0] - moved[1]) / 2e-5
            assert gradients[which][index] == pytest.approx(difference, abs=1e-4)


def test_extremes() -> None:
    first, _ = samples(0, size=40)
    same = distance_correlation(tf.constant(first), tf.constant(first * 3 + 1))
    assert float(same) == pytest.approx(1, abs=1e-6)
    generator = np.random.default_rng(1)
    apart = distance_correlation(
        tf.constant(generator.normal(size=(800, 2))),
        tf.constant(generator.normal(size=(800, 2))),
    )
    assert float(apart) < 0.15


@pytest.mark.parametrize(
    "rows",
    [np.ones((1, 4)), np.ones((6, 4)), np.zeros((6, 4)), 1e-12 * np.eye(4)],
    ids=["one row", "equal rows", "zeros", "tiny"],
)
def test_degenerate_rows_give_finite_value_and_gradient(rows: Matrix) -> None:
    variables = [tf.Variable(rows, dtype=tf.float32) for _ in range(2)]
    with tf.GradientTape() as tape:
        value = distance_correlation(*variables)
    assert np.isfinite(float(value))
    for gradient in tape.gradient(value, variables):
        assert np.isfinite(gradient.numpy()).all()


def test_l1_and_l2_by_hand() -> None:
    first, second = tf.constant([[1.0, 2.0]]), tf.constant([[4.0, 0.0]])
    # |1 - 4| = 3, |2 - 0| = 2: mean 2.5; squares 9 and 4: mean 6.5
    assert float(negative_l1(first, second)) == -2.5
    assert float(negative_l2(first, second)) == -6.5
