"""`tfcausal diagnose`: a run and its export, printed and refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands import output
from tests.datasets import write_dataset
from tests.runs import random_vectors, write_run
from tfcausal.data.interactions import CheckedDataset, read_part, read_popularity
from tfcausal.errors import InputError
from tfcausal.evaluation.calibration import calibrate, save_calibration
from tfcausal.evaluation.diagnosis import diagnose
from tfcausal.evaluation.ranking import ItemLists
from tfcausal.evaluation.validation import evaluation_set
from tfcausal.schema.protocol import protocol
from tfcausal.serving.export import export
from tfcausal.training.run import Run


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    return write_dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, dataset: CheckedDataset) -> Run:
    vectors = random_vectors(dataset.num_users, dataset.num_items)
    return write_run(tmp_path_factory.mktemp("runs") / "run", dataset, vectors)


def answer(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output("diagnose", *arguments, "--json"))
    return found


def test_json_is_the_diagnosis(run: Run, dataset: CheckedDataset) -> None:
    found = answer("--run", run.folder, "--k=7", "--users=30")
    rows = read_part(dataset.folder, ["train", "train_intervened"])
    seen = ItemLists.from_interactions(rows, dataset.num_users)
    popularity = read_popularity(dataset)
    expected = diagnose(run.vectors(), seen, popularity, k=7, num_users=30)
    assert (found.pop("diagnosed"), found.pop("calibrated")) == (str(run.folder), False)
    assert found == json.loads(json.dumps(expected.to_json()))
    assert (found["k"], found["num_users"]) == (7, 30)


def test_tables(run: Run) -> None:
    text = output("diagnose", "--run", run.folder)
    for word in ("shown", "ItemPop", "overlap", "lift_items", "conformity", "share"):
        assert word in text


def test_an_export_needs_no_data_set(
    run: Run, dataset: CheckedDataset, tmp_path: Path
) -> None:
    dice = protocol("dice")
    against = evaluation_set(dataset, "validation", dice)
    chosen = calibrate(run.vectors(), against, dice)
    save_calibration(run, chosen)
    calibrated = answer("--run", run.folder, "--calibrated")
    assert list(calibrated["causes"]) == ["conformity", "interest", "popularity"]
    version = export(run, "dice", tmp_path, calibration=chosen)
    found = answer("--model", tmp_path / "dice")
    assert found.pop("diagnosed") == str(version)
    assert found["calibrated"]
    for name in ("shown", "itempop", "interactions"):
        assert found[name] == pytest.approx(calibrated[name], abs=1e-6)
    for cause, values in calibrated["causes"].items():
        assert found["causes"][cause] == pytest.approx(values, abs=1e-6)
    with pytest.raises(InputError, match="must go with --run"):
        output("diagnose", "--model", version, "--calibrated")


def test_refuses(run: Run, tmp_path: Path) -> None:
    for arguments, message in (
        ([], "must be given, and not both"),
        (["--run", run.folder, "--model", tmp_path], "must be given, and not both"),
        (["--model", tmp_path], "must be an exported model"),
        (["--run", tmp_path], "must be a finished run"),
        (["--run", run.folder, "--k=0"], "`k` must be at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            output("diagnose", *arguments)
    other = write_dataset(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="splits"):
        output("diagnose", "--run", run.folder, "--dataset", other.folder.root)
