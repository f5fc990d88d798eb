"""Warm-up requests for TensorFlow Serving, which replays them before it answers."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfcausal.serving import predict_protos
from tfcausal.serving.signatures import input_specs

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
_log = logging.getLogger(__name__)


def write_warmup(
    folder: Path, name: str, signatures: Any, cases: Sequence[Mapping[str, Any]]
) -> bool:
    """Writes requests as PredictionLog records where TensorFlow Serving looks for them.

    Args:
        folder: The SavedModel's folder.
        name: The model's name.
        signatures: Concrete functions by name, for the types of their inputs.
        cases: `signature` and `inputs` of each request.
    Returns:
        Whether they were written; without tensorflow-serving-api they are not.
    """
    if not predict_protos.AVAILABLE:
        _log.warning(
            "No warm-up requests: they need `pip install tensorflow-serving-api`."
        )
        return False
    path = folder / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for case in cases:
            request = predict_protos.predict_request(
                name,
                case["signature"],
                input_specs(signatures[case["signature"]]),
                case["inputs"],
            )
            writer.write(predict_protos.prediction_log(request).SerializeToString())
    return True
