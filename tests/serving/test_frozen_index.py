"""The frozen index: lists of the stock model's form, exclusion, a fresh process."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests.runs import random_vectors
from tfcausal.errors import InputError
from tfcausal.evaluation.ranking import ItemLists
from tfcausal.schema.exported import find_version
from tfcausal.schema.manifest import read_manifest
from tfcausal.serving.frozen_index import (
    SIGNATURES,
    FrozenServingModel,
    build_frozen_index,
)
from tfcausal.serving.index import build_index
from tfcausal.serving.index_settings import IndexSettings
from tfcausal.serving.item_index import IndexedItems
from tfcausal.serving.live_index import LiveIndex
from tfcausal.serving.signatures import ServingModel
from tfcausal.serving.versions import index_folder
from tfcausal.serving.warmup import WARMUP_FILE

pytest.importorskip("scann")
NUM_USERS, NUM_ITEMS = 6, 901
TREE = IndexSettings(num_leaves=20, leaves_to_search=14, reorder=300)
SEEN = {user: set(range(user, NUM_ITEMS, 40 * user)) for user in range(1, NUM_USERS)}
Signatures = Mapping[str, Callable[..., Any]]


@pytest.fixture(scope="module", params=[(1, IndexSettings()), (1, TREE), (3, TREE)])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Signatures, Signatures]:
    return made_pair(tmp_path_factory.mktemp("pair"), *request.param)


def made_pair(
    folder: Path, num_queries: int, settings: IndexSettings
) -> tuple[Signatures, Signatures]:
    """The stock model's signatures and the frozen one's, both saved and loaded."""
    vectors = random_vectors(NUM_USERS, NUM_ITEMS, num_queries=num_queries)
    names = {"u": NUM_USERS, "i": NUM_ITEMS}
    for kind, count in names.items():
        lines = [f"{kind}{index}\n" for index in range(1, count)]
        (folder / f"{kind}.txt").write_text("".join(lines))
    rows = [sorted(SEEN.get(user, ())) for user in range(NUM_USERS)]
    stock = {
        "vectors": vectors,
        "users": folder / "u.txt",
        "items": folder / "i.txt",
        "seen": ItemLists(
            np.cumsum([0, *map(len, rows)]), np.concatenate(rows).astype(np.int32)
        ),
        "popularity": np.random.default_rng(3).integers(0, 40, NUM_ITEMS),
        "known": np.arange(NUM_USERS) > 0,
        "presets": {"interest_only": {"interest": 1.0, "conformity": 0.0}},
    }
    items = [f"i{index}" for index in range(1, NUM_ITEMS)]
    base = IndexedItems.build(items, vectors.candidates[1:], settings)
    return (
        saved(ServingModel(**stock), folder / "stock"),
        saved(FrozenServingModel(base, str(folder), **stock), folder / "frozen"),
    )


def saved(model: ServingModel, folder: Path) -> Signatures:
    tf.saved_model.save(model, str(folder), signatures=model.signatures())
    return {
        name: lambda call=call, **inputs: {
            output: value.numpy() for output, value in call(**inputs).items()
        }
        for name, call in tf.saved_model.load(str(folder)).signatures.items()
    }


def request_of(users: list[str], **changed: Any) -> dict[str, tf.Tensor]:
    ones = tf.ones([len(users)])
    inputs = {
        "user_id": tf.constant(users),
        "k": tf.constant(10),
        "do": tf.fill([len(users)], ""),
        "interest_weight": ones,
        "conformity_weight": ones,
        "exclude_item_id": tf.fill([len(users), 1], ""),
        "allow_item_id": tf.fill([len(users), 1], ""),
        "exclude_seen": tf.constant(True),
    }
    return inputs | {name: tf.constant(value) for name, value in changed.items()}


def test_has_the_stock_models_form(pair: tuple[Signatures, Signatures]) -> None:
    stock, frozen = pair
    assert set(frozen) == {"serving_default", "recommend", "recommend_examples"}
    inputs = request_of(["u1", "nobody", "u4"], k=7)
    expected, found = stock["recommend"](**inputs), frozen["recommend"](**inputs)
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert (found[name].shape, found[name].dtype) == (values.shape, values.dtype)
    np.testing.assert_array_equal(found["known_user"], expected["known_user"])
    np.testing.assert_array_equal(found["count"], expected["count"])


@pytest.mark.parametrize("num_queries", [1, 3])
def test_without_leaves_lists_are_those_of_exact_search(
    tmp_path: Path, num_queries: int
) -> None:
    stock, frozen = made_pair(tmp_path, num_queries, IndexSettings())
    users = [f"u{user}" for user in range(1, NUM_USERS)]
    for weight in (0.0, 1.0, 2.0):
        inputs = request_of(users, k=30, conformity_weight=[weight] * len(users))
        expected, found = stock["recommend"](**inputs), frozen["recommend"](**inputs)
        np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-5)
        for served, wanted in zip(found["item_id"], expected["item_id"], strict=True):
            # Scores that are alike but for rounding may change places.
            assert set(served) == set(wanted)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0, 2.0])
def test_lists_are_nearly_those_of_exact_search(
    pair: tuple[Signatures, Signatures], weight: float
) -> None:
    stock, frozen = pair
    users = [f"u{user}" for user in range(1, NUM_USERS)]
    inputs = request_of(users, k=30, conformity_weight=[weight] * len(users))
    expected, found = stock["recommend"](**inputs), frozen["recommend"](**inputs)
    hits = 0
    for row in range(len(users)):
        exact = dict(zip(expected["item_id"][row], expected["score"][row], strict=True))
        served = found["item_id"][row].tolist()
        assert len(set(served)) == 30
        assert (np.diff(found["score"][row]) <= 0).all()
        for place, item in enumerate(served):
            if item in exact:
                hits += 1
                score = found["score"][row, place]
                assert score == pytest.approx(exact[item], rel=1e-4, abs=1e-4)
    assert hits >= 0.8 * 30 * len(users)
    terms = found["score_interest"] + found["score_conformity"]
    np.testing.assert_allclose(terms, found["score"], rtol=1e-4, atol=1e-4)


def test_scores_are_true_where_the_winning_query_finds_nothing(tmp_path: Path) -> None:
    few = IndexSettings(num_leaves=30, leaves_to_search=2, reorder=30)
    stock, frozen = made_pair(tmp_path, 3, few)
    users = [f"u{user}" for user in range(1, NUM_USERS)]
    exact = stock["recommend"](**request_of(users, k=NUM_ITEMS - 1))
    found = frozen["recommend"](**request_of(users, k=20))
    for row in range(len(users)):
        true = dict(zip(exact["item_id"][row], exact["score"][row], strict=True))
        served = [true[item] for item in found["item_id"][row]]
        np.testing.assert_allclose(found["score"][row], served, rtol=1e-5)
    terms = found["score_interest"] + found["score_conformity"]
    np.testing.assert_allclose(terms, found["score"], rtol=1e-5, atol=1e-5)


def test_exclusion_is_a_true_mask(pair: tuple[Signatures, Signatures]) -> None:
    stock, frozen = pair
    users = ["u1", "u2", "nobody"]
    everything = request_of(users, k=NUM_ITEMS, exclude_seen=False)
    # All leaves must be searched for what is left: then the lists are exact.
    ranked = stock["recommend"](**everything)["item_id"]
    excluded = [[*row[:880].tolist(), b"?", b"", row[0]] for row in ranked]
    inputs = request_of(users, k=50, exclude_item_id=excluded)
    expected, found = stock["recommend"](**inputs), frozen["recommend"](**inputs)
    np.testing.assert_array_equal(found["count"], expected["count"])
    for row, user in enumerate(users):
        listed = [item for item in found["item_id"][row].tolist() if item]
        assert sorted(listed) == sorted(
            item for item in expected["item_id"][row].tolist() if item
        )
        seen = (
            {f"i{item}".encode() for item in SEEN.get(int(user[1:] or 0), ())}
            if (user != "nobody")
            else set()
        )
        assert not set(listed) & (seen | set(excluded[row]))


def test_allowed_items_and_presets_are_the_stock_models(
    pair: tuple[Signatures, Signatures],
) -> None:
    stock, frozen = pair
    inputs = request_of(
        ["u1", "u2", "nobody"],
        allow_item_id=[["i5", "i900", "?"], ["i9", "i3", "i2"], ["i8", "", ""]],
        do=["interest_only", "", ""],
        exclude_seen=False,
    )
    expected, found = stock["recommend"](**inputs), frozen["recommend"](**inputs)
    assert found["count"].tolist() == [2, 3, 1]
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    searched = frozen["recommend"](**request_of(["u1"], do=["interest_only"]))
    assert not searched["score_conformity"].any()


def test_the_unknown_get_what_is_popular(pair: tuple[Signatures, Signatures]) -> None:
    stock, frozen = pair
    inputs = request_of(["nobody", ""], exclude_item_id=[["i3"], ["i7"]])
    expected, found = stock["recommend"](**inputs), frozen["recommend"](**inputs)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_refuses_what_the_stock_model_refuses(
    pair: tuple[Signatures, Signatures],
) -> None:
    _, frozen = pair
    for changed, words in (
        ({"k": 0}, "`k` must be at least 1"),
        ({"interest_weight": [float("nan")]}, "must be finite"),
        ({"interest_weight": [3e38]}, "Scores must stay finite"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=words):
            frozen["recommend"](**request_of(["u1"], **changed))


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, exported: Path) -> Path:
    version = tmp_path_factory.mktemp("models") / "dice" / "3"
    shutil.copytree(exported, version)
    build_index(version)
    return version


def test_is_a_model_of_its_own(indexed: Path) -> None:
    folder = build_frozen_index(indexed, overwrite=True)
    assert folder == indexed.parents[1] / "dice-scann" / "3"
    assert (folder / "saved_model.pb").is_file()
    assert (folder / WARMUP_FILE).is_file()
    manifest = read_manifest(folder, kind="frozen_index")
    export = read_manifest(indexed, kind="export")
    assert manifest.inputs["export"] == export.fingerprint
    with pytest.raises(InputError, match="must not exist yet"):
        build_frozen_index(indexed)
    for given in (folder, folder.parent):
        with pytest.raises(InputError, match="it is a frozen index, which servers"):
            find_version(given)
    # Both models in one process: neither has the other's searcher.
    found = tf.saved_model.load(str(folder)).signatures["serving_default"](
        user_id=tf.constant(["u5"])
    )
    exact = tf.saved_model.load(str(indexed)).signatures["serving_default"](
        user_id=tf.constant(["u5"])
    )
    assert found["item_id"].numpy().tolist() == exact["item_id"].numpy().tolist()


def test_its_signatures_share_one_searcher(indexed: Path) -> None:
    folder = build_frozen_index(indexed, overwrite=True)
    content = saved_model_pb2.SavedModel()
    content.ParseFromString((folder / "saved_model.pb").read_bytes())
    graph = content.meta_graphs[0].graph_def
    made = [
        node
        for function in graph.library.function
        for node in function.node_def
        if node.op == "Scann>TensorsToScann"
    ]
    assert len(made) >= len(SIGNATURES)
    index = read_manifest(index_folder(indexed), kind="index")
    names = {node.attr["shared_name"].s.decode() for node in made}
    assert names == {f"tfcausal-{index.fingerprint}"}


def test_needs_the_index_of_this_export_as_built(
    tmp_path: Path, exported: Path
) -> None:
    version = tmp_path / "dice" / "1"
    shutil.copytree(exported, version)
    with pytest.raises(InputError, match="must hold a finished result of kind index"):
        build_frozen_index(version)
    build_index(version)
    live = LiveIndex.open(index_folder(version))
    live.delete(["i4"])
    live.save(index_folder(version))
    with pytest.raises(InputError, match="must be the index as built"):
        build_frozen_index(version)
    assert not (tmp_path / "dice-scann" / "1").exists()


def test_never_replaces_another_model(tmp_path: Path, indexed: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(indexed.parents[1], models)
    shutil.rmtree(models / "dice-scann", ignore_errors=True)
    shutil.copytree(models / "dice" / "3", models / "dice-scann" / "3")
    with pytest.raises(InputError, match="kind must be frozen_index; got export"):
        build_frozen_index(models / "dice" / "3", overwrite=True)
