"""Vectors with causes: what they promise, keep, weigh and refuse."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import fs

from tests.runs import random_vectors
from tfcausal.errors import InputError
from tfcausal.schema import paths
from tfcausal.schema.vectors import CausalVectors


def vectors_with(**changes: Any) -> CausalVectors:
    fields = {
        "queries": np.ones((4, 2, 3), np.float32),
        "candidates": np.ones((5, 3), np.float32),
        "causes": {"interest": slice(0, 2), "conformity": slice(2, 3)},
    }
    return CausalVectors(**(fields | changes))


def with_nan(*shape: int, value: float = float("nan")) -> np.ndarray:
    values = np.ones(shape, np.float32)
    values[2] = value
    return values


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"queries": np.ones((4, 3), np.float32)}, r"must be \[users, queries, dim\]"),
        (
            {"candidates": np.ones((5, 2), np.float32)},
            r"must be \[users, queries, dim\]",
        ),
        ({"candidates": np.ones((5, 3))}, "`candidates` must be float32; got float64"),
        ({"queries": with_nan(4, 2, 3)}, "`queries` must be finite; row 2"),
        ({"candidates": with_nan(5, 3)}, "`candidates` must be finite; row 2"),
        (
            {"candidates": with_nan(5, 3, value=float("-inf"))},
            "`candidates` must be finite; row 2",
        ),
        ({"causes": {"interest": slice(0, 2)}}, "must cover 3 coordinates; got 2"),
        ({"causes": {}}, "must cover 3 coordinates; got 0"),
        (
            {"causes": {"interest": slice(0, 2), "conformity": slice(1, 3)}},
            "one after the other; `conformity`",
        ),
        (
            {"causes": {"a": slice(0, 0), "b": slice(0, 3)}},
            "one after the other; `a`",
        ),
        ({"causes": {"a": slice(0, 3, 2)}}, "one after the other; `a`"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        vectors_with(**changes)


def test_large_values_are_fine() -> None:
    vectors_with(queries=np.full((4, 2, 3), 3e38, np.float32))


def test_weights_scale_the_queries_alone() -> None:
    vectors = random_vectors(6, 7)
    weighted = vectors.weighted({"conformity": -0.5})
    assert np.array_equal(weighted.candidates, vectors.candidates)
    whole = np.einsum("uqd,id->uqi", weighted.queries, weighted.candidates)
    parts = [
        weight * np.einsum("uqd,id->uqi", part.queries, part.candidates)
        for weight, part in (
            (1.0, vectors.only("interest")),
            (-0.5, vectors.only("conformity")),
        )
    ]
    np.testing.assert_allclose(whole, sum(parts), rtol=1e-4, atol=1e-5)
    assert np.array_equal(vectors.weighted({}).queries, vectors.queries)
    for weights, message in (
        ({"conformty": 1.0}, "Did you mean `conformity`"),
        ({"interest": float("inf")}, "`interest` must be finite"),
        ({"interest": 3e38}, "Weights must keep the vectors in float32"),
    ):
        with pytest.raises(InputError, match=message):
            vectors.weighted(weights)
    with pytest.raises(InputError, match="Unknown cause `noise`"):
        vectors.only("noise")


@pytest.mark.parametrize("norm_power", [0.0, 0.5, 1.0])
def test_items_of_one_cause_are_shortened(norm_power: float) -> None:
    vectors = random_vectors(5, 9, num_queries=2)
    vectors.candidates[3, vectors.causes["interest"]] = 0.0
    found = vectors.shortened("interest", norm_power)
    np.testing.assert_array_equal(found.queries, vectors.queries)
    assert found.causes == vectors.causes
    for item in range(9):
        one = vectors.candidates[item, vectors.causes["interest"]].astype(np.float64)
        length = np.sqrt((one**2).sum()) or 1.0
        np.testing.assert_allclose(
            found.candidates[item, vectors.causes["interest"]],
            one / length**norm_power,
            rtol=1e-5,
        )
    part = vectors.causes["conformity"]
    np.testing.assert_array_equal(
        found.candidates[:, part], vectors.candidates[:, part]
    )


def test_shortening_refuses() -> None:
    vectors = random_vectors(5, 9)
    with pytest.raises(InputError, match="Did you mean `interest`"):
        vectors.shortened("intrest", 0.5)
    for power in (-0.1, 1.5, float("nan")):
        with pytest.raises(InputError, match="`norm_power` must be from 0 to 1"):
            vectors.shortened("interest", power)


def test_saved_vectors_come_back(tmp_path: Path) -> None:
    vectors = random_vectors(6, 7, num_queries=2)
    vectors.save(tmp_path / "vectors")
    loaded = CausalVectors.load(tmp_path / "vectors")
    assert np.array_equal(loaded.queries, vectors.queries)
    assert np.array_equal(loaded.candidates, vectors.candidates)
    assert loaded.causes == vectors.causes
    assert list(loaded.causes) == list(vectors.causes)
    assert isinstance(loaded.queries, np.memmap)


@pytest.mark.parametrize("harm", ["missing", "cut", "pickle", "causes", "text"])
def test_spoilt_files_are_refused(tmp_path: Path, harm: str) -> None:
    random_vectors(6, 7).save(tmp_path)
    queries, causes = tmp_path / "queries.npy", tmp_path / "causes.json"
    if harm == "missing":
        queries.unlink()
    elif harm == "cut":
        queries.write_bytes(queries.read_bytes()[:-10])
    elif harm == "pickle":
        np.save(queries, np.asarray([{"a": 1}], object), allow_pickle=True)
    elif harm == "causes":
        causes.write_text(json.dumps({"interest": [0, 99]}))
    else:
        causes.write_text("[")
    with pytest.raises(InputError):
        CausalVectors.load(tmp_path)


def test_needs_no_tensorflow() -> None:
    code = "import sys, tfcausal.schema.vectors; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_vectors_of_a_store_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_vectors(4, 6).save(tmp_path / "bucket" / "vectors")
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(paths, "_store", lambda path: (store, str(path)[5:]))
    loaded = CausalVectors.load(paths.as_path("gs://bucket/vectors"))
    expected = CausalVectors.load(tmp_path / "bucket" / "vectors")
    assert np.array_equal(loaded.queries, expected.queries)
    assert np.array_equal(loaded.candidates, expected.candidates)
    assert loaded.causes == expected.causes
