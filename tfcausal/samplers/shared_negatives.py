"""Negatives that all rows of a batch share, for losses over a sample of the items."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import tensorflow as tf

from tfcausal.samplers import mixing
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.stats.mixing import GAMMA
from tfcausal.stats.negatives import Int64s
from tfcausal.stats.popularity import Float64s

ItemLaw = Literal["uniform", "log_uniform", "popularity"]


def item_probabilities(popularity: Int64s, law: ItemLaw) -> Float64s:
    """Returns the probability of each item under a law; the unknown item has none.

    Formula: uniform: 1 / N; popularity: count / rows, an item without rows counting as
    one row; log_uniform: log(1 + 1 / r) / log(N + 1), r the item's rank by popularity
    from 1, equally popular ones by index.
    Reference: the candidate samplers of tf.nn; log-uniform is Zipf's law for ids sorted
    by descending frequency.

    Args:
        popularity: [num_items] int64 rows of each item, item 0 unknown.
        law: The law.
    Returns:
        [num_items] float64, sum 1.
    """
    known = popularity[UNKNOWN_INDEX + 1 :]
    if law == "log_uniform":
        order = np.argsort(-known, kind="stable")
        weights = np.empty(len(known), np.float64)
        weights[order] = np.log1p(1 / np.arange(1, len(known) + 1))
    elif law == "popularity":
        weights = np.maximum(known, 1).astype(np.float64)
    else:
        weights = np.ones(len(known), np.float64)
    return np.concatenate([[0.0], weights / weights.sum()])


class ItemSampler(tf.Module):
    """Draws items with replacement, a pure function of the words that it is given.

    Attributes:
        log_q: [num_items] float32 log-probability of each item; 0 for the unknown one.
    """

    def __init__(self, probabilities: Float64s) -> None:
        """Keeps the law.

        Args:
            probabilities: [num_items] float64, sum 1; see `item_probabilities`.
        """
        super().__init__()
        positive = np.where(probabilities > 0, probabilities, 1.0)
        self.log_q = tf.constant(np.log(positive), tf.float32)
        bounds = np.cumsum(probabilities)
        # A draw is below 1, and the sum may not reach it.
        bounds[-1] = 1.0
        self._bounds = tf.constant(bounds, tf.float64)

    def __call__(self, start: tf.Tensor, number: int) -> tf.Tensor:
        """Draws items.

        Args:
            start: [] uint64 what the draws follow from.
            number: How many.
        Returns:
            [number] int32.
        """
        numbers = tf.cast(tf.range(1, number + 1), tf.uint64)
        words = mixing.mix(start + numbers * tf.constant(GAMMA, tf.uint64))
        found = tf.searchsorted(self._bounds, mixing.uniforms(words), side="right")
        return tf.cast(found, tf.int32)


@dataclass(frozen=True)
class SharedNegatives:
    """The distinct negatives of a batch, and which rows leave out which.

    Attributes:
        items: [m] int32 the distinct items.
        counts: [m] float32 times that each was drawn.
        met_rows: [p] int32 rows, ascending, with each column that they leave out.
        met_columns: [p] int32 these columns.
    """

    items: tf.Tensor
    counts: tf.Tensor
    met_rows: tf.Tensor
    met_columns: tf.Tensor

    @classmethod
    def of(
        cls, drawn: tf.Tensor, left_out: tf.Tensor, num_items: int
    ) -> "SharedNegatives":
        """Finds who must not be whose negative.

        Args:
            drawn: [k] int32 items, repeats count.
            left_out: [n, any] int32 items that are no negatives of a row.
            num_items: Rows of the item vocabulary.
        """
        items, _, counts = tf.unique_with_counts(drawn)
        # Shifted by one, so that 0 says that an item is no candidate.
        columns = tf.scatter_nd(
            items[:, None], tf.range(1, tf.size(items) + 1), [num_items]
        )
        places = tf.gather(columns, left_out)
        met = tf.where(places > 0)
        return cls(
            items,
            tf.cast(counts, tf.float32),
            tf.cast(met[:, 0], tf.int32),
            tf.gather_nd(places, met) - 1,
        )
