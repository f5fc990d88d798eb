"""A recurrent network over a history's items."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfcausal.keras_compat import keras
from tfcausal.layers.embedding import uniform_table
from tfcausal.layers.history import HistoryEncoder


@keras.utils.register_keras_serializable(package="tfcausal")
class RecurrentEncoder(HistoryEncoder):
    """One query of a history: the state of gated recurrent units after its last item.

    Symbols: x_t -> the vector of the t-th existing item; h_t -> the state, h_0 = 0;
    z, r -> update and reset gate; o -> product of each coordinate; sg -> sigmoid.
    Formula: z = sg(x_t W_z + h U_z + b_z), r = sg(x_t W_r + h U_r + b_r) with
    h = h_(t-1); c = tanh(x_t W_c + (r o h) U_c + b_c); h_t = z o h + (1 - z) o c;
    query = h_L, zeros for a history without items.
    Reference: Hidasi, Karatzoglou, Baltrunas, Tikk, Session-based Recommendations with
    Recurrent Neural Networks (GRU4Rec), ICLR 2016, section 3, as Cen et al. (ComiRec,
    KDD 2020) run it in their code: items' vectors in, the last state out.
    Deviations: z and 1 - z change places against the paper, as in TensorFlow's cell:
    the same functions are learned. Both gates' biases begin at 1 as in that cell, so
    that the state is rather kept; each whole kernel is drawn by Glorot's law, where the
    cell draws gates and candidate apart.
    """

    def __init__(self, dim: int, *, seed: int, **kwargs: Any) -> None:
        """Describes the encoder.

        Args:
            dim: Coordinates of the items' vectors, of the state and of the query.
            seed: Seed of the initial values.
            **kwargs: For keras.layers.Layer.
        """
        super().__init__(dim, 1, seed=seed, **kwargs)

    def build(self, input_shape: Any) -> None:
        """Makes kernels [dim, 3 dim] and a bias, each in the order z, r, c."""
        gates = np.repeat(np.asarray([1, 1, 0], np.float32), self.dim)
        self.units = keras.layers.GRU(
            self.dim,
            reset_after=False,
            kernel_initializer=self._initial("kernel"),
            recurrent_initializer=self._initial("recurrent_kernel"),
            bias_initializer=keras.initializers.Constant(gates),
            name="units",
        )
        self.units.build((None, None, self.dim))
        super().build(input_shape)

    def _initial(self, name: str) -> Any:
        scale = np.full(3 * self.dim, (6 / (4 * self.dim)) ** 0.5, np.float32)
        values = uniform_table(self.seed, self.purpose(name), self.dim, scale)
        return keras.initializers.Constant(values)

    def encode(self, vectors: tf.Tensor, exists: tf.Tensor) -> tf.Tensor:
        """Returns [n, 1, dim] float32: pads leave the state as it was."""
        return self.units(vectors, mask=exists)[:, None, :]
