"""What must be set before the first test imports TensorFlow."""

import os

# TensorFlow reads it once, at its first import; processes that tests start inherit it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

import tfcausal.keras_compat  # noqa: F401  (picks Keras 2)
