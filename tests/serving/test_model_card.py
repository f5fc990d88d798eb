"""What goes with an export for those who serve it."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.runs import random_vectors, write_run
from tfcausal.data.interactions import CheckedDataset
from tfcausal.schema.manifest import read_manifest
from tfcausal.serving.export import export
from tfcausal.serving.model_card import CARD_FILE, GOLDEN_FILE
from tfcausal.training.callbacks import write_json
from tfcausal.training.run import Run


def rows_of(card: str, title: str) -> dict[str, list[str]]:
    section = card.partition(f"## {title}")[2].partition("\n## ")[0]
    cells = [
        line.strip("| ").split(" | ") for line in section.splitlines() if "|" in line
    ]
    return {first: rest for first, *rest in cells[2:]}


@pytest.fixture(scope="module")
def card(exported: Path) -> str:
    return (exported / CARD_FILE).read_text(encoding="utf-8")


def test_the_card_says_what_it_is(card: str, run: Run, dataset: CheckedDataset) -> None:
    assert card.startswith("# dice, version 1\n")
    assert "Disentangling" in card
    data = rows_of(card, "Data")
    assert data["users"] == [f"{dataset.num_users - 1:,}"]
    assert data["fingerprint of the run"] == [run.manifest.fingerprint]
    assert rows_of(card, "Causes") == {"interest": ["5"], "conformity": ["3"]}
    assert rows_of(card, "Metrics") == {"recall@20": ["0.2500"]}


def test_the_card_lists_every_signature(card: str, exported: Path) -> None:
    served = tf.saved_model.load(str(exported)).signatures
    listed = rows_of(card, "Signatures")
    assert listed.keys() == {f"`{name}`" for name in served}
    inputs, outputs = listed["`recommend`"]
    assert "`exclude_item_id` string [B, n]" in inputs
    assert "`k` int32 []" in inputs
    assert "`score_conformity` float32 [B, n]" in outputs


def test_the_card_lists_presets(card: str, exported: Path) -> None:
    presets = read_manifest(exported, kind="export").details["presets"]
    assert rows_of(card, "Presets (`do`)").keys() == presets.keys()
    assert {"as_trained", "interest_only"} <= presets.keys()


def test_the_card_has_what_evaluate_found(
    tmp_path: Path, dataset: CheckedDataset
) -> None:
    vectors = random_vectors(dataset.num_users, dataset.num_items)
    run = write_run(tmp_path / "run", dataset, vectors)
    evaluated = {"test dice:123": {"metrics": {"recall@20": 0.125, "hr@20": 0.5}}}
    metrics = {"validation": {"recall@20": 0.25}, "evaluations": evaluated}
    write_json(run.folder / "metrics.json", metrics)
    version = export(run, "dice", tmp_path / "models")
    card = (version / CARD_FILE).read_text(encoding="utf-8")
    assert rows_of(card, "Metrics") == {
        "hr@20": ["", "0.5000"],
        "recall@20": ["0.2500", "0.1250"],
    }


def test_golden_requests_are_answered_so(exported: Path) -> None:
    signatures = tf.saved_model.load(str(exported)).signatures
    golden = json.loads((exported / GOLDEN_FILE).read_text(encoding="utf-8"))
    assert {case["signature"] for case in golden} == set(signatures)
    for case in golden:
        request, response = case["rest"]["request"], case["rest"]["response"]
        if "examples" in request["inputs"]:
            assert all(one.keys() == {"b64"} for one in request["inputs"]["examples"])
            continue
        found = _asked(signatures[case["signature"]], request["inputs"])
        outputs = response["outputs"]
        if len(found) == 1:
            outputs = {next(iter(found)): outputs}
        assert found.keys() == outputs.keys()
        for name, values in found.items():
            if values.dtype == object:
                assert np.vectorize(bytes.decode)(values).tolist() == outputs[name]
            else:
                np.testing.assert_allclose(values, outputs[name], rtol=1e-5)


def _asked(signature: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    specs = signature.structured_input_signature[1]
    given = {name: tf.constant(one, specs[name].dtype) for name, one in inputs.items()}
    return {name: value.numpy() for name, value in signature(**given).items()}


def test_no_path_of_the_machine_is_told(exported: Path, card: str, run: Run) -> None:
    golden = (exported / GOLDEN_FILE).read_text(encoding="utf-8")
    assert not re.search(re.escape(str(run.folder.parent)), card + golden)
