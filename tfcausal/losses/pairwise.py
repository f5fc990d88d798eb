"""Losses on pairs of a positive's and a negative's score."""

from typing import Any

from tfcausal.keras_compat import ops


def bpr(positive_scores: Any, negative_scores: Any) -> Any:
    """Returns the loss of each pair: -log sigmoid(positive - negative).

    Formula: softplus(negative - positive), which is the same and does not overflow.
    Reference: Rendle et al., BPR: Bayesian Personalized Ranking from Implicit Feedback,
    UAI 2009, section 4.

    Args:
        positive_scores: Floats, any shape.
        negative_scores: Floats that broadcast against `positive_scores`.
    Returns:
        Floats >= 0 of the broadcast shape; the reduction is the caller's.
    """
    return ops.softplus(negative_scores - positive_scores)


def mean_over(losses: Any, counted: Any) -> Any:
    """Returns the mean of `losses` over the entries that are counted.

    Args:
        losses: Floats, any shape.
        counted: Booleans that broadcast against `losses`.
    Returns:
        [] float; 0, with zero gradient, where nothing is counted.
    """
    weights = ops.cast(ops.broadcast_to(counted, ops.shape(losses)), losses.dtype)
    return ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1.0)


def masked_bpr(
    positive_scores: Any, negative_scores: Any, mask: Any, counted: Any
) -> Any:
    """Returns BPR over masked pairs, divided by the number of all counted pairs.

    DICE's cause-specific losses (Zheng et al., WWW 2021, Eq. 6 and 7) are sums over the
    pairs of one case. As in the authors' code, the sum is divided by the number of all
    pairs, so that the term weighs as much as the case is frequent.

    Args:
        positive_scores: Floats, any shape.
        negative_scores: Floats that broadcast against `positive_scores`.
        mask: Booleans; the pairs that belong to the case.
        counted: Booleans; the pairs that exist.
    Returns:
        [] float >= 0; 0, with zero gradient, for an empty mask.
    """
    losses = bpr(positive_scores, negative_scores)
    return mean_over(losses * ops.cast(mask, losses.dtype), counted)
