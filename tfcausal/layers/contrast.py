"""DCCL's two contrasts as a layer, for the method and for models of one's own."""

from typing import Any

import tensorflow as tf

from tfcausal.errors import InputError
from tfcausal.keras_compat import keras
from tfcausal.layers.embedding import Similarity, similar
from tfcausal.losses.in_batch import Filtered, popularity_contrast
from tfcausal.samplers.in_batch import InBatch
from tfcausal.stats.negatives import Int64s


class PopularityContrast(keras.layers.Layer):
    """What a user met against the rest of the batch, once for each of two causes.

    The first coordinates learn interest, most from unpopular items; those after them
    learn conformity, most from popular ones and against items that are not more
    popular.

    Symbols: I_pop -> popularity over its largest value; w = exp(-I_pop)
    Reference: Zhao et al., Disentangled Causal Embedding with Contrastive Learning for
    Recommender System (DCCL), WWW 2023 (Companion), section 2.2.
    """

    def __init__(
        self,
        popularity: Int64s,
        *,
        temperature: float = 1.0,
        similarity: Similarity = "cosine",
        filtered: Filtered = "dropped",
        interest_dim: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Keeps the popularity of the items.

        Args:
            popularity: [num_items] int64 rows that have each item.
            temperature: What similarities are divided by, > 0.
            similarity: "cosine" of each cause's coordinates, or "product".
            filtered: What becomes of more popular items in the contrast of conformity;
                see `losses.in_batch.popularity_contrast`.
            interest_dim: Number of the coordinates of interest; None for half of all,
                as in the paper.
            **kwargs: For keras.layers.Layer.
        Raises:
            InputError: If the temperature is not above 0, or interest has no
                coordinate.
        """
        super().__init__(**kwargs)
        if not temperature > 0:
            raise InputError(f"`contrast_temperature` must be > 0; got {temperature}.")
        if interest_dim is not None and interest_dim < 1:
            raise InputError(f"`interest_dim` must be >= 1; got {interest_dim}.")
        self._share = tf.constant(popularity / max(popularity.max(), 1), tf.float32)
        self._temperature = temperature
        self._similarity = similarity
        self._filtered = filtered
        self._interest_dim = interest_dim

    def call(
        self, queries: tf.Tensor, candidates: tf.Tensor, batch: InBatch
    ) -> tuple[Any, Any]:
        """Returns the contrast of interest and that of conformity, [] float32 each.

        Args:
            queries: [n, dim] float32 of each row's user.
            candidates: [m, dim] float32 of the batch's distinct items.
            batch: What the rows of the batch have in common.
        Raises:
            InputError: If no coordinate is left for conformity.
        """
        dim = queries.shape[-1]
        first = self._interest_dim or dim // 2
        if first >= dim:
            raise InputError(
                "`interest_dim` must leave a coordinate for conformity; got "
                f"{first} of vectors with {dim}."
            )
        causes = {"interest": slice(0, first), "conformity": slice(first, None)}
        users = similar(queries, causes, self._similarity) / self._temperature
        items = similar(candidates, causes, self._similarity)
        levels = tf.gather(self._share, batch.items)
        limits = tf.gather(levels, batch.columns)
        weights = tf.exp(-limits)
        rows = tf.cast(tf.size(weights), tf.float32)
        shared = {
            "met_rows": batch.met_rows,
            "met_columns": batch.met_columns,
            "counts": batch.counts,
        }
        interest = popularity_contrast(
            users[:, :first], items[:, :first], weights=weights / rows, **shared
        )
        conformity = popularity_contrast(
            users[:, first:],
            items[:, first:],
            weights=(1 - weights) / rows,
            levels=levels,
            limits=limits,
            filtered=self._filtered,
            **shared,
        )
        return interest, conformity
