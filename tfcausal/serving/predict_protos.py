"""Requests and responses of TensorFlow Serving's Predict, as its own messages.

They need tensorflow-serving-api, without which there are none.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

try:
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
except ImportError:
    predict_pb2 = prediction_log_pb2 = None

AVAILABLE = predict_pb2 is not None
"""Whether tensorflow-serving-api is installed."""


def predict_request(
    name: str, signature: str, specs: Mapping[str, tf.TensorSpec], inputs: Any
) -> Any:
    """Returns a PredictRequest.

    Args:
        name: The model's name.
        signature: The signature's name.
        specs: Type of each input.
        inputs: Value of each input, in plain lists.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, values in inputs.items():
        tensor = tf.make_tensor_proto(values, specs[key].dtype)
        request.inputs[key].CopyFrom(tensor)
    return request


def predict_response(name: str, signature: str, outputs: Mapping[str, Any]) -> Any:
    """Returns a PredictResponse.

    Args:
        name: The model's name.
        signature: The signature's name.
        outputs: Array of each output.
    """
    response = predict_pb2.PredictResponse()
    response.model_spec.name = name
    response.model_spec.signature_name = signature
    for key, values in outputs.items():
        response.outputs[key].CopyFrom(tf.make_tensor_proto(values))
    return response


def prediction_log(request: Any) -> Any:
    """Returns a PredictionLog of a request, as warm-up files hold them."""
    return prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )
