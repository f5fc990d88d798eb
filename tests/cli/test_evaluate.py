"""`tfcausal evaluate`: prints, keeps and refuses."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.commands import output
from tests.datasets import write_dataset
from tests.runs import random_vectors, write_run
from tfcausal.data.interactions import CheckedDataset, read_part
from tfcausal.errors import InputError
from tfcausal.evaluation.evaluator import evaluate
from tfcausal.evaluation.validation import evaluation_set
from tfcausal.schema.protocol import protocol


@pytest.fixture
def dataset(tmp_path: Path) -> CheckedDataset:
    return write_dataset(tmp_path / "dataset")


@pytest.fixture
def run(tmp_path: Path, dataset: CheckedDataset) -> Path:
    vectors = random_vectors(dataset.num_users, dataset.num_items)
    return write_run(tmp_path / "run", dataset, vectors).folder


def test_prints_json_and_keeps_it(run: Path, dataset: CheckedDataset) -> None:
    found = json.loads(output("evaluate", "--run", run, "--causes", "--json"))
    vectors = random_vectors(dataset.num_users, dataset.num_items)
    dice = protocol("dice")
    against = evaluation_set(dataset, "test", dice)
    expected = evaluate(vectors, against, dice, causes=True)
    assert found["metrics"] == pytest.approx(expected.metrics)
    assert list(found["causes"]) == ["conformity", "interest"]
    assert found["num_users"] == expected.num_users
    assert (found["protocol"], found["protocol_hash"]) == ("dice", dice.hash)
    kept = json.loads((run / "metrics.json").read_text())
    assert kept["validation"] == {"recall@20": 0.25}
    label = f"test dice:{dice.hash}"
    assert kept["evaluations"][label]["metrics"] == found["metrics"]
    assert not list(run.glob(".*"))


def test_results_stand_side_by_side(run: Path) -> None:
    plain = json.loads(output("evaluate", "--run", run, "--json"))
    weighted = json.loads(
        output(
            "evaluate", "--run", run, "--weight", "conformity=0", "--causes", "--json"
        )
    )
    validation = json.loads(
        output("evaluate", "--run", run, "--split=validation", "--json")
    )
    chosen = json.loads(
        output("evaluate", "--run", run, "--k=1", "--k=3", "--users=all", "--json")
    )
    assert weighted["weights"] == {"conformity": 0.0}
    assert weighted["metrics"] == weighted["causes"]["interest"]
    assert weighted["metrics"]["recall@20"] != plain["metrics"]["recall@20"]
    assert validation["metrics"] != plain["metrics"]
    assert {name.partition("@")[2] for name in chosen["metrics"]} == {"1", "3"}
    assert chosen["num_users"] == 119
    kept = json.loads((run / "metrics.json").read_text())["evaluations"]
    assert len(kept) == 4
    assert sum(name.endswith("conformity=0") for name in kept) == 1


def test_outside_test_set_in_raw_ids(
    run: Path, dataset: CheckedDataset, tmp_path: Path
) -> None:
    rows = read_part(dataset.folder, ["test"])
    users = [f"u{user}" for user in rows.users.tolist()]
    items = [f"i{item}" for item in rows.items.tolist()]
    table = {"user_id": [*users, "u1", "nobody"], "item_id": [*items, "none", items[0]]}
    pq.write_table(pa.table(table), tmp_path / "outside.parquet")
    outside = json.loads(
        output(
            "evaluate",
            "--run",
            run,
            "--interactions",
            tmp_path / "outside.parquet",
            "--json",
        )
    )
    inside = json.loads(output("evaluate", "--run", run, "--json"))
    assert outside["metrics"] == inside["metrics"]
    assert outside["evaluated"].endswith("outside.parquet")
    assert (outside["rows"], outside["rows_unknown"]) == (len(rows), 2)
    printed = output(
        "evaluate", "--run", run, "--interactions", tmp_path / "outside.parquet"
    )
    assert "2 rows of" in printed


def test_prints_a_table(run: Path) -> None:
    text = output("evaluate", "--run", run, "--causes")
    for word in ("recall@20", "iou_itempop@50", "interest alone", "conformity alone"):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol=dise"], "Did you mean `dice`"),
        (["--split=tset"], "must hold the part `tset`"),
        (["--protocol=dcr"], "ranks observed items only"),
        (["--weight=conformty=0"], "Did you mean `conformity`"),
        (["--weight=popularity=0"], r"`tfcausal calibrate --run=.*then pass --cal"),
        (["--weight=conformity"], "must be cause=number"),
        (["--weight=conformity=none"], "must be cause=number"),
        (["--weight==1"], "must be cause=number"),
        (["--weight=conformity=nan"], "must be finite"),
        (["--weight=conformity=1e38"], "Weights must"),
        (["--weight=conformity=2e37"], "must stay below"),
        (["--weight=interest=0", "--weight=interest=1"], "must be given once"),
        (["--k=5", "--k=1"], "must be positive and increasing"),
        (["--interactions=nowhere"], "must be a Parquet file"),
        (["--dataset=nowhere"], "must hold a finished result of kind dataset"),
    ],
)
def test_refusals(run: Path, arguments: list[str], message: str) -> None:
    before = (run / "metrics.json").read_bytes()
    with pytest.raises(InputError, match=message):
        output("evaluate", "--run", run, *arguments)
    assert (run / "metrics.json").read_bytes() == before


def test_refuses_another_split_and_half_a_run(
    run: Path, dataset: CheckedDataset, tmp_path: Path
) -> None:
    other = write_dataset(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="splits"):
        output("evaluate", "--run", run, "--dataset", other.folder.root)
    with pytest.raises(InputError, match="must be a finished run"):
        output("evaluate", "--run", tmp_path / "nothing")
    np.save(run / "vectors" / "queries.npy", np.zeros((3, 1, 4), np.float32))
    with pytest.raises(InputError, match="Vectors must be"):
        output("evaluate", "--run", run)
