"""The mean of a history's items, and a perceptron."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

import tensorflow as tf

from tfcausal.errors import unknown_name
from tfcausal.keras_compat import keras
from tfcausal.layers.history import HistoryEncoder, require_positive, without_pads
from tfcausal.samplers.counterfactuals import samples_of

Activation = Literal["relu", "tanh"]
"""What stands between the layers of the perceptron."""


@keras.utils.register_keras_serializable(package="tfcausal")
class MeanEncoder(HistoryEncoder):
    """One query of a history: a perceptron of the mean of its items.

    The order of the items does not matter.

    Symbols: x_1 .. x_L -> the vectors of the existing items; W, b -> kernels, biases.
    Formula: h = (x_1 + ... + x_L) / L; h <- activation(h W + b) for each hidden layer;
    query = h W + b with the last W and b. A history without items has the query of
    h = 0.
    Reference: Zhang et al., CauseRec: Counterfactual User Sequence Synthesis for
    Sequential Recommendation, SIGIR 2021, Eq. 4 and section 4.1: three layers of width
    256. With `hidden_dims=()` the model for candidates of Covington, Adams, Sargin,
    Deep Neural Networks for YouTube Recommendations, RecSys 2016, as Cen et al.
    (ComiRec, KDD 2020) run it in their code: one layer, nothing after it.
    Deviations: CauseRec's paper names no activation; `relu` is that of the latter
    paper, `tanh` that of a public re-implementation. ComiRec's code divides by
    L + 1e-9, which is L in float32.
    """

    def __init__(
        self,
        dim: int,
        hidden_dims: Sequence[int] = (256, 256),
        *,
        activation: Activation = "relu",
        seed: int,
        **kwargs: Any,
    ) -> None:
        """Describes the encoder.

        Args:
            dim: Coordinates of the items' vectors and of the query.
            hidden_dims: Width of each hidden layer; none for one linear layer.
            activation: What stands behind each hidden layer, "relu" or "tanh".
            seed: Seed of the initial values.
            **kwargs: For keras.layers.Layer.
        Raises:
            InputError: If a width is below 1 or the activation is unknown.
        """
        super().__init__(dim, 1, seed=seed, **kwargs)
        for width in hidden_dims:
            require_positive(hidden_dims=width)
        if activation not in get_args(Activation):
            raise unknown_name("activation", activation, get_args(Activation))
        self.hidden_dims = tuple(hidden_dims)
        self.activation = activation

    def build(self, input_shape: Any) -> None:
        """Makes kernels by Glorot's law and biases of zeros."""
        widths = [self.dim, *self.hidden_dims, self.dim]
        self.kernels, self.biases = [], []
        for layer, (inputs, outputs) in enumerate(pairwise(widths)):
            self.kernels.append(self.add_kernel(f"kernel_{layer}", inputs, outputs))
            self.biases.append(self.add_bias(f"bias_{layer}", outputs))
        super().build(input_shape)

    def encode(self, vectors: tf.Tensor, exists: tf.Tensor) -> tf.Tensor:
        """Returns [n, 1, dim] float32, given vectors that are 0 at pads."""
        return self.read(tf.reduce_sum(vectors, axis=1) / _lengths(exists))

    def encode_replaced(
        self,
        vectors: tf.Tensor,
        exists: tf.Tensor,
        replaced: tf.Tensor,
        memory: tf.Tensor,
        places: tf.Tensor,
    ) -> tf.Tensor:
        """Encodes samples from sums: what went is taken off, what came is added."""
        vectors = without_pads(vectors, exists)
        num_samples = replaced.shape[1]
        gone = tf.matmul(tf.cast(replaced, vectors.dtype), vectors)
        samples = tf.shape(replaced, tf.int64)[0] * num_samples
        # One place more, whose sum is left out: of no places at all TensorFlow's
        # gradient is memory that nobody has written (tensorflow issue 72785).
        came = tf.sparse.segment_sum(
            memory,
            tf.pad(places, [[0, 1]]),
            tf.pad(samples_of(replaced), [[0, 1]], constant_values=samples),
            num_segments=samples + 1,
        )
        # The gradient of a slice takes several times as long as that of a split.
        came, _ = tf.split(came, [samples, 1])
        sums = tf.reduce_sum(vectors, axis=1, keepdims=True) - gone
        sums += tf.reshape(came, [-1, num_samples, self.dim])
        means = sums / _lengths(exists)[:, None]
        return self.read(tf.reshape(means, [-1, self.dim]))

    def read(self, means: tf.Tensor) -> tf.Tensor:
        """Returns the perceptron of means, [m, 1, dim].

        Args:
            means: [m, dim] float32; zeros for a history without items.
        """
        hidden = means
        activate = tf.nn.relu if self.activation == "relu" else tf.tanh
        for layer, (kernel, bias) in enumerate(
            zip(self.kernels, self.biases, strict=True)
        ):
            hidden = tf.matmul(hidden, kernel) + bias
            if layer < len(self.hidden_dims):
                hidden = activate(hidden)
        return tf.expand_dims(hidden, 1)

    def get_config(self) -> dict[str, Any]:
        """Returns what rebuilds the layer."""
        return super().get_config() | {
            "hidden_dims": self.hidden_dims,
            "activation": self.activation,
        }


def _lengths(exists: tf.Tensor) -> tf.Tensor:
    """Returns [n, 1] float32, at least 1."""
    counts = tf.math.count_nonzero(exists, axis=1, keepdims=True, dtype=tf.float32)
    return tf.maximum(counts, 1.0)
