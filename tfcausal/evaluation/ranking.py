"""Full ranking: every user's best items among all, in blocks of users."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfcausal.data.interactions import Interactions
from tfcausal.errors import InputError
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.vectors import CausalVectors, Float32s
from tfcausal.stats.nearest import LARGEST_SCORE, longest
from tfcausal.stats.negatives import Int32s, Int64s
from tfcausal.stats.sorting import distinct, repeated, stable_order

BLOCK_SCORES = 40_000_000
"""Scores of a block, about: 160 MB."""
TILE = 64
"""Items of a tile; see `best_k`."""


@dataclass(frozen=True)
class ItemLists:
    """A list of items for each user.

    Attributes:
        offsets: [num_users + 1] int64; user u has items[offsets[u] : offsets[u + 1]].
        items: [n] int32, each once within a user: ascending, or as `in_order_of_rows`
            has them.
    """

    offsets: Int64s
    items: Int32s

    @classmethod
    def from_interactions(cls, rows: Interactions, num_users: int) -> "ItemLists":
        """Groups interactions by user; repeats count once."""
        pairs = distinct((rows.users.astype(np.int64) << 32) | rows.items)
        bounds = np.arange(num_users + 1, dtype=np.int64) << 32
        return cls(
            np.searchsorted(pairs, bounds), (pairs & 0xFFFFFFFF).astype(np.int32)
        )

    @classmethod
    def in_order_of_rows(cls, rows: Interactions, num_users: int) -> "ItemLists":
        """Groups interactions by user and keeps their order; of repeats the first.

        Rows of a part of a split are in order of time.
        """
        places, again = repeated((rows.users.astype(np.int64) << 32) | rows.items)
        kept = np.ones(len(rows), bool)
        kept[places[again]] = False
        users = rows.users[kept]
        ends = np.cumsum(np.bincount(users, minlength=num_users))
        return cls(np.concatenate([[0], ends]), rows.items[kept][stable_order(users)])

    @classmethod
    def empty(cls, num_users: int) -> "ItemLists":
        """Returns lists without items."""
        return cls(np.zeros(num_users + 1, np.int64), np.zeros(0, np.int32))

    @property
    def lengths(self) -> Int64s:
        """[num_users] int64 items of each user."""
        return np.diff(self.offsets)

    def chosen(self, users: Int32s) -> "ItemLists":
        """Returns the lists of `users` in the place of all."""
        ends = np.cumsum(self.lengths[users])
        return ItemLists(np.concatenate([[0], ends]), self.of(users)[1])

    def of(self, users: Int32s) -> tuple[Int64s, Int32s]:
        """Returns the lists of `users` end to end.

        Returns:
            [n] int64 position in `users` of each entry's user, and [n] int32 items.
        """
        lengths = self.offsets[users + 1] - self.offsets[users]
        owners = np.repeat(np.arange(len(users)), lengths)
        shift = np.cumsum(lengths) - lengths
        places = np.arange(len(owners)) + np.repeat(
            self.offsets[users] - shift, lengths
        )
        return owners, self.items[places]


@dataclass(frozen=True)
class RankedBlock:
    """Lists of a block of users.

    Attributes:
        users: [n] int32.
        items: [n, k] int32, best first; 0 past the end of a list that is shorter.
        scores: [n, k] float32; -inf past the end.
    """

    users: Int32s
    items: Int32s
    scores: Float32s


def rank_all(
    vectors: CausalVectors, users: Int32s, masked: ItemLists, k: int
) -> Iterator[RankedBlock]:
    """Yields the k best items of each user, a block of users at a time.

    Equal scores go to the smaller item index. Masked items are not in the list at any
    scale of scores; a user with fewer than k others gets a shorter list.

    Args:
        vectors: Of all users and items.
        users: [n] int32 users to rank for.
        masked: Items to leave out, a list for each user.
        k: Length of the lists.
    Raises:
        InputError: If scores could leave float32.
    Cost:
        One matrix product and two passes over its result; 160 MB for a block's scores.
    """
    require_finite_scores(vectors)
    padded, never = tiled(vectors.candidates)
    candidates, never = tf.constant(padded), tf.constant(never)
    size = max(BLOCK_SCORES // (len(padded) * vectors.queries.shape[1]), 1)
    depth = min(k, len(padded))
    for first in range(0, len(users), size):
        block = users[first : first + size]
        rows, items = masked.of(block)
        scores, best = _rank_block(
            tf.constant(vectors.queries[block]),
            candidates,
            never,
            tf.constant(np.stack([rows, items.astype(np.int64)], axis=1)),
            tf.constant(depth),
        )
        short = ((0, 0), (0, k - depth))
        values = np.pad(scores.numpy(), short, constant_values=-np.inf)
        indices = np.pad(best.numpy(), short)
        indices[np.isneginf(values)] = UNKNOWN_INDEX
        yield RankedBlock(block, indices, values)


def require_finite_scores(vectors: CausalVectors) -> None:
    """Raises InputError if a score could leave float32, by Cauchy and Schwarz."""
    bound = longest(vectors.queries) * longest(vectors.candidates)
    if bound > LARGEST_SCORE:
        raise InputError(
            f"Scores must stay below {LARGEST_SCORE:.1e}; the vectors' norms allow "
            f"{bound:.1e}. Train again with a smaller learning_rate, or lower the "
            "weights of causes."
        )


def tiled(candidates: Float32s) -> tuple[Float32s, Int64s]:
    """Pads candidates to whole tiles.

    Args:
        candidates: [num_items, dim] float32.
    Returns:
        [n * TILE, dim] float32, and [m] int64 rows that must never be shown: the
        unknown item and the padding.
    """
    num_items = len(candidates)
    padding = -num_items % TILE
    never = np.r_[UNKNOWN_INDEX, num_items : num_items + padding]
    return np.pad(candidates, ((0, padding), (0, 0))), never.astype(np.int64)


def best_k(
    queries: tf.Tensor,
    candidates: tf.Tensor,
    never: tf.Tensor,
    masked: tf.Tensor,
    k: tf.Tensor,
    *,
    permitted: tf.Tensor | None = None,
    above: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the best candidates of each query, equal scores in the order of rows.

    The k tiles with the largest maxima hold the k best scores, and a pass for maxima is
    several times as fast as a search for the k best in whole rows.

    Args:
        queries: [batch, num_queries, dim] float32.
        candidates: [rows, dim] float32, whole tiles.
        never: [m] int64 rows that nobody is shown.
        masked: [n, 2] int64 pairs of a position in the batch and a row left out there.
        k: [] int32, at least 1 and at most rows.
        permitted: [batch, rows] bool rows that may be shown; None for all.
        above: [batch] float32 scores that are good enough elsewhere: at least all rows
            above them are returned, and fewer than k where no query has so many in as
            many tiles. None for no such scores.
    Returns:
        [batch, k] float32 scores, -inf for what is masked, and [batch, k] int32 rows.
    """
    num_users, num_queries = tf.shape(queries)[0], tf.shape(queries)[1]
    flat = tf.reshape(queries, [num_users * num_queries, tf.shape(queries)[2]])
    scores = tf.matmul(flat, candidates, transpose_b=True)
    num_rows = tf.shape(candidates)[0]
    if queries.shape[1] != 1:
        by_query = tf.reshape(scores, [num_users, num_queries, num_rows])
        scores = tf.reduce_max(by_query, axis=1)
    rows = tf.repeat(tf.range(tf.cast(num_users, tf.int64)), tf.size(never))
    everywhere = tf.stack([rows, tf.tile(never, [num_users])], axis=1)
    places = tf.concat([everywhere, masked], axis=0)
    scores = tf.tensor_scatter_nd_update(
        scores, places, tf.fill([tf.shape(places)[0]], -np.inf)
    )
    if permitted is not None:
        scores = tf.where(permitted, scores, -np.inf)
    tiles = tf.reshape(scores, [num_users, num_rows // TILE, TILE])
    maxima = tf.reduce_max(tiles, axis=2)
    num_tiles = tf.minimum(k, num_rows // TILE)
    if above is not None:
        counts = tf.math.count_nonzero(maxima > above[:, None], axis=1, dtype=tf.int32)
        most = tf.reduce_max(tf.concat([counts, [1]], axis=0))
        num_tiles = tf.minimum(num_tiles, most)
    # Ascending, so that equal scores keep the order of their items.
    chosen = tf.sort(tf.math.top_k(maxima, num_tiles).indices, axis=1)
    near = tf.gather(tiles, chosen, batch_dims=1)
    near = tf.reshape(near, [num_users, num_tiles * TILE])
    values, places_near = tf.math.top_k(near, tf.minimum(k, num_tiles * TILE))
    tile = tf.gather(chosen, places_near // TILE, batch_dims=1)
    return values, tile * TILE + places_near % TILE


_rank_block = tf.function(best_k, reduce_retracing=True)
