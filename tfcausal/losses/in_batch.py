"""Losses whose negatives are the other items of a batch.

A batch of n rows meets m distinct items; a column stands for each. Blocks of rows are
scored against all columns, one block after the other, and the gradient is written out,
so that memory grows with m and not with n * m. What users met in the batch is sparse:
it comes as pairs of a row and a column, and is scored by itself.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

from tfcausal.keras_compat import ops

_BLOCK_ROWS = 256
_EXCLUDED = -1e30
"""Score whose exponential is 0, finite so that no difference is undefined."""

Filtered = Literal["dropped", "zeroed"]


def in_batch_softmax(
    queries: Any,
    candidates: Any,
    *,
    columns: Any,
    met_rows: Any,
    met_columns: Any,
    counts: Any,
    log_q: Any,
    weights: Any = None,
) -> Any:
    """Returns the mean cross-entropy of each row's item among those of the batch.

    Formula: mean_i w_i * -log( e^(s_it - q_t)
                                / (e^(s_it - q_t) + sum_j c_j e^(s_ij - q_j)) )
    over all j that the user of row i has not met in this batch; t is the row's item.
    Symbols: s_ij = <query i, candidate j>; q -> log_q; c -> counts; w -> weights
    Reference: Yi et al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
    Recommendations, RecSys 2019, Eq. 4 and 5.
    Deviations: all items that the user has met in the batch are left out of its
    negatives, not only those of the same row.

    Args:
        queries: [n, dim] float, of each row's user; a temperature divides them before.
        candidates: [m, dim] float, of the batch's distinct items.
        columns: [n] int column of each row's item.
        met_rows: [p] int rows, ascending, with each column that their user has met in
            the batch, once.
        met_columns: [p] int these columns.
        counts: [m] float rows that have each item.
        log_q: [m] float log-probability with which an item is a negative; zeros for no
            correction.
        weights: [n] float of the rows; None for 1.
    Returns:
        [] float >= 0.
    """
    # The row's item counts once, however many other rows have it.
    own = ops.sum(queries * ops.take(candidates, columns, axis=0), axis=1)
    return candidate_softmax(
        queries,
        own - ops.take(log_q, columns),
        candidates,
        met_rows=met_rows,
        met_columns=met_columns,
        counts=counts,
        log_q=log_q,
        weights=weights,
    )


def candidate_softmax(
    queries: Any,
    own: Any,
    candidates: Any,
    *,
    met_rows: Any,
    met_columns: Any,
    counts: Any,
    log_q: Any,
    weights: Any = None,
) -> Any:
    """Returns the mean cross-entropy of each row's item among shared candidates.

    Formula: mean_i w_i * -log( e^(o_i) / (e^(o_i) + sum_j c_j e^(s_ij - q_j)) )
    over all candidates j that row i does not leave out.
    Symbols: o -> own; s_ij = <query i, candidate j>; q -> log_q; c -> counts;
        w -> weights
    Reference: Bengio, Senecal, Adaptive Importance Sampling to Accelerate Training of a
    Neural Probabilistic Language Model, IEEE Transactions on Neural Networks 2008.

    Args:
        queries: [n, dim] float, of each row's user; a temperature divides them before.
        own: [n] float score of each row's item, corrected as the candidates' are.
        candidates: [m, dim] float.
        met_rows: [p] int rows, ascending, with each column that they leave out.
        met_columns: [p] int these columns.
        counts: [m] float times that each candidate counts.
        log_q: [m] float log-probability with which a candidate is drawn; zeros for no
            correction.
        weights: [n] float of the rows; None for 1.
    Returns:
        [] float >= 0.
    """

    def without_met(scores: Any, start: int, end: Any) -> tuple[Any, None]:
        first, last = _places(met_rows, start), _places(met_rows, end)
        places = ops.stack(
            [met_rows[first:last] - start, met_columns[first:last]], axis=1
        )
        excluded = ops.full_like(
            ops.cast(met_rows[first:last], scores.dtype), _EXCLUDED
        )
        return ops.scatter_update(scores, places, excluded), None

    if weights is None:
        weights = ops.ones_like(own)
    weights = ops.stop_gradient(weights) / ops.cast(ops.shape(own)[0], own.dtype)
    total = _log_sums(
        queries, candidates, ops.log(counts) - log_q, own, weights, without_met
    )
    return total - ops.sum(weights * own)


def popularity_contrast(
    queries: Any,
    candidates: Any,
    *,
    weights: Any,
    met_rows: Any,
    met_columns: Any,
    counts: Any,
    levels: Any = None,
    limits: Any = None,
    filtered: Filtered = "dropped",
    epsilon: float = 0.1,
) -> Any:
    """Returns the weighted contrast of all that users met against the whole batch.

    Formula: sum_i w_i * -log( (sum_j y_ij c_j e^(s_ij) + eps)
                               / (sum_j c_j e^(s_ij) + eps) )
    Symbols: w -> weights; y_ij -> whether (i, j) is met; c -> counts;
        s_ij = <query i, candidate j>
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
        met_rows: [p] int rows with each column that their user has met in the batch,
            once; at least one for each row.
        met_columns: [p] int these columns.
        counts: [m] float rows that have each item.
        levels: [m] float popularity of the items; None for no filter.
        limits: [n] float popularity above which an item is no negative of a row.
        filtered: "dropped" leaves those out, as the paper has it; "zeroed" gives them
            the score 0, positives too, as the authors' code does.
        epsilon: Added to numerator and denominator.
    Returns:
        [] float.
    """
    log_counts = ops.log(counts)
    weights = ops.stop_gradient(weights)
    scores = ops.sum(
        ops.take(queries, met_rows, axis=0) * ops.take(candidates, met_columns, axis=0),
        axis=1,
    )
    constant = ops.full_like(weights, math.log(epsilon))
    change, extra = None, constant
    if levels is not None:
        low = ops.take(levels, met_columns) <= ops.take(limits, met_rows)

        def without_popular(products: Any, start: int, end: Any) -> tuple[Any, Any]:
            kept = levels[None, :] <= limits[start:end, None]
            if filtered == "zeroed":
                return ops.where(kept, products, log_counts[None, :]), kept
            return ops.where(kept, products, _EXCLUDED), None

        change = without_popular
        if filtered == "zeroed":
            scores = ops.where(low, scores, 0.0)
    scores = scores + ops.take(log_counts, met_columns)
    if levels is not None and filtered == "dropped":
        # Positives stay, however popular.
        popular = ops.where(low, _EXCLUDED, scores)
        extra = _log_sum_by_row(popular, met_rows, constant)
    below = _log_sums(queries, candidates, log_counts, extra, weights, change)
    return below - ops.sum(weights * _log_sum_by_row(scores, met_rows, constant))


def _places(met_rows: Any, row: Any) -> Any:
    """Returns the first place in ascending rows that has `row` or a later one."""
    return ops.sum(ops.cast(met_rows < row, "int32"))


def _log_sum_by_row(scores: Any, rows: Any, constant: Any) -> Any:
    """Returns log(e^constant + the sum of a row's e^scores), [n]."""
    number = ops.shape(constant)[0]
    highest = ops.maximum(ops.segment_max(scores, rows, number), constant)
    highest = ops.stop_gradient(highest)
    powers = ops.exp(scores - ops.take(highest, rows))
    total = ops.segment_sum(powers, rows, number) + ops.exp(constant - highest)
    return highest + ops.log(total)


def _log_sums(
    queries: Any,
    candidates: Any,
    bias: Any,
    extra: Any,
    weights: Any,
    change: Callable[[Any, int, Any], tuple[Any, Any]] | None,
) -> Any:
    """Returns sum_i w_i log(e^x_i + sum_j e^(<q_i, c_j> + b_j)), gradient included.

    Args:
        queries: q, [n, dim] float.
        candidates: c, [m, dim] float.
        bias: b, [m] float without a gradient.
        extra: x, [n] float.
        weights: w, [n] float without a gradient.
        change: From the exponents of rows start to end, [end - start, m], to other
            ones, and to where these still have a slope, None for everywhere.
    """
    fixed_queries = ops.stop_gradient(queries)
    fixed = ops.stop_gradient(candidates)
    # The bias comes as one more coordinate, which costs less than a pass over scores.
    longer = ops.concatenate([fixed, ops.stop_gradient(bias)[:, None]], axis=1)
    fixed_queries = ops.concatenate(
        [fixed_queries, ops.ones_like(fixed_queries[:, :1])], axis=1
    )
    fixed_extra = ops.stop_gradient(extra)[:, None]
    transposed = ops.transpose(longer)
    dim = queries.shape[1]
    total = 0.0
    query_slopes, extra_slopes = [], []
    candidate_slopes = ops.zeros_like(longer)
    size = queries.shape[0]
    for start in [0] if size is None else range(0, size, _BLOCK_ROWS):
        end = ops.shape(queries)[0] if size is None else min(start + _BLOCK_ROWS, size)
        block = fixed_queries[start:end]
        scores, sloped = ops.matmul(block, transposed), None
        if change is not None:
            scores, sloped = change(scores, start, end)
        more = fixed_extra[start:end]
        highest = ops.maximum(ops.max(scores, axis=1, keepdims=True), more)
        powers = ops.exp(scores - highest)
        more = ops.exp(more - highest)
        sums = ops.sum(powers, axis=1, keepdims=True) + more
        weight = weights[start:end, None]
        total = total + ops.sum(weight * (highest + ops.log(sums)))
        if sloped is not None:
            powers = ops.where(sloped, powers, 0.0)
        # Rows are scaled beside the products, not within the [block, m] powers.
        scale = weight / sums
        query_slopes.append(scale * ops.matmul(powers, fixed))
        extra_slopes.append((scale * more)[:, 0])
        candidate_slopes = candidate_slopes + ops.matmul(
            ops.transpose(powers), scale * block
        )
    gradient = (
        ops.sum(ops.concatenate(query_slopes, axis=0) * queries)
        + ops.sum(candidate_slopes[:, :dim] * candidates)
        + ops.sum(ops.concatenate(extra_slopes, axis=0) * extra)
    )
    return total + gradient - ops.stop_gradient(gradient)
