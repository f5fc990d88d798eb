"""Causal recommendation for industry on TensorFlow.

The names below are all that is promised; they are loaded when they are first used, so
that `import tfcausal` costs nothing.
"""

import importlib
from typing import Any

from tfcausal import keras_compat as keras_compat  # sets what TensorFlow must find

_MODULES = {
    "CausalVectors": "tfcausal.schema.vectors",
    "Curriculum": "tfcausal.training.callbacks",
    "InputError": "tfcausal.errors",
    "RowSparseAdam": "tfcausal.training.optimizers",
    "TrainingOptions": "tfcausal.training.options",
    "__version__": "tfcausal.version",
    "compile_model": "tfcausal.training.trainer",
    "evaluate": "tfcausal.evaluation.evaluator",
    "evaluation_set": "tfcausal.evaluation.validation",
    "load_run": "tfcausal.training.run",
    "open_dataset": "tfcausal.data.interactions",
    "protocol": "tfcausal.schema.protocol",
    "train": "tfcausal.training.trainer",
    "training_batches": "tfcausal.training.trainer",
    "validator": "tfcausal.evaluation.validation",
    "weight_curve": "tfcausal.evaluation.evaluator",
}

__all__ = [  # the names come from __getattr__
    "CausalVectors",
    "Curriculum",
    "InputError",
    "RowSparseAdam",
    "TrainingOptions",
    "__version__",
    "compile_model",
    "evaluate",
    "evaluation_set",
    "load_run",
    "methods",
    "open_dataset",
    "protocol",
    "train",
    "training_batches",
    "validator",
    "weight_curve",
]


def __getattr__(name: str) -> Any:
    if name == "methods":
        return importlib.import_module("tfcausal.methods")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
