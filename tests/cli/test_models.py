"""`tfcausal models` and what `export` does to versions and to models.config."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands import output
from tests.datasets import write_dataset
from tests.runs import random_vectors, write_run
from tfcausal.errors import InputError
from tfcausal.schema.exported import versions
from tfcausal.serving.models_config import read_labels


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    dataset = write_dataset(folder / "dataset")
    vectors = random_vectors(dataset.num_users, dataset.num_items)
    return write_run(folder / "run", dataset, vectors).folder


def export(run: Path, root: Path, *arguments: object) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(
        output("export", "--run", run, "--root", root, "--json", *arguments)
    )
    return shown


def test_a_model_from_its_first_version_to_its_third(run: Path, tmp_path: Path) -> None:
    root = tmp_path / "saved_models"
    first = export(run, root)
    assert (first["retired"], first["config"]) == ([], None)
    listed = json.loads(output("models", "--root", root, "--json"))
    assert listed["config"] is None
    (row,) = listed["models"]
    assert (row["model"], row["version"], row["labels"]) == ("dice", 1, [])
    assert row["presets"] == ["as_trained", "interest_only"]
    labelled = ("--label", "dice:stable=1", "--base_path", "/srv/m")
    printed = output("models", "--root", root, *labelled)
    assert "stable" in printed
    config = root / "models.config"
    # A model of somebody else's, which is not exported here.
    other = '  config {\n    name: "theirs"\n    base_path: "/srv/theirs"\n  }\n}'
    text = config.read_text().rstrip()
    config.write_text(f"{text.removesuffix('}')}{other}\n")

    second = export(run, root, "--keep=1")
    assert (second["retired"], second["config"]) == ([], str(config))
    assert versions(root / "dice") == [1, 2]
    output("models", "--root", root, "--label", "dice:stable=2")
    third = export(run, root, "--keep=1")
    assert third["retired"] == [1]
    assert versions(root / "dice") == [2, 3]
    assert read_labels(root) == {"dice": {"stable": 2}}
    text = config.read_text()
    assert 'base_path: "/srv/m/dice"' in text
    assert 'base_path: "/srv/theirs"' in text
    assert "versions: 3" in text
    assert "versions: 1" not in text


def test_what_is_wrong_is_said_before_anything_is_written(
    run: Path, tmp_path: Path
) -> None:
    (tmp_path / "models.config").write_text("no protobuf {")
    for arguments, message in (
        ([], "must be a ModelServerConfig"),
        (["--keep=0"], "`keep` must be at least 1"),
        (
            ["--neutral_popularity=1e9"],
            "`neutral_popularity` must be what lists can have",
        ),
    ):
        root = tmp_path if not arguments else tmp_path / "other"
        with pytest.raises(InputError, match=message):
            export(run, root, *arguments)
        assert not (root / "dice").exists()
    with pytest.raises(InputError, match="`--base_path` must come with"):
        output("models", "--root", tmp_path / "other", "--base_path=/x")
