"""The items of a batch as negatives of its own rows: who met what among them."""

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class InBatch:
    """The distinct items of a batch and what its users met among them.

    Attributes:
        items: [m] int32 the distinct items, in order of first appearance.
        columns: [n] int32 place of each row's item in `items`.
        counts: [m] float32 rows that have each item.
        met_rows: [p] int32 rows, ascending; each comes with every column that its user
            has met in the batch, once.
        met_columns: [p] int32 these columns.
    """

    items: tf.Tensor
    columns: tf.Tensor
    counts: tf.Tensor
    met_rows: tf.Tensor
    met_columns: tf.Tensor

    @property
    def first_rows(self) -> tf.Tensor:
        """[m] int32 first row that has each of the distinct items."""
        rows = tf.range(tf.size(self.columns))
        return tf.math.unsorted_segment_min(rows, self.columns, tf.size(self.items))

    @classmethod
    def of(cls, users: tf.Tensor, items: tf.Tensor) -> "InBatch":
        """Finds what the rows of a batch have in common.

        Args:
            users: [n] int32.
            items: [n] int32 what each of them met.
        """
        distinct, columns, counts = tf.unique_with_counts(items)
        owners_of, owners = tf.unique(users)
        width = tf.cast(tf.size(distinct), tf.int64)
        keys = tf.cast(owners, tf.int64) * width + tf.cast(columns, tf.int64)
        # By owner, so that what a user met is one run of `pairs`.
        pairs = tf.unique(tf.sort(keys)).y
        ends = tf.searchsorted(
            pairs, tf.range(1, tf.size(owners_of, tf.int64) + 1) * width
        )
        lengths = tf.gather(tf.concat([ends[:1], ends[1:] - ends[:-1]], 0), owners)
        met_rows = tf.repeat(tf.range(tf.size(users)), lengths)
        # From a place in the result to its place in the owner's run.
        shifts = tf.gather(ends, owners) - tf.cumsum(lengths)
        places = tf.range(tf.size(met_rows)) + tf.gather(shifts, met_rows)
        met_columns = tf.cast(tf.gather(pairs, places) % width, tf.int32)
        return cls(
            distinct, columns, tf.cast(counts, tf.float32), met_rows, met_columns
        )
