"""Which Keras is picked, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_keras_2_and_keras_3_side_by_side() -> None:
    done = run(
        "from tfcausal.keras_compat import keras, ops, tfrs\n"
        "import keras as keras_3, tensorflow as tf\n"
        "print(keras.__version__[0], keras_3.__version__[0])\n"
        "print(tf.keras.Model is keras.Model)\n"
        "print(issubclass(tfrs.Model, keras.Model), float(ops.softplus(0.0)) > 0.69)"
    )
    assert done.stdout.split() == ["2", "3", "True", "True", "True"]


@pytest.mark.parametrize(
    ("script", "environment", "message"),
    [
        (
            "import tensorflow\nfrom tfcausal.keras_compat import keras",
            {},
            "TF_USE_LEGACY_KERAS must be 1 before TensorFlow's first import",
        ),
        (
            "import os, tensorflow\ntensorflow.keras.Model\n"
            "os.environ['TF_USE_LEGACY_KERAS'] = '1'\n"
            "from tfcausal.keras_compat import tfrs",
            {},
            "it was imported with Keras 3",
        ),
        (
            "import os, tensorflow\nos.environ['TF_USE_LEGACY_KERAS'] = '1'\n"
            "from tfcausal.keras_compat import keras",
            {},
            "it was imported with Keras 3",
        ),
        (
            "from tfcausal.keras_compat import keras",
            {"TF_USE_LEGACY_KERAS": "0"},
            "it is 0. Set it",
        ),
        (
            "from tfcausal.keras_compat import tfrs",
            {"KERAS_BACKEND": "jax"},
            "KERAS_BACKEND is jax. Unset it",
        ),
    ],
)
def test_a_wrong_keras_is_refused_in_a_clear_line(
    script: str, environment: dict[str, str], message: str
) -> None:
    done = run(script, **environment)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert message in last


def test_a_backend_set_in_keras_json_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text('{"backend": "numpy"}')
    done = run(
        "from tfcausal.keras_compat import keras",
        KERAS_HOME=str(tmp_path),
        KERAS_BACKEND="",
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert "the backend in keras.json is numpy. Unset it" in last


def test_the_switch_set_before_tensorflow_is_enough() -> None:
    done = run(
        "import tensorflow as tf\nfrom tensorflow.keras.layers import Dense\n"
        "from tfcausal.keras_compat import keras\n"
        "print(issubclass(Dense, keras.layers.Layer))",
        TF_USE_LEGACY_KERAS="true",
    )
    assert done.stdout.split() == ["True"]


@pytest.mark.parametrize("backend", ["jax", "numpy"])
def test_operations_of_another_backend_import_no_tensorflow(backend: str) -> None:
    done = run(
        "import sys\nfrom tfcausal.keras_compat import ops\n"
        "print(ops.__name__, 'tensorflow' in sys.modules)",
        KERAS_BACKEND=backend,
    )
    assert done.stdout.split() == ["keras.ops", "False"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    done = run("import tfcausal.keras_compat as compat\ncompat.karas")
    assert "AttributeError" in done.stderr
