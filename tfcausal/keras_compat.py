"""The only file that picks a Keras.

TensorFlow Recommenders 0.7 is written for Keras 2, which since TensorFlow 2.16 is the
package tf-keras and is used only where TF_USE_LEGACY_KERAS is set before TensorFlow's
first import. The losses need no Keras 2: they are written in Keras 3's operations, on
whatever backend KERAS_BACKEND names. Hence three lazy names:

    keras    Keras 2 (tf_keras), for layers, models, optimisers, callbacks
    tfrs     tensorflow_recommenders
    ops      keras.ops of Keras 3; with another backend it imports no TensorFlow
"""

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

_SWITCH = "TF_USE_LEGACY_KERAS"
_MODULES = {"keras": "tf_keras", "tfrs": "tensorflow_recommenders", "ops": "keras.ops"}
_NEEDS_TENSORFLOW = ("keras", "tfrs")

if "tensorflow" not in sys.modules:
    os.environ.setdefault(_SWITCH, "1")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _NEEDS_TENSORFLOW:
        _require_keras_2()
    return importlib.import_module(_MODULES[name])


def _require_keras_2() -> None:
    """Raises ImportError where TensorFlow would not use, or did not use, Keras 2."""
    _require_backend(os.environ.get("KERAS_BACKEND") or "tensorflow", "KERAS_BACKEND")
    found = os.environ.get(_SWITCH)
    if found not in ("1", "true", "True"):
        raise ImportError(
            f"{_SWITCH} must be 1 before TensorFlow's first import, since TensorFlow "
            f"Recommenders needs Keras 2; it is {found or 'not set'}. Set it in the "
            "environment, or import tfcausal.keras_compat before tensorflow."
        )
    # TensorFlow decides at its import where `tensorflow.keras` is looked for. Setting
    # the variable later moves the attribute alone, and the two Keras would be mixed.
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and not _picked_keras_2(tensorflow):
        raise ImportError(
            "TensorFlow must use Keras 2; it was imported with Keras 3. Set "
            f"{_SWITCH}=1 before the first import of TensorFlow, or import "
            "tfcausal.keras_compat before it."
        )
    backend = importlib.import_module("keras").config.backend()
    _require_backend(backend, "the backend in keras.json")


def _require_backend(backend: str, source: str) -> None:
    if backend != "tensorflow":
        raise ImportError(
            f"Models of tfcausal need Keras's TensorFlow backend; {source} is "
            f"{backend}. Unset it, or use tfcausal.losses alone, which work with it."
        )


def _picked_keras_2(tensorflow: ModuleType) -> bool:
    return any(
        Path(folder).parts[-3:] == ("tf_keras", "api", "_v2")
        for folder in tensorflow.__path__
    )
