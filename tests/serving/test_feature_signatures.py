"""Exported models that take features: for those who are known and those who are new."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.datasets import write_dataset
from tests.serving.served_features import train_small
from tfcausal import methods
from tfcausal.data.interactions import CheckedDataset
from tfcausal.errors import InputError
from tfcausal.evaluation.calibration import Calibration
from tfcausal.methods.triplets import TripletMethod
from tfcausal.schema.manifest import read_manifest
from tfcausal.serving.export import export
from tfcausal.serving.feature_answers import FeatureAnswers
from tfcausal.training.run import Run, load_run

import tensorflow as tf  # isort: skip

FEATURES = ("group", "year", "length", "tags")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    root = tmp_path_factory.mktemp("data") / "dataset"
    return write_dataset(root, num_users=240, features=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, dataset: CheckedDataset) -> Run:
    return train_small(dataset, "dice", tmp_path_factory.mktemp("run"), 8)


def calibration(weights: Mapping[str, float], shift: float) -> Calibration:
    return Calibration(
        weights, shift, "recall@20", None, {}, {}, "validation", "dice", "", 1
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """A calibrated model: `export` itself has compared all that it answers."""
    chosen = calibration({"interest": 1.0, "conformity": 0.5}, 0.25)
    chosen = replace(chosen, norm_power=0.5)
    root = tmp_path_factory.mktemp("models")
    return export(run, "dice", root, calibration=chosen)


@pytest.fixture(scope="module")
def signatures(exported: Path) -> Any:
    return tf.saved_model.load(str(exported)).signatures


def call(signatures: Any, name: str, **inputs: Any) -> dict[str, Any]:
    specs = signatures[name].structured_input_signature[1]
    given = {key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()}
    return {key: value.numpy() for key, value in signatures[name](**given).items()}


def features_of(group: str, count: int, tag: str = "") -> dict[str, Any]:
    return {
        "group": [group] * count,
        "year": [""] * count,
        "length": [np.nan] * count,
        "tags": [[tag or group, ""]] * count,
    }


def request(users: list[str], group: str, **changed: Any) -> dict[str, Any]:
    ones = [1.0] * len(users)
    return {
        "user_id": users,
        "k": 10,
        "do": [""] * len(users),
        "exclude_item_id": [[""]] * len(users),
        "allow_item_id": [[""]] * len(users),
        "exclude_seen": True,
        "interest_weight": ones,
        "conformity_weight": ones,
        "popularity_weight": ones,
        **features_of(group, len(users)),
        **changed,
    }


def test_inputs_are_the_columns(signatures: Any) -> None:
    specs = signatures["user_embedding_of_features"].structured_input_signature[1]
    assert set(specs) == {"user_id", *FEATURES}
    assert specs["tags"].shape.rank == 2
    assert specs["year"].dtype == tf.string
    assert specs["length"].dtype == tf.float32


def test_the_known_by_their_own_features_are_as_ever(
    dataset: CheckedDataset, signatures: Any
) -> None:
    rows = [5, 7, 11, 100]
    table = pq.read_table(dataset.folder.user_features).take(rows).to_pydict()
    users = table.pop("user_id")
    inputs = {
        "group": [one or "" for one in table["group"]],
        "year": [str(one or "") for one in table["year"]],
        "length": [np.nan if one is None else one for one in table["length"]],
        "tags": [[*(one or ()), "", "", ""][:3] for one in table["tags"]],
    }
    found = call(signatures, "user_embedding_of_features", user_id=users, **inputs)
    usual = call(signatures, "user_embedding", user_id=users)
    assert usual["embedding"].shape[2] == 8 + 8 + 1
    np.testing.assert_allclose(found["embedding"], usual["embedding"], atol=1e-5)
    assert found["known_user"].all()
    wishes = request(users, "")
    lists = call(signatures, "recommend_of_features", **{**wishes, **inputs})
    plain = {name: one for name, one in wishes.items() if name not in FEATURES}
    expected = call(signatures, "recommend", **plain)
    assert lists["item_id"].tolist() == expected["item_id"].tolist()
    np.testing.assert_allclose(lists["score"], expected["score"], rtol=1e-4)


@pytest.mark.parametrize("group", [0, 1, 2, 3])
def test_the_new_are_answered_by_their_features(signatures: Any, group: int) -> None:
    found = call(signatures, "recommend_of_features", **request(["new"], f"g{group}"))
    popular = call(signatures, "serving_default", user_id=["new"])
    assert found["item_id"].tolist() != popular["item_id"].tolist()
    assert not found["known_user"].any()
    # Users of a group like the items whose number leaves the same remainder by 4.
    remainders = [int(name[1:]) % 4 for name in found["item_id"][0]]
    assert remainders.count(group) >= 6


def test_weights_and_exclusion_hold_for_the_new(signatures: Any) -> None:
    usual = call(signatures, "recommend_of_features", **request(["new"], "g1"))
    without = call(
        signatures,
        "recommend_of_features",
        **request(
            ["new"],
            "g1",
            conformity_weight=[0.0],
            exclude_item_id=[usual["item_id"][0, :3].tolist()],
        ),
    )
    assert not without["score_conformity"].any()
    assert usual["score_conformity"].any()
    assert not set(without["item_id"][0]) & set(usual["item_id"][0, :3])
    parts = [value for name, value in usual.items() if name.startswith("score_")]
    np.testing.assert_allclose(np.sum(parts, axis=0), usual["score"], atol=1e-5)


def test_what_no_training_row_had_counts_as_missing(signatures: Any) -> None:
    def vectors(**changed: Any) -> Any:
        inputs = {**features_of("g1", 1), **changed}
        return call(
            signatures, "user_embedding_of_features", user_id=["new"], **inputs
        )["embedding"]

    missing = vectors(group=[""])
    assert np.array_equal(vectors(group=["never seen"]), missing)
    assert not np.array_equal(vectors(), missing)
    # Six years are hashed into five buckets, so that a seventh has one of them.
    assert not np.array_equal(vectors(year=["1999"]), vectors())
    padded = vectors(tags=[["", "g1", "", "t1"]])
    np.testing.assert_allclose(padded, vectors(tags=[["t1", "g1"]]), atol=1e-6)
    huge = vectors(length=[np.inf])
    assert np.isfinite(huge).all()
    assert np.array_equal(huge, vectors(length=[1e30]))


def test_items_by_their_features(signatures: Any, dataset: CheckedDataset) -> None:
    usual = call(signatures, "item_embedding", item_id=["i8"])
    own = {"group": ["g0"], "year": ["1982"], "length": [4.0], "tags": [["g0"]]}
    found = call(signatures, "item_embedding_of_features", item_id=["i8"], **own)
    np.testing.assert_allclose(found["embedding"], usual["embedding"], atol=1e-5)
    assert found["known_item"].tolist() == [True]
    new = call(signatures, "item_embedding_of_features", item_id=["new"], **own)
    assert new["known_item"].tolist() == [False]
    # Of its popularity nothing is known.
    assert new["embedding"][0, -1] == 0.0
    assert usual["embedding"][0, -1] != 0.0


def test_an_empty_batch_and_rows_that_do_not_fit(signatures: Any) -> None:
    nobody = features_of("g1", 0) | {"user_id": [], "tags": np.zeros((0, 0), bytes)}
    found = call(signatures, "user_embedding_of_features", **nobody)
    assert found["embedding"].shape == (0, 1, 17)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="`group` must have a row for each user"
    ):
        call(
            signatures,
            "user_embedding_of_features",
            user_id=["a", "b"],
            **(features_of("g1", 2) | {"group": ["g1"]}),
        )


def test_a_failed_verification_leaves_nothing(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_cases = FeatureAnswers.cases

    def wrong_cases(*arguments: Any, **options: Any) -> Any:
        cases = true_cases(*arguments, **options)
        cases[0]["expected"]["embedding"][-1][0][0] += 1.0
        return cases

    monkeypatch.setattr(FeatureAnswers, "cases", wrong_cases)
    with pytest.raises(RuntimeError, match="user_embedding_of_features: embedding"):
        export(run, "dice", tmp_path)
    assert list((tmp_path / "dice").iterdir()) == []


def test_without_the_weights_of_the_best_epoch_nothing_is_exported(
    tmp_path: Path, run: Run, dataset: CheckedDataset
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run.folder, copy)
    shutil.rmtree(copy / "best")
    description = json.loads((copy / "run.json").read_text())
    description["dataset"] = str(dataset.folder.root)
    (copy / "run.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match="weights of the best epoch"):
        export(load_run(copy), "dice", tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [name for name in methods.names() if issubclass(methods.get(name), TripletMethod)],
)
def test_every_method_with_rows_of_users_is_exported_with_its_features(
    tmp_path: Path, dataset: CheckedDataset, name: str
) -> None:
    run = train_small(dataset, name, tmp_path / "run", 2)
    weights = dict.fromkeys(run.vectors().causes, 0.5)
    version = export(run, name, tmp_path, calibration=calibration(weights, 0.5))
    found = tf.saved_model.load(str(version)).signatures
    assert "recommend_of_features" in found
    assert read_manifest(version, kind="export").options["method"] == name


def test_a_side_without_features_has_no_such_signatures(
    tmp_path: Path, dataset: CheckedDataset
) -> None:
    run = train_small(dataset, "mf", tmp_path / "run", 1, user_columns=())
    found = tf.saved_model.load(str(export(run, "mf", tmp_path))).signatures
    assert "item_embedding_of_features" in found
    assert "user_embedding_of_features" not in found
    assert "recommend_of_features" not in found


def test_a_table_without_features_serves_without_them(
    tmp_path: Path, dataset: CheckedDataset
) -> None:
    run = train_small(dataset, "cause", tmp_path / "run", 1, serves="treatment")
    version = export(run, "cause", tmp_path)
    signatures = tf.saved_model.load(str(version)).signatures
    assert "recommend_of_features" in signatures
    assert "item_embedding_of_features" not in signatures
