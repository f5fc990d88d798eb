"""Stands in for TensorFlow Serving, with its own messages, on the loopback address.

    python -I prediction_server.py ROOT/models.config

A script of its own that must import TensorFlow, its serving messages and gRPC only. It
loads what the config says, replays each version's warm-up requests before the version
answers, looks for new versions and labels all the time, and drops an old version once
the new one answers. Prints {"grpc": port, "rest": port}; serves until its input ends.
"""

import base64
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.compat import v1
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

PREDICT_METHOD_NAME = v1.saved_model.signature_constants.PREDICT_METHOD_NAME
_POLL_SECONDS = 0.2


class RequestError(Exception):
    """What a client asked for wrongly, with the status that it gets."""

    def __init__(self, status: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.status = status


class Version:
    """One loaded version, in a graph and a session of its own as in the real server.

    The session ends with the last request that holds the version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        graph = v1.Graph()
        self._session = v1.Session(graph=graph)
        with graph.as_default():
            loaded = v1.saved_model.load(self._session, ["serve"], str(folder))
        self._calls = {
            name: Call(self._session, definition)
            for name, definition in loaded.signature_def.items()
            if definition.method_name == PREDICT_METHOD_NAME
        }
        warmup = folder / "assets.extra" / "tf_serving_warmup_requests"
        for record in tf.data.TFRecordDataset(str(warmup)):
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            request = log.predict_log.request
            self.call(
                request.model_spec.signature_name,
                {name: tf.make_ndarray(one) for name, one in request.inputs.items()},
            )

    def specs(self, signature: str) -> dict[str, tf.TensorSpec]:
        if signature not in self._calls:
            raise RequestError(
                grpc.StatusCode.FAILED_PRECONDITION, f"no signature {signature}"
            )
        return self._calls[signature].specs

    def call(self, signature: str, inputs: dict[str, Any]) -> dict[str, Any]:
        specs = self.specs(signature)
        if inputs.keys() != specs.keys():
            raise RequestError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"inputs must be {sorted(specs)}; got {sorted(inputs)}",
            )
        for name, values in inputs.items():
            spec, dtype = specs[name], tf.as_dtype(values.dtype)
            if dtype != spec.dtype or not spec.shape.is_compatible_with(values.shape):
                raise RequestError(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"{name} must be {spec.dtype.name} {spec.shape}; got "
                    f"{dtype.name} {values.shape}",
                )
        try:
            return self._calls[signature](inputs)
        except tf.errors.InvalidArgumentError as error:
            raise RequestError(
                grpc.StatusCode.INVALID_ARGUMENT, error.message
            ) from error


class Call:
    """A signature in a session."""

    def __init__(self, session: Any, definition: Any) -> None:
        self.specs = {
            name: tf.TensorSpec(
                tf.TensorShape(one.tensor_shape), tf.as_dtype(one.dtype), one.name
            )
            for name, one in definition.inputs.items()
        }
        self._outputs = list(definition.outputs)
        self._run = session.make_callable(
            [definition.outputs[name].name for name in self._outputs],
            [spec.name for spec in self.specs.values()],
        )

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Any]:
        found = self._run(*(inputs[name] for name in self.specs))
        return dict(zip(self._outputs, found, strict=True))


class Models:
    """All models of a config, swapped as a whole."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._state: dict[str, tuple[dict[int, Version], dict[str, int]]] = {}
        self.refresh()

    def refresh(self) -> None:
        config = text_format.Parse(
            self._config.read_text(), model_server_config_pb2.ModelServerConfig()
        )
        state = {}
        for one in config.model_config_list.config:
            base = Path(one.base_path)
            there = sorted(int(p.name) for p in base.glob("*") if p.name.isdecimal())
            policy = one.model_version_policy
            wanted = (
                list(policy.specific.versions)
                or there[-(policy.latest.num_versions or 1) :]
            )
            loaded = self._state.get(one.name, ({}, {}))[0]
            state[one.name] = (
                {
                    number: loaded.get(number) or Version(base / str(number))
                    for number in wanted
                },
                dict(one.version_labels),
            )
        self._state = state

    def find(self, spec: Any) -> tuple[int, Version]:
        if spec.name not in self._state:
            raise RequestError(grpc.StatusCode.NOT_FOUND, f"no model {spec.name}")
        versions, labels = self._state[spec.name]
        number = max(versions)
        if spec.HasField("version"):
            number = spec.version.value
        elif spec.version_label:
            number = labels.get(spec.version_label, 0)
        if number not in versions:
            raise RequestError(
                grpc.StatusCode.NOT_FOUND,
                f"no version {spec.version_label or number} of {spec.name}",
            )
        return number, versions[number]


class Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers Predict and GetModelMetadata."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC has the name
        spec = request.model_spec
        try:
            number, version = self._models.find(spec)
            signature = spec.signature_name or "serving_default"
            inputs = {
                name: tf.make_ndarray(one) for name, one in request.inputs.items()
            }
            outputs = version.call(signature, inputs)
        except RequestError as error:
            context.abort(error.status, str(error))
        response = predict_pb2.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = number
        response.model_spec.signature_name = signature
        for name, values in outputs.items():
            if not request.output_filter or name in request.output_filter:
                response.outputs[name].CopyFrom(tf.make_tensor_proto(values))
        return response

    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC has the name
        try:
            number, version = self._models.find(request.model_spec)
        except RequestError as error:
            context.abort(error.status, str(error))
        content = (version.folder / "saved_model.pb").read_bytes()
        saved = saved_model_pb2.SavedModel.FromString(content)
        found = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in saved.meta_graphs[0].signature_def.items():
            found.signature_def[name].CopyFrom(definition)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = number
        response.metadata["signature_def"].Pack(found)
        return response


def rest_handler(models: Models) -> type[BaseHTTPRequestHandler]:
    """Returns a handler of POST /v1/models/NAME[/versions/N|/labels/LABEL]:predict."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            try:
                answer = self._predicted(json.loads(self.rfile.read(length)))
                status = 200
            except RequestError as error:
                answer, status = {"error": str(error)}, 400
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _predicted(self, body: dict[str, Any]) -> dict[str, Any]:
            path = self.path.removeprefix("/v1/models/").removesuffix(":predict")
            name, _, which = path.partition("/")
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            if which.startswith("versions/"):
                request.model_spec.version.value = int(which.removeprefix("versions/"))
            else:
                request.model_spec.version_label = which.removeprefix("labels/")
            _, version = models.find(request.model_spec)
            signature = body.get("signature_name", "serving_default")
            specs = version.specs(signature)
            inputs = {
                key: np.asarray(tf.constant(decoded(value), specs[key].dtype))
                for key, value in body["inputs"].items()
                if key in specs
            }
            outputs = {
                key: plain(value)
                for key, value in sorted(version.call(signature, inputs).items())
            }
            only = next(iter(outputs.values())) if len(outputs) == 1 else outputs
            return {"outputs": only}

        def log_message(self, *arguments: Any) -> None:
            """Says nothing: the tests read what is printed."""

    return Handler


def decoded(value: Any) -> Any:
    """Returns JSON values with bytes in the place of base64."""
    if isinstance(value, list):
        return [decoded(one) for one in value]
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    return value


def plain(values: Any) -> Any:
    """Returns an array in plain lists, with text in the place of bytes."""
    if values.dtype == object:
        return np.vectorize(bytes.decode, otypes=[object])(values).tolist()
    return values.tolist()


def watch(models: Models) -> None:
    """Looks for other versions and labels, for good."""
    while True:
        time.sleep(_POLL_SECONDS)
        models.refresh()


def main(config: str) -> None:
    """Serves until the input ends."""
    models = Models(Path(config))
    server = grpc.server(ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Predictions(models), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    rest = ThreadingHTTPServer(("127.0.0.1", 0), rest_handler(models))
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    threading.Thread(target=watch, args=(models,), daemon=True).start()
    others = [name for name in sys.modules if name.split(".")[0] == "tfcausal"]
    assert not others, others
    print(json.dumps({"grpc": port, "rest": rest.server_port}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
