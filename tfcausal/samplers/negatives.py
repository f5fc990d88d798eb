"""Negatives by popularity drawn inside a TensorFlow graph.

The law, its source and its deviations stand in `tfcausal.stats.negatives`, whose draws
these are, bit for bit: a triplet is the same whether a Beam job wrote it or the
training graph drew it.
"""

import numpy as np
import tensorflow as tf

from tfcausal.samplers import mixing
from tfcausal.stats.negatives import (
    CASE_LESS_POPULAR,
    CASE_MORE_POPULAR,
    CASE_TIE,
    Catalogue,
    Positives,
)


class NegativeSampler:
    """Draws the negatives of batches of positives, for a fixed catalogue and history.

    Memory: 8 bytes for each distinct (user, item) of the history and 4 for each user.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        positives: Positives,
        *,
        num_users: int,
        num_negatives: int,
    ) -> None:
        """Puts the tables into the graph.

        Args:
            catalogue: The items by popularity.
            positives: What each user has met.
            num_users: Users in the vocabulary, the unknown one included.
            num_negatives: Negatives for each positive.
        """
        owners = np.arange(num_users + 1, dtype=np.int64) * positives.stride
        offsets = np.searchsorted(positives.rank_keys, owners).astype(np.int32)
        longest = int(np.diff(offsets).max(initial=0))
        self._steps = [2**power for power in reversed(range(longest.bit_length()))]
        # Within a user ranks and gaps need 32 bits, and half the memory to search in.
        # A search may look this far past the last one, where it counts nothing.
        padding = np.zeros(sum(self._steps) + 1, np.int32)
        owned = positives.rank_keys // positives.stride * positives.stride
        self._ranks, self._gaps = (
            tf.constant(np.append((found - owned).astype(np.int32), padding))
            for found in (positives.rank_keys, positives.gap_keys)
        )
        self._offsets = tf.constant(offsets)
        self._item_at = tf.constant(catalogue.item_at)
        self._popularity = tf.constant(catalogue.popularity)
        self._num_ranks = len(catalogue.item_at)
        self.num_negatives = num_negatives

    def __call__(
        self,
        up_end: tf.Tensor,
        down_start: tf.Tensor,
        min_pool: tf.Tensor,
        users: tf.Tensor,
        items: tf.Tensor,
        row_keys: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Draws the negatives of a batch.

        Args:
            up_end: [num_items] int64, as `Pools.up_end`.
            down_start: [num_items] int64, as `Pools.down_start`.
            min_pool: [] int64, as `Pools.min_pool`.
            users: [n] int32 user indices.
            items: [n] int32 item indices of the positives.
            row_keys: [n] uint64 from `mixing.keys` for this seed and epoch.
        Returns:
            `negatives` int32, `case` int8 and `support` int32, each
            [n, num_negatives]; see `tfcausal.stats.negatives.Negatives`.
        """
        start = tf.gather(self._offsets, users)
        end = tf.gather(self._offsets, users + 1)
        degree = tf.cast(end - start, tf.int64)
        up_end, down_start = tf.gather(up_end, items), tf.gather(down_start, items)
        met_up, met_high = tf.unstack(
            self._count(
                self._ranks,
                start,
                end,
                # Ranks below a bound are those up to the bound less one.
                tf.stack([up_end, down_start]) - 1,
            )
        )
        down_first = down_start - met_high
        num_up = up_end - met_up
        num_unmet = self._num_ranks - degree
        num_down = num_unmet - down_first

        only_down = num_up < min_pool
        only_up = ~only_down & (num_down < min_pool)
        too_few = tf.where(only_up, num_up, num_down) < self.num_negatives
        only_down |= too_few
        only_up &= ~too_few
        down_first = tf.where(too_few, tf.zeros_like(down_first), down_first)
        num_down = tf.where(too_few, num_unmet, num_down)
        mixed = ~(only_down | only_up)

        unmet: list[tf.Tensor] = []
        support: list[tf.Tensor] = []
        drawn: list[tf.Tensor] = []
        for draw in range(self.num_negatives):
            words = mixing.draws(row_keys, draw)
            heads = tf.equal(
                tf.bitwise.bitwise_and(words, tf.constant(1, tf.uint64)), 1
            )
            up = only_up | (mixed & heads)
            size = tf.where(up, num_up, num_down)
            same_pool = [tf.equal(number < down_first, up) for number in drawn]
            free = size
            for same in same_pool:
                free -= tf.cast(same, tf.int64)
            number = tf.cast(
                tf.floor(mixing.uniforms(words) * tf.cast(free, tf.float64)), tf.int64
            ) + tf.where(up, tf.zeros_like(down_first), down_first)
            for earlier, same in zip(drawn, same_pool, strict=True):
                number += tf.cast(same & (number >= earlier), tf.int64)
            unmet.append(number)
            exists = tf.where(mixed, 2 * size, size)
            support.append(tf.where(free > 0, exists, tf.zeros_like(size)))
            drawn = _insert(drawn, number)
        return self._finish(tf.stack(unmet), tf.stack(support), start, end, items)

    def _finish(
        self,
        numbers: tf.Tensor,
        support: tf.Tensor,
        start: tf.Tensor,
        end: tf.Tensor,
        items: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Turns numbers among the unmet items, [num_negatives, n], into items."""
        ranks = numbers + self._count(self._gaps, start, end, numbers)
        exists = support > 0
        negatives = tf.gather(self._item_at, tf.where(exists, ranks, 0))
        negatives = tf.where(exists, negatives, 0)
        gap = tf.gather(self._popularity, negatives) - tf.gather(
            self._popularity, items
        )
        case = tf.where(
            gap > 0,
            tf.constant(CASE_MORE_POPULAR, tf.int8),
            tf.where(
                gap < 0,
                tf.constant(CASE_LESS_POPULAR, tf.int8),
                tf.constant(CASE_TIE, tf.int8),
            ),
        )
        case = tf.where(exists, case, tf.constant(CASE_TIE, tf.int8))
        return {
            "negatives": tf.transpose(negatives),
            "case": tf.transpose(case),
            "support": tf.transpose(tf.cast(support, tf.int32)),
        }

    def _count(
        self, ascending: tf.Tensor, start: tf.Tensor, end: tf.Tensor, upto: tf.Tensor
    ) -> tf.Tensor:
        """Counts what is at most `upto` among each user's own part of an array.

        A search by halving within that part: tf.searchsorted over the whole array
        takes several times as long, as it jumps through all of it.

        Args:
            ascending: `_ranks` or `_gaps`.
            start: [n] int32 where the user's part begins.
            end: [n] int32 where it ends.
            upto: [m, n] int64.
        Returns:
            [m, n] int64 counts.
        """
        bound = tf.cast(upto, tf.int32)
        position = tf.broadcast_to(start, tf.shape(bound))
        for step in self._steps:
            behind = position + step
            found = (tf.gather(ascending, behind - 1) <= bound) & (behind <= end)
            position = tf.where(found, behind, position)
        return tf.cast(position - start, tf.int64)


def _insert(ascending: list[tf.Tensor], number: tf.Tensor) -> list[tf.Tensor]:
    """Inserts a column into columns that ascend in each row."""
    result = []
    for other in ascending:
        result.append(tf.minimum(other, number))
        number = tf.maximum(other, number)
    return [*result, number]
