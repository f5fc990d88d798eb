"""`tfcausal disentangle`: a planted run of a synthetic world, printed and refused."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from beam_jobs.popularity import PopularityOptions
from beam_jobs.popularity import run as count
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from tests.commands import output
from tests.datasets import write_dataset
from tests.runs import random_vectors, write_run
from tfcausal.data.interactions import (
    open_dataset,
    read_part,
    read_popularity,
    read_vocabulary,
)
from tfcausal.data.world_causes import WorldOptions
from tfcausal.data.world_folder import LOG, write_world
from tfcausal.data.world_truth import read_truth
from tfcausal.errors import InputError
from tfcausal.evaluation.disentanglement import disentangle
from tfcausal.evaluation.ranking import ItemLists
from tfcausal.schema.vectors import CausalVectors
from tfcausal.training.run import Run

LOCAL = PipelineOptions(["--runner=local"])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "world"
    write_world(folder, WorldOptions(interactions=3_000, users=150, items=400))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, world: Path) -> Run:
    """A run whose vectors are the true causes."""
    folder = tmp_path_factory.mktemp("data") / "dataset"
    ingest(IngestOptions(str(world / LOG), "parquet", folder), LOCAL)
    split(SplitOptions(folder, "random"), LOCAL)
    count(PopularityOptions(folder), LOCAL)
    dataset, truth = open_dataset(folder), read_truth(world)
    users = truth.user_rows(read_vocabulary(dataset.folder.users)[1:])
    items = truth.item_rows(read_vocabulary(dataset.folder.items)[1:])
    queries = np.column_stack([truth.user_interest, truth.conformity_strength])[users]
    candidates = np.column_stack([truth.content, truth.appeal])[items]
    vectors = CausalVectors(
        np.pad(queries, ((1, 0), (0, 0)))[:, None].astype(np.float32),
        np.pad(candidates, ((1, 0), (0, 0))).astype(np.float32),
        {"interest": slice(0, 16), "conformity": slice(16, 17)},
    )
    return write_run(tmp_path_factory.mktemp("runs") / "run", dataset, vectors)


def answer(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output("disentangle", *arguments, "--json"))
    return found


def test_json_has_every_measure_and_the_truth(run: Run, world: Path) -> None:
    found = answer("--run", run.folder, "--world", world)
    assert (found.pop("run"), found.pop("world")) == (str(run.folder), str(world))
    truth = found.pop("truth")
    assert truth["interest"]["interest"] == pytest.approx(1.0, abs=1e-6)
    assert truth["conformity"]["conformity"] == pytest.approx(1.0, abs=1e-6)
    assert abs(truth["interest"]["conformity"]) < 0.2
    assert truth["interest"]["interest"] > truth["score"]["interest"] > 0.3
    dataset = open_dataset(run.dataset)
    rows = read_part(dataset.folder, ["train"])
    seen = ItemLists.from_interactions(rows, dataset.num_users)
    expected = disentangle(run.vectors(), seen, read_popularity(dataset))
    assert found == json.loads(json.dumps(expected.to_json()))
    # Appeal is the standardised log of popularity in the whole log.
    assert found["popularity"]["conformity"]["r2"] > 0.7
    assert found["popularity"]["interest"]["r2"] < 0.3
    assert set(answer("--run", run.folder)) == {"run", *found}


def test_a_table_for_each_measure(run: Run, world: Path, tmp_path: Path) -> None:
    text = output("disentangle", "--run", run.folder)
    for words in (
        ("What item vectors know of popularity", "r2", "norm_spearman"),
        ("Distance correlation of causes, item vectors", "dcor", "by_chance"),
        ("Distance correlation of causes, user vectors",),
        ("Overlap with the most popular items", "@5", "@100"),
    ):
        for word in words:
            assert word in text
    assert "true causes" not in text
    assert "Spearman's rho with the true causes" in output(
        "disentangle", "--run", run.folder, "--world", world
    )
    dataset = open_dataset(run.dataset)
    whole = random_vectors(dataset.num_users, dataset.num_items, causes={"score": 4})
    single = write_run(tmp_path / "single", dataset, whole)
    assert "Distance correlation" not in output("disentangle", "--run", single.folder)


def test_a_picture(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset")
    vectors = random_vectors(dataset.num_users, dataset.num_items)
    run = write_run(tmp_path / "run", dataset, vectors)
    path = tmp_path / "items.png"
    text = output("disentangle", "--run", run.folder, "--picture", path)
    assert text.splitlines()[-1] == f"written to {path}"
    assert answer("--run", run.folder, "--picture", path)["picture"] == str(path)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with pytest.raises(InputError, match="must lie in a folder that exists"):
        output(
            "disentangle",
            "--run",
            run.folder,
            "--picture",
            tmp_path / "none" / "items.png",
        )
    with pytest.raises(InputError, match=r"must end in a picture's format.* `.bmp2`"):
        output("disentangle", "--run", run.folder, "--picture", tmp_path / "items.bmp2")


@pytest.mark.parametrize("missing", ["sklearn", "matplotlib"])
def test_names_the_extra(
    missing: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=r"pip install 'tfcausal\[plots\]'"):
        output("disentangle", "--run", run.folder, "--picture", tmp_path / "items.png")
    assert not list(tmp_path.iterdir())


def test_refuses(run: Run, world: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a finished run"):
        output("disentangle", "--run", tmp_path)
    other = write_dataset(tmp_path / "other")
    with pytest.raises(InputError, match="splits"):
        output("disentangle", "--run", run.folder, "--dataset", other.folder.root)
    # Its ids are not the world's.
    vectors = random_vectors(other.num_users, other.num_items)
    strange = write_run(tmp_path / "run", other, vectors)
    with pytest.raises(InputError, match="`user_id` must be one of the world's"):
        output("disentangle", "--run", strange.folder, "--world", world)
    with pytest.raises(
        InputError, match=r"must hold a finished result of kind world.*tfcausal synth"
    ):
        output("disentangle", "--run", run.folder, "--world", tmp_path)
