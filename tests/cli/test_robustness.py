"""`tfcausal robustness`: the curve of a run, and runs that have none."""

import json
from pathlib import Path

import pytest

from tests.commands import output
from tests.datasets import write_dataset
from tfcausal import methods
from tfcausal.data.interactions import CheckedDataset
from tfcausal.errors import InputError
from tfcausal.evaluation.validation import validator
from tfcausal.training.options import TrainingOptions
from tfcausal.training.run import Run
from tfcausal.training.trainer import train


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    return write_dataset(tmp_path_factory.mktemp("dataset") / "data", num_users=200)


def trained(
    dataset: CheckedDataset, name: str, folder: Path, epochs: int = 1, seed: int = 0
) -> Run:
    options = methods.get(name).options_class(embedding_dim=8, learning_rate=0.02)
    training = TrainingOptions(
        epochs=epochs, batch_size=64, monitor="recall@20", seed=seed
    )
    validate = validator(dataset, monitor="recall@20")
    return train(dataset, name, options, training, folder, validate, verbose=0)


@pytest.fixture(scope="module")
def run(dataset: CheckedDataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(dataset, "youtube_dnn", tmp_path_factory.mktemp("runs") / "run", 8)


def test_a_curve_falls_and_is_printed(run: Run) -> None:
    noise = ("--noise=0", "--noise=0.5", "--noise=1")
    found = json.loads(output("robustness", f"--run={run.folder}", *noise, "--json"))
    curve = found["curves"][str(run.folder)]
    assert [point["noise"] for point in curve] == [0, 0.5, 1]
    recalls = [point["recall@20"] for point in curve]
    assert recalls[0] > recalls[1] > recalls[2]
    table = output("robustness", f"--run={run.folder}", *noise)
    assert all(f"{recall:.4f}" in table for recall in recalls)
    assert f"│ - │ {curve[1]['concept_auc']:.4f} │ " in " ".join(table.split())
    assert "lost, 0 to 1" in table
    assert "lost" not in output("robustness", f"--run={run.folder}", "--noise=1")
    again = output("robustness", f"--run={run.folder}", *noise, "--json")
    assert json.loads(again) == found


def test_seeds_are_one_line_with_their_mean(
    run: Run, dataset: CheckedDataset, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    other = trained(dataset, "youtube_dnn", tmp_path / "other", 8, seed=1)
    plot = tmp_path / "noise.png"
    asked = ("robustness", f"--run={run.folder}", f"--run={other.folder}")
    asked = (*asked, "--noise=0", "--noise=0.5", f"--plot={plot}")
    found = json.loads(output(*asked, "--json"))
    (line,) = found["lines"]
    assert line["name"] == "youtube_dnn, 2 seeds"
    assert line["runs"] == [str(run.folder), str(other.folder)]
    curves = [[at["recall@20"] for at in curve] for curve in found["curves"].values()]
    assert curves[0] != curves[1]
    means = [sum(at) / 2 for at in zip(*curves, strict=True)]
    assert [at["recall@20"] for at in line["mean"]] == pytest.approx(means)
    assert found["plot"] == str(plot)
    assert plot.is_file()
    table = output(*asked)
    lost = 1 - means[1] / means[0]
    words = (*(f"{mean:.4f}" for mean in means), f"{lost:.1%}", "deviation", str(plot))
    assert all(word in table for word in words)


def test_refusals(run: Run, dataset: CheckedDataset, tmp_path: Path) -> None:
    plain = trained(dataset, "mf", tmp_path / "mf")
    for arguments, message in (
        ([f"--run={plain.folder}"], "is of mf"),
        ([f"--run={run.folder}", "--metric=recal@20"], "Did you mean `recall@20`"),
        ([f"--run={run.folder}", "--noise=2"], "`share` must be from 0 to 1"),
        ([f"--run={run.folder}", "--split=tset"], "tset"),
        ([f"--run={run.folder}"] * 2, "both have 0"),
        ([f"--run={run.folder}", "--plot=noise.pdf"], "`--plot` must end in .png"),
    ):
        with pytest.raises(InputError, match=message):
            output("robustness", *arguments)
