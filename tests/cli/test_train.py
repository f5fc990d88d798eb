"""`tfcausal train`: what it shows of each epoch, and what `--set` takes."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.datasets import write_dataset
from tfcausal import methods
from tfcausal.cli import commands
from tfcausal.data.interactions import CheckedDataset, read_part
from tfcausal.methods.options import HistoryOptions, MethodOptions, TowerOptions
from tfcausal.training.options import TrainingOptions

SETTINGS = ("--set", "batch_size=256", "--set", "monitor=recall@20")
WIDTH = 80
# Colours, and the moves of the cursor that draw a bar anew.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    return write_dataset(tmp_path_factory.mktemp("data") / "dataset")


def result(*arguments: object, **environment: str) -> Result:
    texts = ["train", *(str(argument) for argument in arguments)]
    runner = CliRunner(env={"COLUMNS": str(WIDTH), **environment})
    done = runner.invoke(commands, texts, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def train(dataset: CheckedDataset, run: Path, *more: str, **environment: str) -> Result:
    places = (f"--dataset={dataset.folder.root}", f"--run={run}")
    return result("--method=mf", *places, *SETTINGS, *more, **environment)


def test_a_line_an_epoch_with_what_decides(
    dataset: CheckedDataset, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = train(dataset, run, "--set", "epochs=3")
    history: list[dict[str, Any]] = json.loads((run / "history.json").read_text())
    assert len(history) == 3
    lines = done.stderr.splitlines()
    best = -1.0
    for number, (line, epoch) in enumerate(zip(lines, history, strict=True), start=1):
        mark = ", best so far" if epoch["val_recall@20"] > best else ""
        best = max(best, epoch["val_recall@20"])
        begin = (
            f"epoch {number} of 3: loss {epoch['loss']:.4f}, "
            f"recall@20 {epoch['val_recall@20']:.4f}{mark}, "
        )
        assert re.fullmatch(rf"{re.escape(begin)}\d+ s", line)
        assert len(line) <= WIDTH
    assert len(done.stdout.splitlines()) == 1
    assert f"validation recall@20 = {best:.4f}" in done.stdout
    # What is finished shows no epochs again.
    again = train(dataset, run, "--set", "epochs=3")
    assert (again.stderr, again.stdout) == ("", done.stdout)


def test_a_bar_fits_a_terminal(dataset: CheckedDataset, tmp_path: Path) -> None:
    done = train(dataset, tmp_path / "run", "--set", "epochs=1", FORCE_COLOR="1")
    shown = CONTROL.sub("", done.stderr)
    rows = read_part(dataset.folder, ["train", "train_intervened"])
    steps = len(rows) // 256
    assert re.search(rf"epoch 1 of 1 \S+ +(\d+)/{steps}\b", shown)
    assert max(map(len, re.split(r"[\r\n]", shown))) <= WIDTH


def test_quiet_shows_the_result_alone(dataset: CheckedDataset, tmp_path: Path) -> None:
    asked = ("--set", "epochs=1", "--quiet", "--json")
    done = train(dataset, tmp_path / "run", *asked, FORCE_COLOR="1")
    assert CONTROL.sub("", done.stderr).strip() == ""
    assert json.loads(done.stdout)["epochs"] == 1


def test_options_are_listed_once() -> None:
    shown = result("--options").stdout
    assert max(map(len, shown.splitlines())) <= WIDTH
    parts = re.split(r"^(\S.*):$", shown, flags=re.MULTILINE)[1:]
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    listed = {
        title: dict(re.findall(r"^  (\w+)=(\S*)", text, re.MULTILINE))
        for title, text in sections.items()
    }
    training, shared, of_rows, of_histories, *of_methods = listed
    assert set(listed[training]) == {field.name for field in fields(TrainingOptions)}
    assert listed[training]["amsgrad"] == "true"
    assert set(listed[shared]) == {field.name for field in fields(MethodOptions)}
    for title, kind in ((of_rows, TowerOptions), (of_histories, HistoryOptions)):
        names = {field.name for field in fields(kind)}
        assert set(listed[title]) == names - set(listed[shared])
    assert of_methods == [f"--method={name}" for name in methods.names()]
    for name in methods.names():
        own, options = listed[f"--method={name}"], methods.get(name).options_class
        base = TowerOptions if issubclass(options, TowerOptions) else HistoryOptions
        common = {field.name: field.default for field in fields(base)}
        for field in fields(options):
            # A default that differs from the common one is the method's own.
            told = field.name not in common or field.default != common[field.name]
            assert (field.name in own) == told
    assert listed["--method=mf"] == {
        "num_negatives": "4",
        "embedding_dim": "128",
        "learning_rate": "0.01",
    }
