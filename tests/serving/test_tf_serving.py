"""The contract with TensorFlow Serving: its own messages over gRPC, and REST's JSON."""

import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfcausal.serving.model_card import GOLDEN_FILE
from tfcausal.serving.models_config import relabelled, write_config

grpc = pytest.importorskip("grpc")
json_format = pytest.importorskip("google.protobuf.json_format")
apis = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
metadata = pytest.importorskip("tensorflow_serving.apis.get_model_metadata_pb2")
service = pytest.importorskip("tensorflow_serving.apis.prediction_service_pb2_grpc")

_SERVER = Path(__file__).with_name("prediction_server.py")
_PATIENCE = 60


@dataclass(frozen=True)
class Server:
    """A server of the models in a folder.

    Attributes:
        root: The folder.
        stub: gRPC's client.
        rest: Where REST answers.
    """

    root: Path
    stub: Any
    rest: str

    def predict(self, request: Any) -> Any:
        return self.stub.Predict(request, timeout=_PATIENCE)

    def post(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            f"{self.rest}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, exported: Path
) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("served")
    shutil.copytree(exported, root / "dice" / "1")
    config = write_config(root, {}, str(root))
    with subprocess.Popen(
        [sys.executable, "-I", str(_SERVER), str(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        with grpc.insecure_channel(f"127.0.0.1:{ports['grpc']}") as channel:
            stub = service.PredictionServiceStub(channel)
            yield Server(root, stub, f"http://127.0.0.1:{ports['rest']}")
        process.communicate()


@pytest.fixture(scope="module")
def golden(exported: Path) -> list[dict[str, Any]]:
    return json.loads((exported / GOLDEN_FILE).read_text(encoding="utf-8"))


def request_for(user: str, **of_model: Any) -> Any:
    request = apis.PredictRequest()
    request.model_spec.name = "dice"
    for name, value in of_model.items():
        setattr(request.model_spec, name, value)
    request.inputs["user_id"].CopyFrom(tf.make_tensor_proto([user], tf.string))
    return request


def test_golden_requests_have_their_responses_by_grpc(
    server: Server, golden: list[dict[str, Any]]
) -> None:
    for case in golden:
        request = json_format.ParseDict(case["grpc"]["request"], apis.PredictRequest())
        expected = json_format.ParseDict(
            case["grpc"]["response"], apis.PredictResponse()
        )
        found = server.predict(request)
        assert found.model_spec.version.value == 1
        assert found.outputs.keys() == expected.outputs.keys()
        for name, tensor in expected.outputs.items():
            assert found.outputs[name].dtype == tensor.dtype
            wanted, values = (
                tf.make_ndarray(tensor),
                tf.make_ndarray(found.outputs[name]),
            )
            if wanted.dtype.kind == "f":
                np.testing.assert_allclose(values, wanted, rtol=1e-5, atol=1e-5)
            else:
                assert values.tolist() == wanted.tolist()


def test_golden_requests_have_their_responses_by_rest(
    server: Server, golden: list[dict[str, Any]]
) -> None:
    for case in golden:
        found = server.post(case["rest"]["path"], case["rest"]["request"])
        _assert_close(found, case["rest"]["response"])


def _assert_close(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            _assert_close(found[name], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            _assert_close(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)
    else:
        assert found == expected


def test_there_is_a_golden_request_for_every_signature(
    server: Server, golden: list[dict[str, Any]]
) -> None:
    request = metadata.GetModelMetadataRequest()
    request.model_spec.name = "dice"
    request.metadata_field.append("signature_def")
    answer = server.stub.GetModelMetadata(request, timeout=_PATIENCE)
    found = metadata.SignatureDefMap()
    answer.metadata["signature_def"].Unpack(found)
    served = {name for name in found.signature_def if not name.startswith("__")}
    assert served == {case["signature"] for case in golden}
    recommend = found.signature_def["recommend"]
    assert {name: tf.DType(one.dtype) for name, one in recommend.inputs.items()} == {
        "user_id": tf.string,
        "k": tf.int32,
        "do": tf.string,
        "exclude_item_id": tf.string,
        "allow_item_id": tf.string,
        "exclude_seen": tf.bool,
        "interest_weight": tf.float32,
        "conformity_weight": tf.float32,
    }


def test_an_output_may_be_all_that_comes(server: Server) -> None:
    request = request_for("u1")
    request.output_filter.append("item_id")
    assert list(server.predict(request).outputs) == ["item_id"]


@pytest.mark.parametrize(
    ("of_model", "inputs", "status", "message"),
    [
        ({"name": "mf"}, {}, "NOT_FOUND", "mf"),
        ({"version_label": "none"}, {}, "NOT_FOUND", "none"),
        ({"signature_name": "guess"}, {}, "FAILED_PRECONDITION", "guess"),
        ({}, {"more": ["x"]}, "INVALID_ARGUMENT", "more"),
        ({}, {"user_id": [3]}, "INVALID_ARGUMENT", "user_id must be string"),
        ({}, {"user_id": [["u1"]]}, "INVALID_ARGUMENT", "user_id must be string"),
        (
            {"signature_name": "item_embedding"},
            {"user_id": None, "item_id": ["no such"]},
            "INVALID_ARGUMENT",
            "no such",
        ),
    ],
)
def test_errors_have_a_status_and_a_reason(
    server: Server,
    of_model: dict[str, str],
    inputs: dict[str, Any],
    status: str,
    message: str,
) -> None:
    request = request_for("u1", **of_model)
    for name, values in inputs.items():
        if values is None:
            del request.inputs[name]
        else:
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    with pytest.raises(grpc.RpcError) as raised:
        server.predict(request)
    assert raised.value.code().name == status
    assert message in raised.value.details()


def test_rest_says_what_is_wrong(server: Server) -> None:
    body = {"signature_name": "item_embedding", "inputs": {"item_id": ["no such"]}}
    with pytest.raises(urllib.error.HTTPError) as raised:
        server.post("/v1/models/dice:predict", body)
    assert raised.value.code == 400
    assert "no such" in json.load(raised.value)["error"]


def test_a_label_moves_without_an_error(server: Server) -> None:
    """Requests go on while a version appears, gets the label and the old one goes."""
    labels = relabelled({}, ["dice:stable=1"])
    write_config(server.root, labels, str(server.root))
    _wait_for(server, 1)
    staged = shutil.copytree(server.root / "dice" / "1", server.root / ".staged")
    staged.rename(server.root / "dice" / "2")
    write_config(server.root, relabelled(labels, ["dice:stable=2"]), str(server.root))
    _wait_for(server, 2)
    assert server.predict(request_for("u1")).model_spec.version.value == 2


def _wait_for(server: Server, version: int) -> None:
    end = time.monotonic() + _PATIENCE
    request, found = request_for("u1", version_label="stable"), 0
    while found != version:
        assert time.monotonic() < end, f"version {version} never got the label"
        # Only before the label is there for the first time.
        with suppress(grpc.RpcError) if version == 1 else nullcontext():
            found = server.predict(request).model_spec.version.value
        time.sleep(0.05)
    assert found == version
