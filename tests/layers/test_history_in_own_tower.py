"""Encoders of histories in a query tower that is none of ours."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfcausal
from tfcausal.keras_compat import keras, tfrs

import tensorflow as tf  # isort: skip

NUM_ITEMS, LENGTH, DIM = 40, 6, 8
ENCODERS: dict[str, Callable[[], Any]] = {
    "mean": lambda: tfcausal.MeanEncoder(DIM, (16,), seed=1),
    "recurrent": lambda: tfcausal.RecurrentEncoder(DIM, seed=1),
    "attention": lambda: tfcausal.AttentionEncoder(DIM, 1, max_length=LENGTH, seed=1),
    "routing": lambda: tfcausal.RoutingEncoder(
        DIM, 1, max_length=LENGTH, maps="shared", initial_logits="random", seed=1
    ),
}


IN_A_FRESH_PROCESS = """
import sys
from pathlib import Path
import numpy as np
from tfcausal import {encoder}
from tfcausal.keras_compat import keras
folder = Path(sys.argv[1])
given = np.load(folder / "inputs.npz", allow_pickle=False)
model = keras.models.load_model(folder / "queries.keras")
np.save(folder / "again.npy", model([given["history"], given["hour"]]))
"""


class OwnModel(tfrs.Model):
    """A tower of a history and the hour beside one of items."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.items = keras.layers.Embedding(NUM_ITEMS, DIM)
        history = keras.Input((LENGTH,), dtype=tf.int32)
        hour = keras.Input((), dtype=tf.int32)
        read = encoder(self.items(history), tf.not_equal(history, 0))
        both = tf.concat([read[:, 0], keras.layers.Embedding(24, 4)(hour)], axis=1)
        self.queries = keras.Model([history, hour], keras.layers.Dense(DIM)(both))
        self.task = tfrs.tasks.Retrieval()

    def compute_loss(self, features: Any, training: bool = False) -> Any:
        queries = self.queries([features["history"], features["hour"]])
        return self.task(queries, self.items(features["item"]), compute_metrics=False)


@pytest.fixture(scope="module")
def clicks() -> dict[str, np.ndarray]:
    """What follows is near the history's items; some histories are short."""
    rng = np.random.default_rng(0)
    first = rng.integers(1, 5, 512) * 8
    history = (first[:, None] - rng.integers(0, 7, (512, LENGTH))).astype(np.int32)
    history[np.arange(LENGTH) >= rng.integers(1, LENGTH + 1, 512)[:, None]] = 0
    return {
        "history": history,
        "hour": rng.integers(0, 24, 512).astype(np.int32),
        "item": (first - rng.integers(0, 7, 512)).astype(np.int32),
    }


@pytest.mark.parametrize("name", ENCODERS)
def test_learns_is_saved_and_passes_over_pads(
    tmp_path: Path, clicks: dict[str, np.ndarray], name: str
) -> None:
    keras.utils.set_random_seed(0)
    model = OwnModel(ENCODERS[name]())
    before = [weight.numpy() for weight in model.trainable_variables]
    model.compile(optimizer=keras.optimizers.Adam(0.02))
    rows = tf.data.Dataset.from_tensor_slices(clicks).batch(64)
    losses = model.fit(rows, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < 0.87 * losses[0]
    for weight, start in zip(model.trainable_variables, before, strict=True):
        assert not np.array_equal(weight.numpy(), start), weight.name

    inputs = [clicks["history"], clicks["hour"]]
    found = model.queries(inputs).numpy()
    tf.saved_model.save(model.queries, str(tmp_path / "saved_model"))
    again = tf.saved_model.load(str(tmp_path / "saved_model"))(inputs)
    np.testing.assert_allclose(again, found, rtol=1e-5, atol=1e-6)

    model.queries.save(tmp_path / "queries.keras")
    np.savez(tmp_path / "inputs.npz", history=inputs[0], hour=inputs[1])
    encoder = type(ENCODERS[name]()).__name__
    code = IN_A_FRESH_PROCESS.format(encoder=encoder)
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    again = np.load(tmp_path / "again.npy", allow_pickle=False)
    np.testing.assert_allclose(again, found, rtol=1e-5, atol=1e-6)
    # A history of two items is the same wherever pads stand.
    two = np.asarray([[3, 9, 0, 0, 0, 0], [0, 3, 0, 0, 9, 0]], np.int32)
    rows_alike = model.queries([two, np.zeros(2, np.int32)]).numpy()
    np.testing.assert_allclose(rows_alike[0], rows_alike[1], rtol=1e-5, atol=1e-6)
