"""What goes with an exported version for those who serve it and have not trained it.

assets.extra/model_card.md   method, data, metrics, causes, presets, signatures
assets.extra/golden.json     a request and its response for each signature, in the JSON
                             of REST and as the PredictRequest of gRPC
"""

import base64
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format

from tfcausal import methods
from tfcausal.data.interactions import CheckedDataset
from tfcausal.evaluation.calibration import Calibration
from tfcausal.schema.vectors import CausalVectors
from tfcausal.serving import predict_protos
from tfcausal.serving.presets import Neutral, Presets
from tfcausal.serving.signatures import input_specs
from tfcausal.training.run import Run

CARD_FILE = Path("assets.extra", "model_card.md")
GOLDEN_FILE = Path("assets.extra", "golden.json")
_GOLDEN_ROWS = 2


def write_golden(
    folder: Path,
    name: str,
    version: int,
    signatures: Any,
    cases: Sequence[Mapping[str, Any]],
) -> None:
    """Writes a request and the model's response for each signature.

    Args:
        folder: The SavedModel's folder.
        name: The model's name.
        version: Its version, which requests ask for by number.
        signatures: Concrete functions by name.
        cases: `signature` and `inputs` of requests; the first of each counts.
    """
    golden = []
    for signature in signatures:
        inputs = next(one["inputs"] for one in cases if one["signature"] == signature)
        few = {
            key: values[:_GOLDEN_ROWS] if isinstance(values, list) else values
            for key, values in inputs.items()
        }
        golden.append(_golden(name, version, signature, signatures[signature], few))
    path = folder / GOLDEN_FILE
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(golden, indent=2, default=encoded, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def encoded(value: bytes) -> dict[str, str]:
    """Returns bytes as REST has them: base64 under the key `b64`."""
    return {"b64": base64.b64encode(value).decode()}


def write_card(
    folder: Path,
    title: str,
    signatures: Any,
    run: Run,
    dataset: CheckedDataset,
    vectors: CausalVectors,
    presets: Presets,
    neutral: Neutral | None,
    calibration: Calibration | None,
) -> None:
    """Writes the model card.

    Args:
        folder: The SavedModel's folder.
        title: The model's name and version.
        signatures: Concrete functions by name.
        run: The run that was exported.
        dataset: What it was trained on.
        vectors: What was exported.
        presets: Weights of causes by name.
        neutral: How the preset `popularity_neutral` was found, if there is one.
        calibration: What was applied to the vectors; None for vectors as trained.
    """
    about = inspect.getdoc(inspect.getmodule(methods.get(run.method))) or ""
    sections = [
        f"# {title}\n\nMethod `{run.method}`: {about}",
        _data(run, dataset),
        "## Metrics\n\n" + _metrics(run, calibration),
        "## Causes\n\n"
        "A score is the sum of its causes' terms. A request scales them.\n\n"
        + _table(
            ("cause", "coordinates"),
            [
                (one, str(part.stop - part.start))
                for one, part in vectors.causes.items()
            ],
        ),
        _calibration(calibration),
        _presets(presets, neutral),
        _signatures(signatures),
        "## Options of training\n\n"
        + _table(
            ("option", "value"),
            [(option, json.dumps(value)) for option, value in run.options.items()],
        ),
    ]
    path = folder / CARD_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _data(run: Run, dataset: CheckedDataset) -> str:
    options = sorted(dataset.splits.options.items())
    rows = [
        ("users", f"{dataset.num_users - 1:,}"),
        ("items", f"{dataset.num_items - 1:,}"),
        *((part, f"{count:,} rows") for part, count in dataset.splits.counts.items()),
        *((f"split: {key}", json.dumps(value)) for key, value in options),
        ("fingerprint of the split", dataset.splits.fingerprint),
        ("fingerprint of the run", run.manifest.fingerprint),
    ]
    return "## Data\n\n" + _table(("what", "value"), rows)


def _metrics(run: Run, calibration: Calibration | None) -> str:
    found = json.loads((run.folder / "metrics.json").read_text(encoding="utf-8"))
    columns = {"validation, as trained": found["validation"]}
    for label, evaluation in found.get("evaluations", {}).items():
        kind = "" if "calibrated" in label.split() else ", as trained"
        columns[f"{label}{kind}"] = evaluation["metrics"]
    if calibration is not None:
        columns[f"{calibration.part}, as exported"] = dict(calibration.calibrated)
    names = sorted({name for values in columns.values() for name in values})
    rows = [
        (
            name,
            *(
                f"{values[name]:.4f}" if name in values else ""
                for values in columns.values()
            ),
        )
        for name in names
    ]
    return _table(("metric", *columns), rows)


def _calibration(calibration: Calibration | None) -> str:
    text = "## Calibration\n\n"
    if calibration is None:
        return f"{text}None: weight 1 of every cause is the model as trained."
    weights = ", ".join(
        f"{cause} {weight:.4g}" for cause, weight in calibration.weights.items()
    )
    aim = "as large as possible"
    if calibration.target is not None:
        aim = f"near {calibration.target:g}"
    norms = ""
    if calibration.norm_power:
        norms = (
            " Items' vectors of the first cause are divided by their norm to the "
            f"power of {calibration.norm_power:.4g}."
        )
    return (
        f"{text}Weight 1 of every cause is what was chosen on {calibration.part} to "
        f"bring {calibration.metric} {aim}: {weights}, and {calibration.shift:.4g} "
        f"times the standardised log-popularity.{norms}"
    )


def _presets(presets: Presets, neutral: Neutral | None) -> str:
    rows = [
        (name, ", ".join(f"{cause} {weight:.4g}" for cause, weight in one.items()))
        for name, one in presets.items()
    ]
    text = "## Presets (`do`)\n\n" + _table(("name", "weights"), rows)
    if neutral is None:
        text += (
            "\n\nThere is no `popularity_neutral`: export found no weight from 0 to 2 "
            "of conformity or popularity that makes lists as popular as what users "
            "choose."
        )
    else:
        text += (
            f"\n\n`popularity_neutral`: lists of {neutral.k} had a mean popularity of "
            f"{neutral.reached:.6g} for {neutral.num_users:,} validation users; wanted "
            f"were {neutral.target:.6g}."
        )
    return text


def _signatures(signatures: Any) -> str:
    rows = []
    for name, function in signatures.items():
        inputs = input_specs(function)
        rows.append(
            (
                f"`{name}`",
                ", ".join(_described(key, spec) for key, spec in inputs.items()),
                ", ".join(
                    _described(key, spec)
                    for key, spec in sorted(function.structured_outputs.items())
                ),
            )
        )
    return "## Signatures\n\n" + _table(("signature", "inputs", "outputs"), rows)


def _described(name: str, spec: Any) -> str:
    axes = ("B", "n", "m")[: spec.shape.rank]
    return f"`{name}` {spec.dtype.name} [{', '.join(axes)}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |"
        for line in lines
    )


def _golden(
    name: str,
    version: int,
    signature: str,
    function: Any,
    inputs: Mapping[str, Any],
) -> dict[str, Any]:
    specs = input_specs(function)
    answer = function(
        **{key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()}
    )
    arrays = {key: value.numpy() for key, value in sorted(answer.items())}
    outputs = {key: _plain(value) for key, value in arrays.items()}
    found: dict[str, Any] = {
        "signature": signature,
        "rest": {
            "path": f"/v1/models/{name}/versions/{version}:predict",
            "request": {"signature_name": signature, "inputs": inputs},
            # With one output REST leaves its name out.
            "response": {
                "outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))
            },
        },
    }
    if predict_protos.AVAILABLE:
        request = predict_protos.predict_request(name, signature, specs, inputs)
        response = predict_protos.predict_response(name, signature, arrays)
        for message in (request, response):
            message.model_spec.version.value = version
        found["grpc"] = {
            "method": "/tensorflow.serving.PredictionService/Predict",
            "request": json_format.MessageToDict(request),
            "response": json_format.MessageToDict(response),
        }
    return found


def _plain(values: Any) -> Any:
    if values.dtype == object:
        return np.vectorize(bytes.decode, otypes=[object])(values).tolist()
    return values.tolist()
