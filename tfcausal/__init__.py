"""Causal recommendation for industry on TensorFlow.

The names below are all that is promised; they are loaded when they are first used, so
that `import tfcausal` costs nothing.
"""

import importlib
from typing import Any

from tfcausal import keras_compat as keras_compat  # sets what TensorFlow must find

_MODULES = {
    "AttentionEncoder": "tfcausal.layers.history_attention",
    "Calibration": "tfcausal.evaluation.calibration",
    "CausalVectors": "tfcausal.schema.vectors",
    "Curriculum": "tfcausal.training.callbacks",
    "InBatch": "tfcausal.samplers.in_batch",
    "InBatchSoftmax": "tfcausal.layers.softmax",
    "InputError": "tfcausal.errors",
    "MeanEncoder": "tfcausal.layers.history_mean",
    "PopularityContrast": "tfcausal.layers.contrast",
    "RecurrentEncoder": "tfcausal.layers.history_recurrent",
    "RoutingEncoder": "tfcausal.layers.history_routing",
    "RowSparseAdam": "tfcausal.training.optimizers",
    "TrainWindow": "tfcausal.data.train_window",
    "TrainingOptions": "tfcausal.training.options",
    "__version__": "tfcausal.version",
    "calibrate": "tfcausal.evaluation.calibration",
    "compile_model": "tfcausal.training.trainer",
    "evaluate": "tfcausal.evaluation.evaluator",
    "evaluation_set": "tfcausal.evaluation.validation",
    "load_model": "tfcausal.training.restored",
    "load_run": "tfcausal.training.run",
    "open_dataset": "tfcausal.data.interactions",
    "protocol": "tfcausal.schema.protocol",
    "similar": "tfcausal.layers.embedding",
    "train": "tfcausal.training.trainer",
    "training_batches": "tfcausal.training.trainer",
    "validator": "tfcausal.evaluation.validation",
    "weight_curve": "tfcausal.evaluation.evaluator",
}

__all__ = [  # the names come from __getattr__
    "AttentionEncoder",
    "Calibration",
    "CausalVectors",
    "Curriculum",
    "InBatch",
    "InBatchSoftmax",
    "InputError",
    "MeanEncoder",
    "PopularityContrast",
    "RecurrentEncoder",
    "RoutingEncoder",
    "RowSparseAdam",
    "TrainWindow",
    "TrainingOptions",
    "__version__",
    "calibrate",
    "compile_model",
    "evaluate",
    "evaluation_set",
    "load_model",
    "load_run",
    "methods",
    "open_dataset",
    "protocol",
    "similar",
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
