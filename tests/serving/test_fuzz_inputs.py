"""Random inputs to every signature of every kind of model: an error or an answer.

Types are right and little else is; `test_fuzz_signatures` says what lists promise.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.datasets import write_dataset
from tests.serving import served_features, served_histories
from tfcausal.serving.export import export

import tensorflow as tf  # isort: skip

TEXTS = [b"", b"u1", b"u2", b"i1", b"i2", b"i3", b"\xff\xfe", b"nobody", b"a" * 1000]
FLOATS = [0.0, 1.0, -1.0, 2.5, 1e30, 3e38, np.nan, np.inf]
INTEGERS = [-(2**31), -1, 0, 1, 5, 2**31 - 1]
MODELS = {
    "dice": {
        *("serving_default", "recommend", "recommend_examples", "explain"),
        *("user_embedding", "item_embedding", "user_embedding_of_features"),
        *("recommend_of_features", "recommend_of_features_examples"),
        "item_embedding_of_features",
    },
    "causerec": {
        *("serving_default", "recommend", "recommend_examples", "explain"),
        *("user_embedding", "item_embedding", "user_embedding_of_history"),
        *("recommend_of_history", "recommend_of_history_examples"),
        "explain_history",
    },
}
"""Model to its signatures."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    folder = tmp_path_factory.mktemp("served")
    dataset = write_dataset(folder / "dataset", features=True)
    runs = {
        "dice": served_features.train_small(dataset, "dice", folder / "dice", 1),
        "causerec": served_histories.train_small(
            dataset, "causerec", folder / "causerec", 1
        ),
    }
    found = {}
    for name, run in runs.items():
        version: Path = export(run, name, folder / "saved_models")
        found[name] = tf.saved_model.load(str(version)).signatures
    return found


def drawn(rng: np.random.Generator, spec: tf.TensorSpec, rows: int) -> tf.Tensor:
    """Returns values of a type and rank; one in ten has another number of rows."""
    if rng.random() < 0.1:
        rows = int(rng.integers(0, 4))
    shape = [rows, *rng.integers(0, 4, 5).tolist()][: spec.shape.rank]
    pool: list[Any] = {
        tf.string: TEXTS,
        tf.float32: FLOATS,
        tf.int32: INTEGERS,
        tf.bool: [True, False],
    }[spec.dtype]
    # Most are in order, so that answers are met as often as errors.
    usual = {tf.float32: 2, tf.int32: 2}.get(spec.dtype, len(pool))
    few = pool[3:5] if spec.dtype == tf.int32 else pool[:usual]
    count = int(np.prod(shape))
    chosen = few if rng.random() < 0.8 else pool
    values = [chosen[place] for place in rng.integers(0, len(chosen), count)]
    return tf.reshape(tf.constant(values, spec.dtype), shape)


def test_every_signature_is_asked(served: Mapping[str, Any]) -> None:
    for name, signatures in served.items():
        assert set(signatures) == MODELS[name]


@pytest.mark.parametrize(
    ("model", "name"),
    [(model, name) for model, names in MODELS.items() for name in sorted(names)],
)
def test_an_error_or_an_answer(
    served: Mapping[str, Any], model: str, name: str
) -> None:
    signature = served[model][name]
    specs = signature.structured_input_signature[1]
    answered = refused = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rows = int(rng.integers(0, 4))
        inputs = {key: drawn(rng, spec, rows) for key, spec in specs.items()}
        try:
            answer = signature(**inputs)
        except (tf.errors.InvalidArgumentError, UnicodeDecodeError):
            # TensorFlow's own messages repeat bytes, which may be no text.
            refused += 1
            continue
        answered += 1
        asked = max(len(value) for value in inputs.values() if value.shape.rank)
        for key, values in answer.items():
            assert values.shape[0] == asked, key
            if values.dtype == tf.float32:
                assert np.isfinite(values).all(), key
    assert answered + refused == 60
    assert answered
