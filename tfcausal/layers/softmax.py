"""Softmax over a batch or a sample as a layer, for methods and models of one's own."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from tfcausal.errors import InputError
from tfcausal.keras_compat import keras
from tfcausal.losses.in_batch import candidate_softmax, in_batch_softmax
from tfcausal.samplers.in_batch import InBatch
from tfcausal.samplers.mixing import word_of_step
from tfcausal.samplers.shared_negatives import (
    ItemSampler,
    SharedNegatives,
    item_probabilities,
)
from tfcausal.stats import mixing
from tfcausal.stats.negatives import Int64s

SharedLaw = Literal["uniform", "log_uniform", "popularity", "in_batch"]


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
            popularity: [num_items] int64 rows that have each item, of all that batches
                are drawn from.
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


class SampledSoftmax(keras.layers.Layer):
    """The mean cross-entropy of each row's item among negatives that all rows share.

    Each score has the logarithm of its item's probability subtracted, times log_q.
    """

    def __init__(
        self,
        popularity: Int64s,
        *,
        law: SharedLaw,
        num_sampled: int,
        log_q: float,
        seed: int,
        **kwargs: Any,
    ) -> None:
        """Keeps the law.

        Args:
            popularity: [num_items] int64 rows that have each item.
            law: Law of the negatives.
            num_sampled: Negatives of a batch; not for in_batch, whose negatives are the
                batch's own items.
            log_q: How much of the correction is applied: 1 for all, 0 for none.
            seed: Seed of the draws.
            **kwargs: For keras.layers.Layer.
        """
        super().__init__(**kwargs)
        self._num_items = len(popularity)
        self._num_sampled = None if law == "in_batch" else num_sampled
        own = "popularity" if law == "in_batch" else law
        self._sampler = ItemSampler(item_probabilities(popularity, own))
        self._correction = log_q * self._sampler.log_q
        self._stream = mixing.stream(seed, "shared negatives")

    def call(
        self,
        queries: tf.Tensor,
        targets: tf.Tensor,
        own: tf.Tensor,
        items: Callable[[tf.Tensor], tf.Tensor],
        left_out: tf.Tensor,
        step: tf.Tensor,
    ) -> Any:
        """Returns the loss, [] float32.

        Args:
            queries: [n, dim] float32, one of each row.
            targets: [n] int32 items of the rows.
            own: [n, dim] float32 their vectors.
            items: From int32 items to their vectors.
            left_out: [n, any] int32 items that are no negatives of a row; its target
                never is.
            step: [] int64 step of training, which the draws follow from.
        """
        drawn = targets
        if self._num_sampled is not None:
            start = word_of_step(self._stream, step)
            drawn = self._sampler(start, self._num_sampled)
        left_out = tf.concat([targets[:, None], left_out], axis=1)
        shared = SharedNegatives.of(drawn, left_out, self._num_items)
        return candidate_softmax(
            queries,
            tf.reduce_sum(queries * own, axis=1) - tf.gather(self._correction, targets),
            items(shared.items),
            met_rows=shared.met_rows,
            met_columns=shared.met_columns,
            counts=shared.counts,
            log_q=tf.gather(self._correction, shared.items),
        )
