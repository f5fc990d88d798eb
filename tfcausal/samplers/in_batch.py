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
        owners: [n] int32 number of each row's user among the distinct ones.
        met: [num distinct users, m] bool which of them met which item in the batch.
    """

    items: tf.Tensor
    columns: tf.Tensor
    counts: tf.Tensor
    owners: tf.Tensor
    met: tf.Tensor

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
        pairs = tf.stack([owners, columns], axis=1)
        shape = tf.stack([tf.size(owners_of), tf.size(distinct)])
        found = tf.scatter_nd(pairs, tf.ones_like(owners), shape)
        return cls(distinct, columns, tf.cast(counts, tf.float32), owners, found > 0)
