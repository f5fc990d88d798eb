"""`tfcausal diversity`, and diverse lists of an exported model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from beam_jobs.item_concepts import ItemConceptOptions
from beam_jobs.item_concepts import run as write_concepts
from beam_jobs.popularity import PopularityOptions
from beam_jobs.popularity import run as count_popularity
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from tests.commands import output
from tests.runs import random_vectors, write_run
from tfcausal.data.interactions import CheckedDataset, open_dataset
from tfcausal.errors import InputError
from tfcausal.training.run import load_run


def make_dataset(folder: Path) -> CheckedDataset:
    """Every ninth item has no group, and every second one a second tag."""
    generator = np.random.default_rng(0)
    pairs = [
        f"u{user},i{item}"
        for user in range(60)
        for item in generator.choice(80, 12, replace=False)
    ]
    rows = "\n".join(["user_id,item_id", *pairs])
    features = "\n".join(
        [
            "item_id,group,tags",
            *(
                f"i{item},{f'g{item % 4}' if item % 9 else ''},"
                f"t{item % 5}{f'|t{item % 3}' if item % 2 else ''}"
                for item in range(80)
            ),
        ]
    )
    for name, text in (("rows.csv", rows), ("items.csv", features)):
        (folder / name).write_text(text + "\n", encoding="utf-8")
    root, local = folder / "dataset", PipelineOptions(["--runner=local"])
    options = IngestOptions(
        str(folder / "rows.csv"),
        "csv",
        root,
        item_features=str(folder / "items.csv"),
        list_columns=("tags",),
    )
    ingest(options, local)
    split(SplitOptions(root, "random"), local)
    count_popularity(PopularityOptions(root), local)
    write_concepts(ItemConceptOptions(root, ("group", "tags")), local)
    return open_dataset(root)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    dataset = make_dataset(folder)
    vectors = random_vectors(dataset.num_users, dataset.num_items)
    return write_run(folder / "run", dataset, vectors).folder


def test_a_curve_rises_and_is_printed(run: Path) -> None:
    asked = ("diversity", "--run", run, "--concept=tags", "--weight=0", "--weight=3")
    found = json.loads(output(*asked, "--json"))
    plain, diverse = found["curve"]
    assert (found["concept"], found["pool"]) == ("tags", 4)
    assert plain["diversity@20"] < diverse["diversity@20"]
    calibrate = ("calibrate", "--run", run, "--metric=recall@20")
    output(*calibrate)
    calibrated, _ = json.loads(output(*asked, "--calibrated", "--json"))["curve"]
    assert calibrated["recall@20"] != plain["recall@20"]
    table = output(*asked)
    assert f"{plain['recall@20']:.4f}" in table
    assert f"{diverse['diversity@20']:.4f}" in table
    at_5 = output(*asked, "--k=5", "--k=10")
    assert "diversity@5" in " ".join(at_5.split())


def test_lists_of_an_exported_model_differ(run: Path) -> None:
    root = run.parent / "saved_models"
    output("export", "--run", run, "--root", root, "--as_trained")
    dataset = load_run(run).open_dataset().folder.root
    asked = ("recommend", "--model", root / "dice", "--user=u3", "--k=4", "--json")

    def groups(*more: object) -> list[int]:
        shown: dict[str, Any] = json.loads(output(*asked, *more))
        assert len(shown["items"]) == 4
        numbers = [int(item["item_id"][1:]) for item in shown["items"]]
        # Every ninth item has no group, and differs from all.
        return [-number if number % 9 == 0 else number % 4 for number in numbers]

    diverse = ("--concept=group", f"--dataset={dataset}", "--pool=10")
    assert groups("--diversity=0", *diverse) == groups()
    assert len(set(groups("--diversity=100", *diverse))) == 4
    for more, message in (
        (("--diversity=1",), "must come with the concept"),
        (("--concept=group",), "`--concept` must go with --diversity"),
        (("--pool=9",), "`--pool` must go with --diversity"),
        (("--diversity=-1", *diverse), "`diversity` must be >= 0"),
        (("--diversity=1", *diverse, "--pool=0"), "`--pool` must be at least 1"),
        (
            ("--diversity=1", "--concept=groop", f"--dataset={dataset}"),
            "Did you mean `group`",
        ),
    ):
        with pytest.raises(InputError, match=message):
            output(*asked, *more)
