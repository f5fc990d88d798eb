"""Exact search of a whole catalogue in stock operations, a block of it at a time."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfcausal.evaluation.ranking import TILE, best_k

_BLOCK_SCORES = 16_000_000
"""Scores of a block, about: 64 MB."""
_LEAST_ROWS = 256 * TILE
"""Rows of a block however many queries there are: smaller ones cost more than they
save."""


@dataclass(frozen=True)
class Limits:
    """What a request keeps out of its lists.

    Attributes:
        hidden: [n, 2] int64 pairs of a position in the batch and a row left out there.
        limited: [batch] bool, whose lists hold allowed rows alone; None for nobody's.
        allowed: Returns [m, 2] int64 pairs of a position in the batch and a row allowed
            there; it is called where lists are limited and nowhere else.
    """

    hidden: tf.Tensor
    limited: tf.Tensor | None = None
    allowed: Callable[[], tf.Tensor] | None = None


def search(
    queries: tf.Tensor,
    candidates: tf.Tensor,
    never: tf.Tensor,
    limits: Limits,
    k: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the best candidates of each query, equal scores in the order of rows.

    Args:
        queries: [batch, num_queries, dim] float32.
        candidates: [rows, dim] float32, whole tiles as of `ranking.tiled`.
        never: [m] int64 rows that nobody is shown.
        limits: What else is left out.
        k: [] int32, at least 1 and at most rows.
    Returns:
        [batch, k] float32 scores, -inf for what is left out, and [batch, k] int32 rows.
    Cost:
        64 MB of scores at a time, or num_queries * 64 kB for each user of a large
        batch, however many rows there are.
    """
    batch, num_queries = tf.shape(queries)[0], tf.shape(queries)[1]
    num_rows = tf.shape(candidates)[0]
    rows_of_block = _BLOCK_SCORES // tf.maximum(batch * num_queries, 1)
    size = tf.maximum(rows_of_block // TILE * TILE, _LEAST_ROWS)

    def step(
        start: tf.Tensor, scores: tf.Tensor, rows: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        end = tf.minimum(start + size, num_rows)
        # A later row of the same score as the last one listed does not displace it.
        last = _as_wide(scores, k, -np.inf)[:, -1]
        more, found = _search_block(
            queries, candidates, never, limits, k, last, start=start, end=end
        )
        # What was found before stands first, so that equal scores keep their order.
        scores = tf.concat([scores, more], axis=1)
        rows = tf.concat([rows, found], axis=1)
        best, places = tf.math.top_k(scores, tf.minimum(k, tf.shape(scores)[1]))
        return end, best, tf.gather(rows, places, batch_dims=1)

    _, scores, rows = tf.while_loop(
        lambda start, *_: start < num_rows,
        step,
        (0, tf.zeros([batch, 0]), tf.zeros([batch, 0], tf.int32)),
        shape_invariants=(
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([None, None]),
            tf.TensorSpec([None, None], tf.int32),
        ),
        parallel_iterations=1,
    )
    # Of tiles in which all is left out none is looked into.
    return _as_wide(scores, k, -np.inf), _as_wide(rows, k, 0)


def _as_wide(values: tf.Tensor, k: tf.Tensor, filling: float) -> tf.Tensor:
    """Returns [batch, k], of at most as many columns."""
    missing = [[0, 0], [0, k - tf.shape(values)[1]]]
    return tf.pad(values, missing, constant_values=tf.cast(filling, values.dtype))


def _search_block(
    queries: tf.Tensor,
    candidates: tf.Tensor,
    never: tf.Tensor,
    limits: Limits,
    k: tf.Tensor,
    above: tf.Tensor,
    *,
    start: tf.Tensor,
    end: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    first, last = tf.cast(start, tf.int64), tf.cast(end, tf.int64)

    def inside(pairs: tf.Tensor) -> tf.Tensor:
        kept = pairs[(pairs[:, 1] >= first) & (pairs[:, 1] < last)]
        return tf.stack([kept[:, 0], kept[:, 1] - first], axis=1)

    # Rows of whole tiles: TensorFlow does not copy such a slice.
    block = candidates[start:end]
    out_of_sight = never[(never >= first) & (never < last)] - first
    hidden = inside(limits.hidden)
    depth = tf.minimum(k, end - start)

    def among_all() -> tuple[tf.Tensor, tf.Tensor]:
        return best_k(queries, block, out_of_sight, hidden, depth, above=above)

    def among_allowed() -> tuple[tf.Tensor, tf.Tensor]:
        assert limits.limited is not None
        assert limits.allowed is not None
        allowed = inside(limits.allowed())
        permitted = tf.tensor_scatter_nd_update(
            tf.repeat(~limits.limited[:, None], end - start, axis=1),
            allowed,
            tf.fill([tf.shape(allowed)[0]], True),
        )
        return best_k(
            *(queries, block, out_of_sight, hidden, depth),
            permitted=permitted,
            above=above,
        )

    if limits.limited is None:
        scores, rows = among_all()
    else:
        any_limited = tf.reduce_any(limits.limited)
        scores, rows = tf.cond(any_limited, among_allowed, among_all)
    return scores, rows + start
