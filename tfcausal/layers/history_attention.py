"""Several interests or concepts of one history, by attention."""

from typing import Any, Self

import tensorflow as tf

from tfcausal.keras_compat import keras
from tfcausal.layers.history import (
    HistoryEncoder,
    items_first,
    require_positive,
    without_pads,
)
from tfcausal.layers.history_mean import MeanEncoder
from tfcausal.samplers.counterfactuals import (
    samples_of,
    substituted,
    sums_of_samples,
)


@keras.utils.register_keras_serializable(package="tfcausal")
class AttentionEncoder(HistoryEncoder):
    """Several queries of a history: for each interest a mean weighted by attention.

    Symbols: x_t -> the vector of the t-th existing item; p_t -> that of its position;
    V, c -> kernel and bias of the hidden layer; w_k -> vector of the k-th interest.
    Formula: a_kt = softmax over t of <w_k, tanh((x_t + p_t) V + c)>;
    q_k = sum over t of a_kt x_t, zeros for a history without items.
    Reference: Cen et al., Controllable Multi-Interest Framework for Recommendation
    (ComiRec), KDD 2020, section 3.2, self-attentive method (ComiRec-SA), and their
    code.
    Deviations: The code gives also the second layer a bias, which falls out of the
    softmax and is left out. Positions count from the first item, as in the code, also
    where pads come first.
    """

    def __init__(
        self,
        dim: int,
        num_interests: int = 4,
        *,
        max_length: int,
        hidden_dim: int | None = None,
        seed: int,
        **kwargs: Any,
    ) -> None:
        """Describes the encoder.

        Args:
            dim: Coordinates of the items' vectors and of the queries.
            num_interests: K, the queries of each history.
            max_length: How long histories may be, pads included.
            hidden_dim: Width of the hidden layer; None for 4 * dim, as in the code.
            seed: Seed of the initial values.
            **kwargs: For keras.layers.Layer.
        Raises:
            InputError: If a size is below 1.
        """
        super().__init__(dim, num_interests, seed=seed, **kwargs)
        self.hidden_dim = 4 * dim if hidden_dim is None else hidden_dim
        require_positive(
            num_interests=num_interests,
            max_length=max_length,
            hidden_dim=self.hidden_dim,
        )
        self.max_length = max_length

    def build(self, input_shape: Any) -> None:
        """Makes positions and kernels by Glorot's law and a bias of zeros."""
        self.positions = self.add_kernel("positions", self.max_length, self.dim)
        self.hidden = self.add_kernel("hidden", self.dim, self.hidden_dim)
        self.hidden_bias = self.add_bias("hidden_bias", self.hidden_dim)
        self.heads = self.add_kernel("heads", self.hidden_dim, self.num_queries)
        super().build(input_shape)

    def encode(self, vectors: tf.Tensor, exists: tf.Tensor) -> tf.Tensor:
        """Returns [n, num_interests, dim] float32."""
        vectors, exists = items_first(vectors, exists, self.max_length)
        placed = vectors + self.positions[: tf.shape(vectors)[1]]
        hidden = tf.tanh(tf.tensordot(placed, self.hidden, 1) + self.hidden_bias)
        weights = _attention(tf.tensordot(hidden, self.heads, 1), exists)
        return tf.matmul(weights, vectors)

    def get_config(self) -> dict[str, Any]:
        """Returns what rebuilds the layer."""
        return super().get_config() | {
            "num_interests": self.num_queries,
            "max_length": self.max_length,
            "hidden_dim": self.hidden_dim,
        }


@keras.utils.register_keras_serializable(package="tfcausal")
class ConceptAttention(HistoryEncoder):
    """Concepts of a history: weighted means of its items, and the weights themselves.

    The order of the items does not matter. The concepts are a sequence for an encoder
    to come; the weights carry scores of items over to concepts.

    Symbols: X -> [length, dim] vectors of the items; W_1, W_2 -> kernels;
    A -> [length, num_concepts] weights; C -> concepts.
    Formula: A^T = softmax over time of W_2 tanh(W_1 X^T); C = A^T X.
    Reference: Zhang et al., CauseRec: Counterfactual User Sequence Synthesis for
    Sequential Recommendation, SIGIR 2021, Eq. 6 and 7; 20 concepts by section 4.1.
    Deviations: The paper does not name the hidden width; 256 is that of its perceptron.
    """

    def __init__(
        self,
        dim: int,
        num_concepts: int = 20,
        *,
        hidden_dim: int = 256,
        seed: int,
        **kwargs: Any,
    ) -> None:
        """Describes the layer.

        Args:
            dim: Coordinates of the items' vectors and of the concepts.
            num_concepts: K, the concepts of each history.
            hidden_dim: Width of the hidden layer.
            seed: Seed of the initial values.
            **kwargs: For keras.layers.Layer.
        Raises:
            InputError: If a size is below 1.
        """
        super().__init__(dim, num_concepts, seed=seed, **kwargs)
        require_positive(num_concepts=num_concepts, hidden_dim=hidden_dim)
        self.hidden_dim = hidden_dim

    def build(self, input_shape: Any) -> None:
        """Makes kernels by Glorot's law."""
        self.hidden = self.add_kernel("hidden", self.dim, self.hidden_dim)
        self.heads = self.add_kernel("heads", self.hidden_dim, self.num_queries)
        super().build(input_shape)

    def attend(
        self, vectors: tf.Tensor, exists: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Encodes histories and says how; the layer must be built.

        Args:
            vectors: [n, length, dim] float32 of each history's items.
            exists: [n, length] bool, False at pads.
        Returns:
            [n, num_concepts, dim] float32 concepts, what the layer itself returns, and
            [n, num_concepts, length] float32 weights: 0 at pads, and of sum 1 over a
            history that has an item.
        """
        vectors = without_pads(vectors, exists)
        weights = self._weights(vectors, exists)
        return tf.matmul(weights, vectors), weights

    def encode(self, vectors: tf.Tensor, exists: tf.Tensor) -> tf.Tensor:
        """Returns [n, num_concepts, dim] float32, given vectors that are 0 at pads."""
        return tf.matmul(self._weights(vectors, exists), vectors)

    def logits(self, vectors: tf.Tensor) -> tf.Tensor:
        """Returns W_2 tanh(W_1 x) of each item, [..., num_concepts] float32.

        Args:
            vectors: [..., dim] float32.
        """
        hidden = tf.tanh(tf.tensordot(vectors, self.hidden, 1))
        return tf.tensordot(hidden, self.heads, 1)

    def _weights(self, vectors: tf.Tensor, exists: tf.Tensor) -> tf.Tensor:
        return _attention(self.logits(vectors), exists)

    def get_config(self) -> dict[str, Any]:
        """Returns what rebuilds the layer."""
        return super().get_config() | {
            "num_concepts": self.num_queries,
            "hidden_dim": self.hidden_dim,
        }


@keras.utils.register_keras_serializable(package="tfcausal")
class ConceptEncoder(HistoryEncoder):
    """Reads a history's concepts in place of its items.

    Reference: Zhang et al. (CauseRec), SIGIR 2021, section 3.3.4, CauseRec-Interest.
    """

    def __init__(
        self, concepts: ConceptAttention, reader: HistoryEncoder, **kwargs: Any
    ) -> None:
        """Describes the encoder.

        Args:
            concepts: From a history's items to its concepts.
            reader: From concepts to queries.
            **kwargs: For keras.layers.Layer.
        """
        super().__init__(reader.dim, reader.num_queries, seed=reader.seed, **kwargs)
        self.concepts = concepts
        self.reader = reader

    def build(self, input_shape: Any) -> None:
        """Makes the weights of both."""
        self.concepts.build(None)
        self.reader.build(None)
        super().build(input_shape)

    def exists(self, exists: tf.Tensor) -> tf.Tensor:
        """Returns [n, num_concepts] bool: who has an item has every concept.

        Args:
            exists: [n, length] bool, False at pads.
        """
        some = tf.reduce_any(exists, axis=1, keepdims=True)
        return tf.repeat(some, self.concepts.num_queries, axis=1)

    def encode(self, vectors: tf.Tensor, exists: tf.Tensor) -> tf.Tensor:
        """Returns the reader's queries, given vectors that are 0 at pads."""
        return self.reader(self.concepts(vectors, exists), self.exists(exists))

    def encode_replaced(
        self,
        vectors: tf.Tensor,
        exists: tf.Tensor,
        replaced: tf.Tensor,
        memory: tf.Tensor,
        places: tf.Tensor,
    ) -> tf.Tensor:
        """Encodes samples with the attention's logits found once for each item."""
        vectors = without_pads(vectors, exists)
        logits = self.concepts.logits(vectors)
        came_logits = tf.gather(self.concepts.logits(memory), places)
        came = tf.gather(memory, places)
        if isinstance(self.reader, MeanEncoder):
            # What the concepts take of an item in the mean, their mean takes of it.
            stayed, shares = _mean_attention(logits, came_logits, exists, replaced)
            kept = tf.reshape(tf.matmul(stayed, vectors), [-1, self.dim])
            return self.reader.read(
                kept + sums_of_samples(shares[:, None] * came, replaced)
            )
        num_samples, length = replaced.shape[1:]
        exists = tf.repeat(exists, num_samples, axis=0)
        changed = substituted(logits, replaced, came_logits)
        weights = _attention(
            tf.reshape(changed, [-1, length, self.concepts.num_queries]), exists
        )
        items = substituted(vectors, replaced, came)
        concepts = tf.matmul(weights, tf.reshape(items, [-1, length, self.dim]))
        return self.reader(concepts, self.exists(exists))

    def get_config(self) -> dict[str, Any]:
        """Returns what rebuilds the layer."""
        # Seed and dim are the reader's own.
        return {
            "name": self.name,
            "concepts": self.concepts.get_config(),
            "reader": keras.layers.serialize(self.reader),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Rebuilds the layer and both that are in it."""
        reader = keras.layers.deserialize(config["reader"])
        concepts = ConceptAttention.from_config(config["concepts"])
        return cls(concepts, reader, name=config["name"])


def _attention(logits: tf.Tensor, exists: tf.Tensor) -> tf.Tensor:
    """Returns softmax over time, [n, heads, length], of logits [n, length, heads]."""
    items = exists[:, None]
    masked = tf.where(items, tf.transpose(logits, [0, 2, 1]), logits.dtype.min)
    # Without any item the softmax is even over the pads.
    return tf.where(items, tf.nn.softmax(masked), 0.0)


_FARTHEST = 300.0
"""Logits farther apart than this count as so far; the squares of their exponentials,
which gradients have, are still numbers in float64."""


def _mean_attention(
    logits: tf.Tensor, came: tf.Tensor, exists: tf.Tensor, replaced: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns what all heads take of each item in the mean, in samples of histories.

    A softmax's sum is that of what stayed and that of what came, so that no sample is
    made. All samples of a history share the largest logit of its items, beside which
    what is left may be small: hence float64, and `_FARTHEST`.

    Args:
        logits: [n, length, heads] float32 of each history's items.
        came: [m, heads] float32 of the substitutes.
        exists: [n, length] bool.
        replaced: [n, num_samples, length] bool, m of them true.
    Returns:
        [n, num_samples, length] float32, 0 at pads and where an item was replaced; and
        [m] float32 of the substitutes.
    """
    items, heads = exists[:, :, None], came.shape[1]
    peaks = tf.reduce_max(tf.where(items, logits, logits.dtype.min), axis=1)
    peaks = tf.stop_gradient(peaks)
    # Behind `where` a pad's exponential would still have a gradient, NaN if it is inf.
    below = tf.where(items, logits - peaks[:, None], -_FARTHEST)
    below = tf.maximum(below, -_FARTHEST)
    above = came - tf.gather(peaks, tf.where(replaced)[:, 0])
    above = tf.clip_by_value(above, -_FARTHEST, _FARTHEST)
    own = tf.where(items, tf.exp(tf.cast(below, tf.float64)), 0.0)
    new = tf.exp(tf.cast(above, tf.float64))
    stays = tf.cast(~replaced, own.dtype)
    sums = tf.matmul(stays, own)
    sums += tf.reshape(sums_of_samples(new, replaced), tf.shape(sums))
    # Only a history without items has a sum of 0; what it is divided by is no matter.
    scales = 1 / (heads * tf.where(sums > 0, sums, 1.0))
    of_samples = tf.gather(tf.reshape(scales, [-1, heads]), samples_of(replaced))
    stayed = stays * tf.matmul(scales, own, transpose_b=True)
    return (
        tf.cast(stayed, logits.dtype),
        tf.cast(tf.reduce_sum(new * of_samples, axis=1), logits.dtype),
    )
