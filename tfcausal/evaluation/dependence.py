"""How much one set of numbers tells of another, in float64."""

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr

from tfcausal.errors import InputError
from tfcausal.evaluation.metrics import Float64s
from tfcausal.stats import mixing

RIDGE_PENALTIES = np.logspace(-4, 4, 17)
"""Penalties that a ridge regression chooses from, for each row it learns from."""


def spearman(first: Float64s, second: Float64s) -> float:
    """Returns Spearman's rank correlation, equal values sharing their mean rank.

    Args:
        first: [n] float64.
        second: [n] float64.
    Raises:
        InputError: If lengths differ, or one of them is constant.
    """
    if first.shape != second.shape:
        raise InputError(
            f"Correlated scores must be of one length; got {first.shape} and "
            f"{second.shape}."
        )
    if first.min() == first.max() or second.min() == second.max():
        raise InputError(
            "Correlated scores must vary; one side is constant. Check that the model "
            "was trained."
        )
    return float(spearmanr(first, second).statistic)


def distance_correlation(first: Float64s, second: Float64s) -> float:
    """Returns how dependent two samples are, linearly or not.

    Formula: a_ij = |x_i - x_j|, A = a - row mean - column mean + mean, likewise B;
    dCov^2(X, Y) = mean(A * B); dCor = sqrt(dCov^2(X, Y) / sqrt(dCov^2(X, X) *
    dCov^2(Y, Y))).
    Reference: Szekely, Rizzo, Bakirov, Measuring and testing dependence by correlation
    of distances, Ann. Statist. 2007, Eq. 2.8-2.10. The same that
    `tfcausal.losses.discrepancy` minimises, without its bounds and gradient.

    Args:
        first: [n, dim] float64, a row for each sample.
        second: [n, other_dim] float64, row i of the same sample as row i of `first`.
    Returns:
        A number in [0, 1]; 0 where a side is constant. Of independent samples it is
        above 0, the more so the fewer rows and the more coordinates there are.
    Cost:
        O(n^2 * dim) time, a handful of [n, n] matrices in memory.
    """
    a, b = _centred_distances(first), _centred_distances(second)
    scale = np.sqrt((a * a).mean() * (b * b).mean())
    covariance = float((a * b).mean())
    return float(np.sqrt(max(covariance, 0.0) / scale)) if scale > 0 else 0.0


def _centred_distances(rows: Float64s) -> Float64s:
    """Returns the [n, n] distances between all rows, double-centred."""
    distances: Float64s = cdist(rows, rows)
    means = distances.mean(axis=0)
    centred: Float64s = distances - means[:, None] - (means - means.mean())[None, :]
    return centred


def cross_validated_r2(
    features: Float64s, target: Float64s, *, num_folds: int = 5
) -> float:
    """Returns the share of a target's variance that a ridge regression foretells.

    Each row is foretold from the rows of the other folds, so that coordinates which
    know nothing of the target get about 0 however many they are. The penalty is chosen
    on those other rows too, by generalised cross-validation.

    Formula: R^2 = 1 - sum (y - foretold)^2 / sum (y - mean of the other folds)^2

    Args:
        features: [n, dim] float64.
        target: [n] float64, not constant.
        num_folds: Parts of equal size, drawn by the row's number: always the same.
    Returns:
        At most 1; below 0 where foretelling the mean would be better.
    Raises:
        InputError: If the target is constant in all folds but one, or there are too few
            rows for the folds.
    """
    if len(target) < 2 * num_folds:
        raise InputError(
            f"A regression in {num_folds} folds must have at least {2 * num_folds} "
            f"rows; got {len(target)}."
        )
    start = np.asarray([mixing.stream(0, "folds")], np.uint64)
    order = np.argsort(mixing.draws(start, np.arange(len(target))), kind="stable")
    errors = total = 0.0
    for fold in range(num_folds):
        held = np.zeros(len(target), bool)
        held[order[fold::num_folds]] = True
        mean = target[~held].mean()
        deviations = target[~held] - mean
        if not deviations.any():
            raise InputError("The target of a regression must vary; it is constant.")
        centre, spread = features[~held].mean(axis=0), features[~held].std(axis=0)
        spread[spread == 0] = 1.0
        scaled = (features - centre) / spread
        foretold = mean + scaled[held] @ _ridge(scaled[~held], deviations)
        errors += float(((target[held] - foretold) ** 2).sum())
        total += float(((target[held] - mean) ** 2).sum())
    return 1.0 - errors / total


def _ridge(features: Float64s, target: Float64s) -> Float64s:
    """Returns the coefficients of a ridge regression of centred numbers.

    Formula: w = (X'X + p I)^-1 X'y, with the penalty p that minimises
    |y - X w|^2 / (1 - (1 + trace of X (X'X + p I)^-1 X') / n)^2.
    Reference: Golub, Heath, Wahba, Generalized cross-validation as a method for
    choosing a good ridge parameter, Technometrics 1979.

    Args:
        features: [n, dim] float64 with column means 0.
        target: [n] float64 with mean 0.
    Returns:
        [dim] float64.
    """
    count = len(target)
    values, axes = np.linalg.eigh(features.T @ features)
    # Rounding leaves tiny negative ones where columns depend on each other.
    values = np.maximum(values, 0.0)
    along = axes.T @ (features.T @ target)
    penalties = count * RIDGE_PENALTIES[:, None]
    weights = along / (values + penalties)
    explained = (weights * (2 * along - values * weights)).sum(axis=1)
    freedom = 1 + (values / (values + penalties)).sum(axis=1)
    scores = (target @ target - explained) / (1 - freedom / count) ** 2
    coefficients: Float64s = axes @ weights[scores.argmin()]
    return coefficients
