"""Exports under version control, which every later version must still serve."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.serving.prediction_server import decoded, plain
from tests.serving.write_golden import GOLDEN, METHODS
from tfcausal.schema.exported import versions
from tfcausal.schema.manifest import checksums, read_manifest
from tfcausal.serving.client import load
from tfcausal.serving.export import read_back
from tfcausal.serving.model_card import GOLDEN_FILE

EXPORTS = [
    GOLDEN / name / str(version)
    for name in METHODS
    for version in versions(GOLDEN / name)
]
golden = pytest.mark.parametrize(
    "export", EXPORTS, ids=lambda path: "-".join(path.parts[-2:])
)


def test_there_is_one_of_each() -> None:
    assert {export.parent.name for export in EXPORTS} == set(METHODS)


@golden
def test_it_is_as_it_was_written(export: Path) -> None:
    assert read_manifest(export, kind="export").files == checksums(export)


@golden
def test_signatures_answer_as_they_did(export: Path) -> None:
    signatures = tf.saved_model.load(str(export)).signatures
    cases = json.loads((export / GOLDEN_FILE).read_text(encoding="utf-8"))
    assert {case["signature"] for case in cases} == set(signatures)
    for case in cases:
        signature = signatures[case["signature"]]
        specs = signature.structured_input_signature[1]
        found = signature(
            **{
                name: tf.constant(decoded(values), specs[name].dtype)
                for name, values in case["rest"]["request"]["inputs"].items()
            }
        )
        expected = case["rest"]["response"]["outputs"]
        if len(found) == 1:
            expected = {next(iter(found)): expected}
        assert found.keys() == expected.keys()
        for name, value in found.items():
            _assert_equal(plain(value.numpy()), expected[name])


def _assert_equal(found: Any, expected: Any) -> None:
    values = np.asarray(expected)
    if values.dtype.kind == "f":
        np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-5)
    else:
        assert found == expected


@golden
def test_the_client_reads_it(export: Path) -> None:
    model = load(export)
    vectors, seen, popularity = read_back(export)
    assert list(model.causes) == list(vectors.causes)
    user = (export / "assets" / "users.txt").read_text().splitlines()[3]
    found = model.recommend(user, 5, do="as_trained")
    assert len(found) == 5
    for one in found:
        assert sum(one.causes.values()) == pytest.approx(one.score, rel=1e-4, abs=1e-5)
    assert len(seen.lengths) == len(vectors.queries)
    assert popularity.sum() > 0
