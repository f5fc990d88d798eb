"""Losses whose negatives are the other items of a batch.

A batch of n rows meets m distinct items; a column stands for each. Blocks of rows are
scored one after the other, and their gradient is written out, so that memory grows with
m and not with n * m.
"""

from collections.abc import Callable
from typing import Any, Literal

from tfcausal.keras_compat import ops

_BLOCK_ROWS = 256
_EXCLUDED = -1e30
"""Score whose exponential is 0, finite so that no difference is undefined."""
_LEAST = 1e-30
"""Sum of exponentials below which its logarithm is taken no more."""

Filtered = Literal["dropped", "zeroed"]


def in_batch_softmax(
    queries: Any,
    candidates: Any,
    *,
    columns: Any,
    owners: Any,
    met: Any,
    counts: Any,
    log_q: Any,
) -> Any:
    """Returns the mean cross-entropy of each row's item among those of the batch.

    Formula: mean_i -log( e^(s_it - q_t) / (e^(s_it - q_t) + sum_j c_j e^(s_ij - q_j)) )
    over all j that the user of row i has not met in this batch; t is the row's item.
    Symbols: s_ij = <query i, candidate j>; q -> log_q; c -> counts
    Reference: Yi et al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
    Recommendations, RecSys 2019, Eq. 4 and 5.
    Deviations: all items that the user has met in the batch are left out of its
    negatives, not only those of the same row.

    Args:
        queries: [n, dim] float, of each row's user; a temperature divides them before.
        candidates: [m, dim] float, of the batch's distinct items.
        columns: [n] int column of each row's item.
        owners: [n] int number of each row's user among the batch's distinct ones.
        met: [num distinct users, m] bool which of them met which item in the batch.
        counts: [m] float rows that have each item.
        log_q: [m] float log-probability with which an item is a negative; zeros for no
            correction.
    Returns:
        [] float >= 0.
    """
    every = ops.arange(ops.shape(candidates)[0])
    bias = ops.log(counts) - log_q
    weight = 1.0 / ops.cast(ops.shape(queries)[0], queries.dtype)

    def rows(scores: Any, block: Any) -> tuple[Any, Any]:
        own = ops.equal(ops.take(columns, block)[:, None], every[None, :])
        known = ops.take(met, ops.take(owners, block), axis=0)
        # The row's item counts once, however many other rows have it.
        scores = scores + ops.where(own, -log_q[None, :], bias[None, :])
        wanted = ops.sum(ops.where(own, scores, 0.0), axis=1, keepdims=True)
        negative = ops.logical_or(own, ops.logical_not(known))
        scores = ops.where(negative, scores, _EXCLUDED)
        highest = ops.max(scores, axis=1, keepdims=True)
        powers = ops.exp(scores - highest)
        total = ops.sum(powers, axis=1, keepdims=True)
        slopes = powers * (weight / total)
        slopes = ops.where(own, slopes - weight, slopes)
        return weight * (highest + ops.log(total) - wanted), slopes

    return _in_blocks(queries, candidates, rows)


def popularity_contrast(
    queries: Any,
    candidates: Any,
    *,
    weights: Any,
    owners: Any,
    met: Any,
    counts: Any,
    levels: Any = None,
    limits: Any = None,
    filtered: Filtered = "dropped",
    epsilon: float = 0.1,
) -> Any:
    """Returns the weighted contrast of all that users met against the whole batch.

    Formula: sum_i w_i * -log( (sum_j y_ij c_j e^(s_ij) + eps)
                               / (sum_j c_j e^(s_ij) + eps) )
    Symbols: w -> weights; y -> met; c -> counts; s_ij = <query i, candidate j>
    Reference: Zhao et al., Disentangled Causal Embedding with Contrastive Learning for
    Recommender System (DCCL), WWW 2023, the two contrastive losses, as in the
    authors' code.
    Deviations: the paper writes the weight inside the logarithm, where it has no
    gradient; as in the authors' code it stands outside, numerator and denominator have
    0.1 added, and all items of the user count as positives.

    Args:
        queries: [n, dim] float, of each row's user; a temperature divides them before.
        candidates: [m, dim] float, of the batch's distinct items.
        weights: [n] float of the rows.
        owners: [n] int number of each row's user among the batch's distinct ones.
        met: [num distinct users, m] bool which of them met which item in the batch.
        counts: [m] float rows that have each item.
        levels: [m] float popularity of the items; None for no filter.
        limits: [n] float popularity above which an item is no negative of a row.
        filtered: "dropped" leaves those out, as the paper has it; "zeroed" gives them
            the score 0, positives too, as the authors' code does.
        epsilon: Added to numerator and denominator.
    Returns:
        [] float.
    """
    log_counts = ops.log(counts)[None, :]
    weights = ops.stop_gradient(weights)[:, None]

    def rows(scores: Any, block: Any) -> tuple[Any, Any]:
        positive = ops.take(met, ops.take(owners, block), axis=0)
        low = None
        if levels is not None:
            low = levels[None, :] <= ops.take(limits, block)[:, None]
            if filtered == "zeroed":
                scores = ops.where(low, scores, 0.0)
        scores = scores + log_counts
        if low is not None and filtered == "dropped":
            scores = ops.where(ops.logical_or(low, positive), scores, _EXCLUDED)
        # The constant counts as one more item, whose score is 0.
        highest = ops.maximum(ops.max(scores, axis=1, keepdims=True), 0.0)
        powers = ops.exp(scores - highest)
        added = epsilon * ops.exp(-highest)
        below = ops.sum(powers, axis=1, keepdims=True) + added
        above = ops.sum(ops.where(positive, powers, 0.0), axis=1, keepdims=True) + added
        # Below that, all positives are some 70 under the highest score.
        above = ops.maximum(above, _LEAST)
        weight = ops.take(weights, block, axis=0)
        slope = weight / below
        slopes = powers * ops.where(positive, slope - weight / above, slope)
        if low is not None and filtered == "zeroed":
            slopes = ops.where(low, slopes, 0.0)
        return weight * (ops.log(below) - ops.log(above)), slopes

    return _in_blocks(queries, candidates, rows)


def _in_blocks(
    queries: Any, candidates: Any, rows: Callable[[Any, Any], tuple[Any, Any]]
) -> Any:
    """Returns the sum of losses of rows, with the gradient that comes with them.

    Args:
        queries: [n, dim] float.
        candidates: [m, dim] float.
        rows: From the products of [block] queries and all candidates, [block, m], and
            the numbers of these queries to their losses, [block, 1], and to the slopes
            of these losses by each product, [block, m].
    """
    fixed_candidates = ops.stop_gradient(candidates)
    transposed = ops.transpose(fixed_candidates)
    total = 0.0
    query_slopes, candidate_slopes = [], ops.zeros_like(fixed_candidates)
    size = queries.shape[0]
    starts = [0] if size is None else range(0, size, _BLOCK_ROWS)
    for start in starts:
        end = ops.shape(queries)[0] if size is None else min(start + _BLOCK_ROWS, size)
        fixed = ops.stop_gradient(queries[start:end])
        losses, slopes = rows(ops.matmul(fixed, transposed), ops.arange(start, end))
        total = total + ops.sum(losses)
        query_slopes.append(ops.matmul(slopes, fixed_candidates))
        candidate_slopes = candidate_slopes + ops.matmul(ops.transpose(slopes), fixed)
    change = ops.sum(ops.concatenate(query_slopes, axis=0) * queries)
    change = change + ops.sum(candidate_slopes * candidates)
    return total + change - ops.stop_gradient(change)
