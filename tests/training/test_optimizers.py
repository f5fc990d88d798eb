"""The row-sparse Adam step by step against numpy, and against the stock Adam."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tfcausal.keras_compat import keras
from tfcausal.training.optimizers import RowSparseAdam

import tensorflow as tf  # isort: skip

Matrix = npt.NDArray[np.float64]


class SlowAdam:
    """Adam in float64 on the rows that have a gradient, from the formula."""

    def __init__(self, value: Matrix, **options: Any) -> None:
        self.value = value.astype(np.float64).copy()
        self.m = np.zeros_like(self.value)
        self.v = np.zeros_like(self.value)
        self.v_max = np.zeros_like(self.value)
        self.t = 0
        self.options = options

    def step(self, rows: list[int], gradients: Matrix) -> None:
        o = self.options
        self.t += 1
        total: dict[int, Matrix] = {}
        for row, gradient in zip(rows, gradients, strict=True):
            total[row] = total.get(row, 0) + gradient
        for row, gradient in total.items():
            p = self.value[row]
            g = gradient + o["l2"] * p
            self.m[row] = o["beta_1"] * self.m[row] + (1 - o["beta_1"]) * g
            self.v[row] = o["beta_2"] * self.v[row] + (1 - o["beta_2"]) * g**2
            self.v_max[row] = np.maximum(self.v_max[row], self.v[row])
            v = self.v_max[row] if o["amsgrad"] else self.v[row]
            m_hat = self.m[row] / (1 - o["beta_1"] ** self.t)
            v_hat = v / (1 - o["beta_2"] ** self.t)
            self.value[row] = (
                p
                - o["learning_rate"] * o["decoupled_weight_decay"] * p
                - o["learning_rate"] * m_hat / (np.sqrt(v_hat) + 1e-8)
            )


OPTIONS = [
    {"amsgrad": False, "l2": 0.0, "decoupled_weight_decay": 0.0},
    {"amsgrad": True, "l2": 0.0, "decoupled_weight_decay": 0.0},
    {"amsgrad": False, "l2": 0.1, "decoupled_weight_decay": 0.0},
    {"amsgrad": True, "l2": 0.05, "decoupled_weight_decay": 0.2},
]


@pytest.mark.parametrize("extra", OPTIONS, ids=str)
def test_each_step_on_sparse_gradients_is_the_formula(extra: dict[str, Any]) -> None:
    generator = np.random.default_rng(0)
    options = {"learning_rate": 0.05, "beta_1": 0.5, "beta_2": 0.99, **extra}
    start = generator.normal(size=(12, 3)).astype(np.float32)
    table = tf.Variable(start)
    slow = SlowAdam(start, **options)
    optimizer = RowSparseAdam(**options)
    for _ in range(20):
        rows = generator.integers(0, 9, 6)
        gradients = generator.normal(size=(6, 3))
        slices = tf.IndexedSlices(
            tf.constant(gradients, tf.float32), tf.constant(rows), (12, 3)
        )
        optimizer.apply_gradients([(slices, table)])
        slow.step(rows.tolist(), gradients)
        np.testing.assert_allclose(table.numpy(), slow.value, rtol=2e-4, atol=2e-5)
    # Rows 9 to 11 never had a gradient: not even decay may move them.
    assert np.array_equal(table.numpy()[9:], start[9:])


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_where_every_row_has_a_gradient_it_is_the_stock_adam(
    amsgrad: bool, sparse: bool
) -> None:
    generator = np.random.default_rng(1)
    start = generator.normal(size=(5, 4)).astype(np.float32)
    ours, stock = tf.Variable(start), tf.Variable(start)
    row_sparse = RowSparseAdam(0.01, amsgrad=amsgrad)
    adam = keras.optimizers.Adam(
        0.01, epsilon=1e-8, amsgrad=amsgrad, adaptive_epsilon=True, jit_compile=False
    )
    for _ in range(30):
        gradient = tf.constant(generator.normal(size=(5, 4)), tf.float32)
        given = tf.IndexedSlices(gradient, tf.range(5)) if sparse else gradient
        row_sparse.apply_gradients([(given, ours)])
        adam.apply_gradients([(gradient, stock)])
        np.testing.assert_allclose(ours.numpy(), stock.numpy(), rtol=1e-4, atol=1e-6)


def test_config_with_other_than_default_values_rebuilds_it() -> None:
    optimizer = RowSparseAdam(
        0.5,
        beta_1=0.1,
        beta_2=0.2,
        epsilon=0.3,
        amsgrad=True,
        l2=0.4,
        decoupled_weight_decay=0.6,
    )
    again = RowSparseAdam.from_config(optimizer.get_config())
    for name in ("beta_1", "beta_2", "epsilon", "amsgrad", "l2"):
        assert getattr(again, name) == getattr(optimizer, name)
    assert again.decoupled_weight_decay == 0.6
    assert float(again.learning_rate) == 0.5
    # With 0 in place of None the base class would rewrite each table at every step.
    assert again.weight_decay is None
