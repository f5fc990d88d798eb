"""In-batch softmax as a layer, for methods and for models of one's own."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfcausal.errors import InputError
from tfcausal.keras_compat import keras
from tfcausal.losses.in_batch import in_batch_softmax
from tfcausal.samplers.in_batch import InBatch
from tfcausal.stats.negatives import Int64s


class InBatchSoftmax(keras.layers.Layer):
    """The mean cross-entropy of each row's item among the items of its batch.

    The probability with which an item is a negative is its share of the rows; log_q
    times its logarithm is subtracted from the item's scores (logQ correction).
    """

    def __init__(
        self, popularity: Int64s, *, temperature: float, log_q: float, **kwargs: Any
    ) -> None:
        """Keeps the correction.

        Args:
            popularity: [num_items] int64 rows that have each item.
            temperature: What scores are divided by, > 0.
            log_q: How much of the correction is applied: 1 for all, 0 for none.
            **kwargs: For keras.layers.Layer.
        Raises:
            InputError: If the temperature is not above 0.
        """
        super().__init__(**kwargs)
        if not temperature > 0:
            raise InputError(f"`temperature` must be > 0; got {temperature}.")
        self._temperature = temperature
        met = np.maximum(popularity, 1)
        self._correction = tf.constant(log_q * np.log(met / met.sum()), tf.float32)

    def call(
        self,
        queries: tf.Tensor,
        candidates: tf.Tensor,
        batch: InBatch,
        weights: tf.Tensor | None = None,
    ) -> Any:
        """Returns the loss, [] float32.

        Args:
            queries: [n, dim] float32 of each row's user.
            candidates: [m, dim] float32 of the batch's distinct items.
            batch: What the rows of the batch have in common.
            weights: [n] float32 of the rows, without a gradient; None for 1.
        """
        return in_batch_softmax(
            queries / self._temperature,
            candidates,
            columns=batch.columns,
            met_rows=batch.met_rows,
            met_columns=batch.met_columns,
            counts=batch.counts,
            log_q=tf.gather(self._correction, batch.items),
            weights=weights,
        )
