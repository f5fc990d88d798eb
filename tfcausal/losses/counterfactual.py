"""Contrasts of counterfactual user vectors: with the observed one, and with items.

A counterfactual vector is what a user's encoder makes of a history of which something
was replaced: what matters little (a positive, which should stay the same) or what
matters (a negative, which should not).

Reference: Zhang et al., CauseRec: Counterfactual User Sequence Synthesis for Sequential
Recommendation, SIGIR 2021, section 3.3.5.
Symbols: x_q -> users; x+,m -> positives; x-,n -> negatives; y -> items.
Deviations: The paper does not say how rows are reduced; here it is their mean. A row
whose history is too short for a positive has none; the paper does not mention such
rows.
"""

from typing import Any

from tfcausal.keras_compat import ops
from tfcausal.losses.pairwise import mean_over

_SHORTEST = 1e-6
"""A vector shorter than this has no direction."""


def contrast_with_users(
    users: Any,
    positives: Any,
    negatives: Any,
    *,
    positives_exist: Any,
    negatives_exist: Any,
    margin: float = 1.0,
) -> Any:
    """Draws positives to the observed vector, nearer by a margin than any negative.

    Formula: sum_m sum_n max(0, d(x_q, x+,m) - d(x_q, x-,n) + margin), the mean over
    rows; d is the Euclidean distance (not its square). Its gradient at 0 is 0.
    Reference: Zhang et al. (CauseRec), SIGIR 2021, Eq. 9.

    Args:
        users: [n, dim] float. Of an encoder with several vectors for a user the caller
            gives one, and its counterparts below.
        positives: [n, num_positives, dim] float; there may be none.
        negatives: [n, num_negatives, dim] float; there may be none.
        positives_exist: [n, num_positives] bool; another counts nothing.
        negatives_exist: [n, num_negatives] bool.
        margin: How much nearer.
    Returns:
        [] float >= 0, the mean over all rows, those that count nothing included.
    """
    near = _lengths(users[:, None, :] - positives)
    far = _lengths(users[:, None, :] - negatives)
    losses = ops.relu(near[:, :, None] - far[:, None, :] + margin)
    counted = ops.logical_and(positives_exist[:, :, None], negatives_exist[:, None, :])
    return mean_over(ops.sum(ops.where(counted, losses, 0.0), axis=(1, 2)), True)


def contrast_with_items(
    items: Any,
    positives: Any,
    negatives: Any,
    *,
    positives_exist: Any,
    negatives_exist: Any,
    margin: float = 0.5,
) -> Any:
    """Turns positives towards the item that was met next, and negatives away from it.

    Formula: sum_m (1 - cos(x+,m, y)) + sum_n max(0, cos(x-,n, y) - margin), the mean
    over rows. The cosine with a vector shorter than 1e-6 is 0, and so is its gradient.
    Reference: Zhang et al. (CauseRec), SIGIR 2021, Eq. 10.

    Args:
        items: [n, dim] float.
        positives: [n, num_positives, dim] float; there may be none.
        negatives: [n, num_negatives, dim] float; there may be none.
        positives_exist: [n, num_positives] bool; another counts nothing.
        negatives_exist: [n, num_negatives] bool.
        margin: Cosine up to which a negative costs nothing.
    Returns:
        [] float >= 0, the mean over all rows, those that count nothing included.
    """
    targets = items[:, None, :]
    towards = 1.0 - _cosines(positives, targets)
    away = ops.relu(_cosines(negatives, targets) - margin)
    losses = ops.sum(ops.where(positives_exist, towards, 0.0), axis=1) + ops.sum(
        ops.where(negatives_exist, away, 0.0), axis=1
    )
    return mean_over(losses, True)


def _lengths(vectors: Any) -> Any:
    """Returns Euclidean lengths along the last axis, with zero gradient at 0."""
    squares = ops.sum(ops.square(vectors), axis=-1)
    positive = squares > 0
    # The root's gradient at 0 is infinite, and times 0 behind one `where` no number.
    return ops.where(positive, ops.sqrt(ops.where(positive, squares, 1.0)), 0.0)


def _cosines(vectors: Any, targets: Any) -> Any:
    """Returns cosines along the last axis, [n, num_vectors]; 0 with too short ones.

    Args:
        vectors: [n, num_vectors, dim] float.
        targets: [n, 1, dim] float.
    """
    own, other = _lengths(vectors), _lengths(targets)
    exists = ops.logical_and(own >= _SHORTEST, other >= _SHORTEST)
    lengths = own * other
    products = ops.sum(vectors * targets, axis=-1)
    return ops.where(exists, products / ops.where(exists, lengths, 1.0), 0.0)
