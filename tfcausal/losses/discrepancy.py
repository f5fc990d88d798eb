"""How far apart two sets of embeddings of the same rows are.

Every function takes two [n, dim] matrices and returns a term to be minimised.
Reference: Zheng et al., Disentangling User Interest and Conformity for Recommendation
with Causal Embedding (DICE), WWW 2021, section 3.2.4 (discrepancy task); dCor: Szekely,
Rizzo, Bakirov, Measuring and testing dependence by correlation of distances, Ann.
Statist. 2007, Eq. 2.8-2.10.
Deviations: the authors' code takes roots of values that rounding puts below zero and
divides by zero for a single row; here both are bounded, so that value and gradient are
always finite.
"""

from typing import Any

from tfcausal.keras_compat import ops

_EPSILON = 1e-8


def negative_l1(first: Any, second: Any) -> Any:
    """Returns minus the mean absolute difference; minimising drives them apart.

    Args:
        first: [n, dim] float.
        second: [n, dim] float.
    Returns:
        [] float <= 0.
    """
    return -ops.mean(ops.absolute(first - second))


def negative_l2(first: Any, second: Any) -> Any:
    """Returns minus the mean squared difference; minimising drives them apart.

    Args:
        first: [n, dim] float.
        second: [n, dim] float.
    Returns:
        [] float <= 0.
    """
    return -ops.mean(ops.square(first - second))


def distance_correlation(first: Any, second: Any) -> Any:
    """Returns the distance correlation; minimising it makes the samples independent.

    Formula: a_ij = |x_i - x_j|, A = a - row mean - column mean + mean, likewise B;
    dCov^2(X, Y) = mean(A * B); dCor = sqrt(dCov^2(X, Y) / sqrt(dCov^2(X, X) *
    dCov^2(Y, Y))).

    Args:
        first: [n, dim] float, a row for each sample.
        second: [n, other_dim] float, row i of the same sample as row i of `first`.
    Returns:
        [] float in [0, 1]; 0 in the limit of independence, and for a single row.
    Cost:
        O(n^2 * dim) time, a handful of [n, n] matrices in memory: sample the rows. The
        gradient is written out, which takes half the time of an automatic one.
    """
    a, centred_a = _distances(ops.stop_gradient(first))
    b, centred_b = _distances(ops.stop_gradient(second))
    covariance = ops.mean(centred_a * centred_b)
    variance_a = ops.mean(centred_a * centred_a) + _EPSILON
    variance_b = ops.mean(centred_b * centred_b) + _EPSILON
    scale = ops.sqrt(variance_a * variance_b)
    ratio = ops.maximum(covariance, 0.0) / scale
    root = ops.sqrt(ratio + _EPSILON**2)
    # Centring is a projection, so d dCov^2(X, Y) / d a is B / n^2, and so on.
    slope = (
        0.5 * ops.cast(covariance > 0, a.dtype) / root / ops.cast(ops.size(a), a.dtype)
    )
    slope_a = slope * (centred_b / scale - ratio * centred_a / variance_a)
    slope_b = slope * (centred_a / scale - ratio * centred_b / variance_b)
    change = _linear(0.5 * slope_a / a, first) + _linear(0.5 * slope_b / b, second)
    return root - _EPSILON + change - ops.stop_gradient(change)


def _distances(rows: Any) -> tuple[Any, Any]:
    """Returns the distances between all rows, [n, n], and the same double-centred."""
    squares = ops.sum(ops.square(rows), axis=1)
    products = ops.matmul(rows, ops.transpose(rows))
    squared = squares[:, None] + squares[None, :] - 2.0 * products
    # The root's gradient is infinite at 0, where the diagonal always is.
    distances = ops.sqrt(ops.maximum(squared, 0.0) + _EPSILON)
    means = ops.mean(distances, axis=0)
    return distances, distances - means[:, None] - (means - ops.mean(means))[None, :]


def _linear(weights: Any, rows: Any) -> Any:
    """Returns sum_ij weights_ij |x_i - x_j|^2 for symmetric, constant weights."""
    norms = ops.sum(ops.sum(weights, axis=1) * ops.sum(ops.square(rows), axis=1))
    return 2.0 * (norms - ops.sum(rows * ops.matmul(weights, rows)))
