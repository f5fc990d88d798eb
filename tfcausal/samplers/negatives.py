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

    Memory: 16 bytes for each distinct (user, item) of the history and 8 for each user.
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
        # A search may look this far past the last key; what it finds there is larger
        # than any key.
        padding = np.full(sum(self._steps) + 1, np.iinfo(np.int64).max)
        self._rank_keys = tf.constant(np.append(positives.rank_keys, padding))
        self._gap_keys = tf.constant(np.append(positives.gap_keys, padding))
        self._offsets = tf.constant(offsets)
        self._stride = tf.constant(positives.stride, tf.int64)
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
        base = tf.cast(users, tf.int64) * self._stride
        start = tf.gather(self._offsets, users)
        degree = tf.cast(tf.gather(self._offsets, users + 1) - start, tf.int64)
        up_end, down_start = tf.gather(up_end, items), tf.gather(down_start, items)
        met_up, met_high = tf.unstack(
            self._count(
                self._rank_keys,
                tf.stack([start, start]),
                # Keys below a bound are those up to the bound less one.
                tf.stack([base + up_end, base + down_start]) - 1,
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
        return self._finish(tf.stack(unmet), tf.stack(support), base, start, items)

    def _finish(
        self,
        numbers: tf.Tensor,
        support: tf.Tensor,
        base: tf.Tensor,
        start: tf.Tensor,
        items: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Turns numbers among the unmet items, [num_negatives, n], into items."""
        starts = tf.broadcast_to(start, tf.shape(numbers))
        ranks = numbers + self._count(self._gap_keys, starts, base + numbers)
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

    def _count(self, keys: tf.Tensor, starts: tf.Tensor, upto: tf.Tensor) -> tf.Tensor:
        """Counts each user's keys that are at most `upto`.

        A search by halving within the user's own keys: tf.searchsorted over all keys
        takes several times as long, as it jumps through the whole array.

        Args:
            keys: `_rank_keys` or `_gap_keys`.
            starts: int32, position of the user's first key.
            upto: int64 of the same shape, within the user's range of keys.
        Returns:
            int64 counts of the same shape.
        """
        position = starts
        for step in self._steps:
            found = tf.gather(keys, position + (step - 1)) <= upto
            position += step * tf.cast(found, tf.int32)
        return tf.cast(position - starts, tf.int64)


def _insert(ascending: list[tf.Tensor], number: tf.Tensor) -> list[tf.Tensor]:
    """Inserts a column into columns that ascend in each row."""
    result = []
    for other in ascending:
        result.append(tf.minimum(other, number))
        number = tf.maximum(other, number)
    return [*result, number]
