"""models.config as TensorFlow Serving reads it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tfcausal.errors import InputError
from tfcausal.schema.manifest import Manifest, write_manifest
from tfcausal.serving.models_config import (
    change_labels,
    exported_models,
    read_labels,
    refresh_config,
    relabelled,
    write_config,
)

text_format = pytest.importorskip("google.protobuf.text_format")
server_config = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    kinds = {
        "dice/1": "export",
        "dice/3": "export",
        "dice/3-scann": "index",
        "dice-scann/3": "frozen_index",
        "mf/2": "export",
        "unfinished/1": None,
    }
    for name, kind in kinds.items():
        (tmp_path / name).mkdir(parents=True)
        if kind is not None:
            write_manifest(tmp_path / name, Manifest(kind=kind))
    return tmp_path


def parsed(path: Path) -> list[Any]:
    config = text_format.Parse(path.read_text(), server_config.ModelServerConfig())
    return list(config.model_config_list.config)


def test_finds_finished_versions(root: Path) -> None:
    assert exported_models(root) == {"dice": [1, 3], "mf": [2]}


def test_serves_the_last_and_the_labelled(root: Path) -> None:
    labels = relabelled({}, ["dice:stable=1", "dice:canary=3"])
    dice, mf = parsed(write_config(root, labels, "/srv"))
    assert (dice.name, dice.base_path) == ("dice", "/srv/dice")
    assert list(dice.model_version_policy.specific.versions) == [1, 3]
    assert dict(dice.version_labels) == {"stable": 1, "canary": 3}
    assert mf.model_version_policy.latest.num_versions == 1
    assert not mf.version_labels


def test_labels_are_kept_moved_and_taken_off(root: Path) -> None:
    write_config(root, {"dice": {"stable": 1, "canary": 3}})
    labels = relabelled(read_labels(root), ["dice:stable=3", "dice:canary="])
    assert labels == {"dice": {"stable": 3}}
    write_config(root, labels)
    assert read_labels(root)["dice"] == {"stable": 3}


def test_changes_at_once_all_count(root: Path) -> None:
    labels = [f"dice:label{number}={1 + 2 * (number % 2)}" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        for written in pool.map(lambda label: change_labels(root, [label]), labels):
            assert written == root / "models.config"
    assert len(read_labels(root)["dice"]) == len(labels)


def test_what_is_exported_later_joins_it(root: Path) -> None:
    assert refresh_config(root) is None
    write_config(root, {"dice": {"stable": 1}}, "/srv/models")
    (root / "dice" / "4").mkdir()
    write_manifest(root / "dice" / "4", Manifest(kind="export"))
    assert refresh_config(root) == root / "models.config"
    dice, _ = parsed(root / "models.config")
    assert list(dice.model_version_policy.specific.versions) == [1, 4]
    assert dict(dice.version_labels) == {"stable": 1}
    assert dice.base_path == "/srv/models/dice"


@pytest.mark.parametrize(
    "text", ["dice", "dice:stable", ":stable=1", "dice:=1", "a:b=c", "dice:a b=1"]
)
def test_refuses_other_forms(text: str) -> None:
    with pytest.raises(InputError, match="must be MODEL:LABEL=VERSION"):
        relabelled({}, [text])


def test_refuses_what_is_not_there(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must name a label that is there"):
        relabelled({"dice": {"stable": 1}}, ["dice:canary="])
    before = write_config(root, {}).read_text()
    with pytest.raises(InputError, match="must be an exported version; got 2"):
        write_config(root, {"dice": {"stable": 2}})
    with pytest.raises(InputError, match="Did you mean `dice`"):
        write_config(root, {"dise": {"stable": 1}})
    with pytest.raises(InputError, match="each label once"):
        relabelled({}, ["dice:stable=1", "dice:stable=3"])
    assert (root / "models.config").read_text() == before
    with pytest.raises(InputError, match="must hold exported models"):
        write_config(tmp_path / "empty", {})
    (root / "models.config").write_text("no protobuf {")
    with pytest.raises(InputError, match="must be a ModelServerConfig"):
        read_labels(root)
