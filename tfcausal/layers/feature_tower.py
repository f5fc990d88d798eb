"""A tower of a vector of one's own and of what is known of its row beside the id."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import tensorflow as tf

from tfcausal.data.side_features import SideFeatures
from tfcausal.keras_compat import keras
from tfcausal.layers.embedding import CausalEmbedding, uniform_table
from tfcausal.samplers import mixing as graph_mixing
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.vectors import Float32s
from tfcausal.stats import mixing


class FeatureTower(keras.layers.Layer):
    """The id's vector, and what a multilayer perceptron adds to it from features.

    Symbols: e_r -> the id's vector; c -> for each column of categories the mean of its
    values' vectors; n -> the standardised numbers; W, b -> kernels and biases.
    Formula: h = [e_r, c, n]; h <- relu(h W + b) for each hidden layer;
    vector = e_r + h W + b with the last W and b, which begin at 0: the tower begins as
    the plain table of ids. It covers the coordinates of all causes.
    Reference: Covington, Adams, Sargin, Deep Neural Networks for YouTube
    Recommendations, RecSys 2016, sections 3.2 and 3.3: concatenated mean vectors, then
    ReLU layers; Volkovs, Yu, Poutanen, DropoutNet, NeurIPS 2017: ids hidden in
    training, so that features serve those who are new.
    Deviations: what features say is added to the id's vector. A hidden id has the
    vector of the unknown row, which is learned so, in place of zeros.
    """

    def __init__(
        self,
        ids: CausalEmbedding,
        features: SideFeatures,
        *,
        feature_dim: int,
        hidden_dims: Sequence[int],
        unknown_share: float,
        seed: int,
        **kwargs: Any,
    ) -> None:
        """Describes the tower; its weights are made when the layer is built.

        Args:
            ids: The table of ids, built.
            features: A row for each row of the table.
            feature_dim: Coordinates of the vector of a category.
            hidden_dims: Width of each hidden layer.
            unknown_share: Share of the ids that are hidden in training.
            seed: Seed of the initial values and of whose id is hidden.
            **kwargs: For keras.layers.Layer.
        """
        super().__init__(**kwargs)
        self.ids = ids
        self.features = features
        self.feature_dim = feature_dim
        self.hidden_dims = tuple(hidden_dims)
        self.unknown_share = unknown_share
        self.seed = seed
        sizes = [column.num_codes for column in features.categories]
        # One table for all columns, so that a lookup is one gather.
        self._starts = np.cumsum([0, *sizes]).astype(np.int64)
        width = len(sizes)
        owners = np.repeat(
            np.arange(len(features.offsets) - 1), np.diff(features.offsets)
        )
        places = self._starts[owners % max(width, 1)] + features.codes
        self._offsets = tf.constant(features.offsets)
        self._places = tf.constant(places.astype(np.int32))
        self._values = tf.constant(features.values)

    def build(self, input_shape: Any) -> None:
        """Makes the categories' vectors, kernels and biases.

        Vectors are uniform in +-1 / sqrt(feature_dim), kernels in +-sqrt(6 / (inputs +
        outputs)), Glorot's law; biases and the last kernel are 0.
        """
        scale = np.full(self.feature_dim, self.feature_dim**-0.5, np.float32)
        self.categories = self._drawn("categories", int(self._starts[-1]), scale)
        num_inputs = (
            len(self.features.categories) * self.feature_dim
            + len(self.features.numbers)
            + self._dim
        )
        widths = [num_inputs, *self.hidden_dims, self._dim]
        self.kernels, self.biases = [], []
        for layer, (inputs, outputs) in enumerate(pairwise(widths)):
            bound = np.sqrt(6 / (inputs + outputs)) * (layer < len(self.hidden_dims))
            scale = np.full(outputs, bound, np.float32)
            self.kernels.append(self._drawn(f"kernel_{layer}", inputs, scale))
            bias = self.add_weight(
                name=f"bias_{layer}", shape=(outputs,), initializer="zeros"
            )
            self.biases.append(bias)
        super().build(input_shape)

    def _drawn(self, name: str, num_rows: int, scale: Float32s) -> Any:
        table = uniform_table(self.seed, f"{self.name}/{name}", num_rows, scale)
        return self.add_weight(
            name=name,
            shape=table.shape,
            initializer=keras.initializers.Constant(table),
        )

    @property
    def _dim(self) -> int:
        return sum(self.ids.dims.values())

    def call(
        self,
        rows: tf.Tensor,
        ids: tf.Tensor | None = None,
        step: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Looks rows up.

        Args:
            rows: Integers, any shape.
            ids: The rows of the id vectors, of the same shape; None for `rows`.
            step: [] integer number of the step of training, from which follows whose
                id is hidden; None for nobody's.
        Returns:
            float32 [..., dim].
        """
        flat = tf.reshape(rows, [-1])
        owners = flat if ids is None else tf.reshape(ids, [-1])
        if step is not None and self.unknown_share:
            owners = tf.where(self.hidden(flat, step), UNKNOWN_INDEX, owners)
        width = len(self.features.categories)
        columns = tf.range(width, dtype=tf.int64)
        cells = tf.reshape(tf.cast(flat, tf.int64)[:, None] * width + columns, [-1])
        spans = tf.ragged.range(
            tf.gather(self._offsets, cells), tf.gather(self._offsets, cells + 1)
        )
        places = tf.gather(self._places, spans.flat_values)
        means = tf.math.segment_mean(
            tf.gather(self.categories, places), spans.value_rowids()
        )
        features = [
            tf.reshape(means, [tf.size(flat), width * self.feature_dim]),
            tf.gather(self._values, flat),
        ]
        found = self._vectors(tf.gather(self.ids.table, owners), features)
        shaped = tf.reshape(found, tf.concat([tf.shape(rows), [self._dim]], axis=0))
        return tf.ensure_shape(shaped, rows.shape.concatenate([self._dim]))

    def of_codes(
        self, ids: tf.Tensor, codes: Sequence[tf.Tensor], values: tf.Tensor
    ) -> tf.Tensor:
        """Makes vectors of features that need not be those of any row.

        Args:
            ids: [n] rows of the id vectors.
            codes: For each column of categories [n, width] int64 codes; 0 stands for
                none, and a row of zeros for a value that is not known.
            values: [n, num_numbers] float32, standardised.
        Returns:
            [n, dim] float32.
        """
        means = []
        for start, given in zip(self._starts[:-1].tolist(), codes, strict=True):
            known = given > 0
            none = ~tf.reduce_any(known, axis=1, keepdims=True)
            weights = tf.cast(tf.concat([none, known], axis=1), tf.float32)[:, :, None]
            places = tf.pad(given, [[0, 0], [1, 0]]) + start
            total = tf.reduce_sum(tf.gather(self.categories, places) * weights, axis=1)
            means.append(total / tf.reduce_sum(weights, axis=1))
        return self._vectors(tf.gather(self.ids.table, ids), [*means, values])

    def _vectors(self, embedded: tf.Tensor, features: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns [n, dim] of the ids' vectors and of all that the perceptron takes."""
        hidden = tf.concat([embedded, *features], axis=1)
        for layer, (kernel, bias) in enumerate(
            zip(self.kernels, self.biases, strict=True)
        ):
            hidden = tf.matmul(hidden, kernel) + bias
            if layer < len(self.hidden_dims):
                hidden = tf.nn.relu(hidden)
        return embedded + hidden

    def hidden(self, rows: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Returns whose id is hidden in a step: the same in all its lookups.

        Args:
            rows: [n] integers.
            step: [] integer.
        Returns:
            [n] bool.
        """
        start = tf.constant(mixing.stream(self.seed, f"{self.name}/hidden"), tf.uint64)
        gamma = tf.constant(mixing.GAMMA, tf.uint64)
        words = graph_mixing.mix(tf.cast(rows, tf.uint64) * gamma + start)
        draws = graph_mixing.mix(words + (tf.cast(step, tf.uint64) + 1) * gamma)
        return graph_mixing.uniforms(draws) < self.unknown_share
