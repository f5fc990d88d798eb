"""What all encoders of histories share: a user's items in, vectors to search with out.

The encoders stand beside this file: the mean and a perceptron in `history_mean`, a
recurrent network in `history_recurrent`, several interests by dynamic routing in
`history_routing` and by attention in `history_attention`.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tfcausal.errors import InputError
from tfcausal.keras_compat import keras
from tfcausal.layers.embedding import uniform_table
from tfcausal.samplers.counterfactuals import substituted


class HistoryEncoder(keras.layers.Layer):
    """Turns the vectors of a history's items into one or several query vectors.

    A history is what its existing items are, in their order; pads may stand behind
    them, before them or between them, and neither their number nor what is written
    there has an influence or a gradient. All values are finite also where a row has no
    item.

    A subclass writes `build` and `encode`. Initial values follow from the seed, the
    class and the weight's name: for two encoders of one class in one model, take two
    seeds.

    Attributes:
        dim: Coordinates of the items' vectors and of the queries.
        num_queries: Vectors that each history gets.
        seed: Seed of the initial values.
    """

    def __init__(self, dim: int, num_queries: int, *, seed: int, **kwargs: Any) -> None:
        """Describes the encoder; its weights are made when the layer is built.

        Args:
            dim: Coordinates of the items' vectors and of the queries, >= 1.
            num_queries: Vectors that each history gets, >= 1.
            seed: Seed of the initial values.
            **kwargs: For keras.layers.Layer.
        Raises:
            InputError: If a size is below 1.
        """
        super().__init__(**kwargs)
        require_positive(dim=dim)
        self.dim = dim
        self.num_queries = num_queries
        self.seed = seed

    def call(self, vectors: tf.Tensor, exists: tf.Tensor) -> tf.Tensor:
        """Encodes histories.

        Args:
            vectors: [n, length, dim] float32 of each history's items, the oldest first.
            exists: [n, length] bool, False at pads.
        Returns:
            [n, num_queries, dim] float32.
        """
        return self.encode(without_pads(vectors, exists), exists)

    def encode(self, vectors: tf.Tensor, exists: tf.Tensor) -> tf.Tensor:
        """Returns what `call` returns, given vectors that are 0 at pads."""
        raise NotImplementedError

    def encode_replaced(
        self,
        vectors: tf.Tensor,
        exists: tf.Tensor,
        replaced: tf.Tensor,
        memory: tf.Tensor,
        places: tf.Tensor,
    ) -> tf.Tensor:
        """Encodes samples of histories, in each of which some items are replaced.

        The same as `call` on the histories as they are after it, which an encoder may
        find without making them.

        Args:
            vectors: [n, length, dim] float32 of each history's items.
            exists: [n, length] bool, False at pads.
            replaced: [n, num_samples, length] bool, never at a pad; m of them true.
            memory: [size, dim] float32, what substitutes are taken from.
            places: [m] int64, which of `memory` comes, in the order of
                `tf.where(replaced)`.
        Returns:
            [n * num_samples, num_queries, dim] float32, sample after sample of a
            history.
        """
        changed = substituted(vectors, replaced, tf.gather(memory, places))
        num_samples, length = replaced.shape[1:]
        return self(
            tf.reshape(changed, [-1, length, self.dim]),
            tf.repeat(exists, num_samples, axis=0),
        )

    def add_kernel(self, name: str, inputs: int, outputs: int) -> Any:
        """Makes a weight [inputs, outputs], uniform by Glorot's law."""
        bound = np.sqrt(6 / (inputs + outputs))
        scale = np.full(outputs, bound, np.float32)
        return self.add_table(
            name, uniform_table(self.seed, self.purpose(name), inputs, scale)
        )

    def add_bias(self, name: str, width: int) -> Any:
        """Makes a weight [width] of zeros."""
        return self.add_weight(name=name, shape=(width,), initializer="zeros")

    def add_table(self, name: str, values: Any, *, trainable: bool = True) -> Any:
        """Makes a weight that begins with the values given."""
        return self.add_weight(
            name=name,
            shape=values.shape,
            initializer=keras.initializers.Constant(values),
            trainable=trainable,
        )

    def purpose(self, name: str) -> str:
        """Names the stream of random numbers from which a weight is drawn."""
        return f"{type(self).__name__}/{name}"

    def get_config(self) -> dict[str, Any]:
        """Returns what rebuilds the layer."""
        config: dict[str, Any] = super().get_config()
        return config | {"dim": self.dim, "seed": self.seed}


def require_positive(**sizes: int) -> None:
    """Checks sizes.

    Args:
        **sizes: Name to the value given.
    Raises:
        InputError: If one is below 1.
    """
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"`{name}` must be >= 1; got {size}.")


def without_pads(vectors: tf.Tensor, exists: tf.Tensor) -> tf.Tensor:
    """Writes 0 at pads, whatever stands there, NaN included.

    Args:
        vectors: [n, length, dim] float32.
        exists: [n, length] bool.
    Returns:
        [n, length, dim] float32, without a gradient at pads.
    """
    return tf.where(exists[:, :, None], vectors, 0.0)


def items_first(
    vectors: tf.Tensor, exists: tf.Tensor, max_length: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Moves the items in front of the pads, so that an item's place is its position.

    Args:
        vectors: [n, length, dim] float32.
        exists: [n, length] bool.
        max_length: How long histories may be.
    Returns:
        Both with the items of each row first, in the same order.
    Raises:
        InputError: If the histories are longer, or tf.errors.InvalidArgumentError where
            the length is known only when a graph runs.
    """
    rule = f"`vectors` must have a length <= {max_length}, the encoder's `max_length`"
    known = vectors.shape[1]
    if known is None:
        fits = tf.debugging.assert_less_equal(tf.shape(vectors)[1], max_length, rule)
        # Whatever comes after waits, or it would fail first and say less.
        with tf.control_dependencies([fits]):
            vectors, exists = tf.identity(vectors), tf.identity(exists)
    elif known > max_length:
        raise InputError(f"{rule}; got {known}. Keep each history's last items.")
    length = tf.shape(vectors)[1]
    # No key comes twice, so that the order does not hang on how ties are broken.
    keys = tf.range(length) + tf.where(exists, 0, length)
    order = tf.argsort(keys, axis=1)
    return (
        tf.gather(vectors, order, batch_dims=1),
        tf.gather(exists, order, batch_dims=1),
    )
