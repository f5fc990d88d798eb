"""Embedding tables whose coordinates belong to causes."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import tensorflow as tf

from tfcausal.errors import unknown_name
from tfcausal.keras_compat import keras
from tfcausal.schema.vectors import Float32s
from tfcausal.stats import mixing


def cause_slices(dims: Mapping[str, int]) -> dict[str, slice]:
    """Lays causes side by side: {"interest": 64, "conformity": 64} -> 0:64, 64:128."""
    slices, start = {}, 0
    for cause, dim in dims.items():
        slices[cause] = slice(start, start + dim)
        start += dim
    return slices


Similarity = Literal["cosine", "product"]
"""How vectors are compared: by the cosine within each cause, or by inner product."""
SIMILARITIES = get_args(Similarity)


def similar(
    embedded: tf.Tensor, causes: Mapping[str, slice], similarity: Similarity
) -> tf.Tensor:
    """Returns vectors whose inner products are the similarity wanted.

    Args:
        embedded: [..., dim] float32.
        causes: Cause to its coordinates, one after the other.
        similarity: "cosine" scales each cause's coordinates to length 1.
    Returns:
        [..., dim] float32.
    Raises:
        InputError: If the similarity is unknown.
    """
    if similarity not in SIMILARITIES:
        raise unknown_name("similarity", similarity, SIMILARITIES)
    if similarity == "product":
        return embedded
    parts = [
        tf.math.l2_normalize(embedded[..., part], axis=-1) for part in causes.values()
    ]
    return tf.concat(parts, axis=-1)


def uniform_table(seed: int, purpose: str, num_rows: int, scale: Float32s) -> Float32s:
    """Draws initial values, uniform in +-scale.

    Args:
        seed: Seed of the values.
        purpose: What they are for, such as the table's name.
        num_rows: Number of rows.
        scale: [dim] float32, of each coordinate.
    Returns:
        [num_rows, dim] float32.
    """
    # By blocks of rows, as the words take twice as much memory as the table.
    table = np.empty((num_rows, len(scale)), np.float32)
    start = np.asarray([mixing.stream(seed, purpose)], np.uint64)
    width = len(scale)
    for first in range(0, num_rows, 65536):
        block = table[first : first + 65536]
        numbers = np.arange(first * width, first * width + block.size)
        words = mixing.draws(start, numbers)
        block[:] = (mixing.uniforms(words) * 2 - 1).reshape(block.shape) * scale
    return table


class CausalEmbedding(keras.layers.Layer):
    """One table for all causes of a user or an item.

    A lookup touches one row instead of one in each cause's table; as Adam works on each
    coordinate by itself, training is the same as with separate tables.
    """

    def __init__(
        self, num_rows: int, dims: Mapping[str, int], *, seed: int, **kwargs: Any
    ) -> None:
        """Describes the table; it is made when the layer is built.

        Args:
            num_rows: Rows, the unknown one included.
            dims: Coordinates of each cause, in order.
            seed: Seed of the initial values.
            **kwargs: For keras.layers.Layer.
        """
        super().__init__(**kwargs)
        self.num_rows = num_rows
        self.dims = dict(dims)
        self.seed = seed

    def build(self, input_shape: Any) -> None:
        """Makes the table, uniform in +-1 / sqrt(dim of the cause), as DICE's code."""
        self.table = self.add_weight(
            name="table",
            shape=(self.num_rows, sum(self.dims.values())),
            initializer=self._initial_table,
            trainable=True,
        )
        super().build(input_shape)

    def _initial_table(self, shape: Any, dtype: Any = None, **_: Any) -> tf.Tensor:
        scale = np.concatenate(
            [np.full(dim, dim**-0.5, np.float32) for dim in self.dims.values()]
        )
        table = uniform_table(self.seed, self.name, self.num_rows, scale)
        return tf.constant(table, dtype)

    def call(self, rows: tf.Tensor) -> tf.Tensor:
        """Looks rows up.

        Args:
            rows: Integers, any shape.
        Returns:
            float32 [..., dim].
        """
        return tf.gather(self.table, rows)

    def get_config(self) -> dict[str, Any]:
        """Returns what rebuilds the layer."""
        config: dict[str, Any] = super().get_config()
        return config | {
            "num_rows": self.num_rows,
            "dims": self.dims,
            "seed": self.seed,
        }
