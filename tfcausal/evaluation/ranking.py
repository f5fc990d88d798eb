"""Full ranking: every user's best items among all, in blocks of users."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfcausal.data.interactions import Interactions
from tfcausal.errors import InputError
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.vectors import CausalVectors, Float32s
from tfcausal.stats.negatives import Int32s, Int64s

BLOCK_SCORES = 40_000_000
"""Scores of a block, about: 160 MB."""
_TILE = 64


@dataclass(frozen=True)
class ItemLists:
    """A list of items for each user.

    Attributes:
        offsets: [num_users + 1] int64; user u has items[offsets[u] : offsets[u + 1]].
        items: [n] int32, ascending within a user, each once.
    """

    offsets: Int64s
    items: Int32s

    @classmethod
    def from_interactions(cls, rows: Interactions, num_users: int) -> "ItemLists":
        """Groups interactions by user; repeats count once."""
        pairs = np.unique((rows.users.astype(np.int64) << 32) | rows.items)
        bounds = np.arange(num_users + 1, dtype=np.int64) << 32
        return cls(
            np.searchsorted(pairs, bounds), (pairs & 0xFFFFFFFF).astype(np.int32)
        )

    @classmethod
    def empty(cls, num_users: int) -> "ItemLists":
        """Returns lists without items."""
        return cls(np.zeros(num_users + 1, np.int64), np.zeros(0, np.int32))

    @property
    def lengths(self) -> Int64s:
        """[num_users] int64 items of each user."""
        return np.diff(self.offsets)

    def of(self, users: Int32s) -> tuple[Int64s, Int32s]:
        """Returns the lists of `users` end to end.

        Returns:
            [n] int64 position in `users` of each entry's user, and [n] int32 items.
        """
        lengths = self.offsets[users + 1] - self.offsets[users]
        owners = np.repeat(np.arange(len(users)), lengths)
        shift = np.cumsum(lengths) - lengths
        places = np.arange(len(owners)) + np.repeat(self.offsets[users] - shift, lengths)
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
        InputError: If a score is not a number.
    Cost:
        One matrix product and two passes over its result; 160 MB for a block's scores.
    """
    num_items = len(vectors.candidates)
    padding = -num_items % _TILE
    candidates = tf.constant(np.pad(vectors.candidates, ((0, padding), (0, 0))))
    # The unknown item, and the padding that makes whole tiles.
    never = tf.constant(
        np.r_[UNKNOWN_INDEX, np.arange(num_items, num_items + padding)], tf.int64
    )
    size = max(BLOCK_SCORES // (num_items * vectors.queries.shape[1]), 1)
    depth = min(k, num_items + padding)
    for first in range(0, len(users), size):
        block = users[first : first + size]
        rows, items = masked.of(block)
        places = np.stack([rows, items.astype(np.int64)], axis=1)
        scores, best = _rank_block(
            tf.constant(vectors.queries[block]),
            candidates,
            never,
            tf.constant(places),
            tf.constant(depth),
        )
        values, indices = scores.numpy(), best.numpy()
        if np.isnan(values).any() or np.isposinf(values).any():
            row = int(np.argwhere(np.isnan(values) | np.isposinf(values))[0, 0])
            raise InputError(
                f"Scores must be finite; those of user {block[row]} are not. Train "
                "again with a smaller learning_rate, or lower the weights of causes."
            )
        if depth < k:
            short = ((0, 0), (0, k - depth))
            values = np.pad(values, short, constant_values=-np.inf)
            indices = np.pad(indices, short)
        indices[np.isneginf(values)] = UNKNOWN_INDEX
        yield RankedBlock(block, indices, values)


@tf.function(reduce_retracing=True)  # type: ignore[misc]
def _rank_block(
    queries: tf.Tensor,
    candidates: tf.Tensor,
    never: tf.Tensor,
    masked: tf.Tensor,
    k: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Scores a block and returns its best, [n, k] float32 and int32.

    The k tiles with the largest maxima hold the k best scores, and a pass for maxima is
    several times as fast as a search for the k best in whole rows.
    """
    num_users, num_queries = tf.shape(queries)[0], tf.shape(queries)[1]
    flat = tf.reshape(queries, [-1, tf.shape(queries)[2]])
    scores = tf.matmul(flat, candidates, transpose_b=True)
    if queries.shape[1] != 1:
        scores = tf.reduce_max(tf.reshape(scores, [num_users, num_queries, -1]), axis=1)
    rows = tf.repeat(tf.range(num_users, dtype=tf.int64), tf.size(never))
    everywhere = tf.stack([rows, tf.tile(never, [num_users])], axis=1)
    places = tf.concat([everywhere, masked], axis=0)
    scores = tf.tensor_scatter_nd_update(
        scores, places, tf.fill([tf.shape(places)[0]], -np.inf)
    )
    tiles = tf.reshape(scores, [num_users, -1, _TILE])
    num_tiles = tf.minimum(k, tf.shape(tiles)[1])
    maxima = tf.reduce_max(tiles, axis=2)
    # Ascending, so that equal scores keep the order of their items.
    chosen = tf.sort(tf.math.top_k(maxima, num_tiles).indices, axis=1)
    near = tf.reshape(tf.gather(tiles, chosen, batch_dims=1), [num_users, -1])
    values, places_near = tf.math.top_k(near, tf.minimum(k, tf.shape(near)[1]))
    tile = tf.gather(chosen, places_near // _TILE, batch_dims=1)
    return values, tile * _TILE + places_near % _TILE
