"""Warm-up requests for TensorFlow Serving, which replays them before it answers."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

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
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError:
        _log.warning(
            "No warm-up requests: they need `pip install tensorflow-serving-api`."
        )
        return False
    path = folder / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for case in cases:
            structure = signatures[case["signature"]].structured_input_signature
            dtypes = {spec.name: spec.dtype for spec in tf.nest.flatten(structure)}
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = case["signature"]
            for key, values in case["inputs"].items():
                tensor = tf.make_tensor_proto(values, dtypes[key])
                request.inputs[key].CopyFrom(tensor)
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())
    return True
