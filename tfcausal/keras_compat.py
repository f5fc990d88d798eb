import importlib
import os
from typing import Any

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
_M = {"keras": "tf_keras", "tfrs": "tensorflow_recommenders", "ops": "keras.ops"}


def __getattr__(name: str) -> Any:
    if name not in _M:
        raise AttributeError(name)
    return importlib.import_module(_M[name])
