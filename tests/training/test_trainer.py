"""Training learns, is reproducible, and goes on after kill -9 as if never stopped."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.datasets import write_dataset
from tfcausal import methods
from tfcausal.data.interactions import CheckedDataset, open_dataset
from tfcausal.errors import InputError
from tfcausal.evaluation.validation import validator
from tfcausal.methods.dice import DICE, DICEOptions
from tfcausal.methods.mf import MFOptions
from tfcausal.schema.manifest import checksums
from tfcausal.training.options import TrainingOptions
from tfcausal.training.run import Run, load_run
from tfcausal.training.trainer import compile_model, train, training_batches

DICE_OPTIONS = DICEOptions(embedding_dim=8, learning_rate=0.02, margin=3, min_pool=5)
OPTIONS = TrainingOptions(
    epochs=4,
    batch_size=64,
    checkpoint_steps=5,
    steps_per_execution=2,
    monitor="recall@20",
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    return write_dataset(tmp_path_factory.mktemp("dataset") / "data")


def run_dice(
    dataset: CheckedDataset, folder: Path, options: TrainingOptions = OPTIONS
) -> Run:
    validate = validator(dataset, monitor=options.monitor)
    return train(dataset, "dice", DICE_OPTIONS, options, folder, validate, verbose=0)


@pytest.fixture(scope="module")
def unbroken(dataset: CheckedDataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_dice(dataset, tmp_path_factory.mktemp("unbroken") / "run")


def outcome(run: Run) -> dict[str, str]:
    """Checksums of everything that a run promises."""
    return {
        **checksums(run.folder / "vectors"),
        **{
            name: (run.folder / name).read_text()
            for name in ("metrics.json", "history.json", "manifest.json")
        },
    }


def test_each_weighted_term_falls_and_the_best_epoch_is_kept(unbroken: Run) -> None:
    history = json.loads((unbroken.folder / "history.json").read_text())
    assert [record["epoch"] for record in history] == [0, 1, 2, 3]
    for term in ("loss", "click", "conformity"):
        assert history[-1][term] < history[0][term]
    best = max(history, key=lambda record: float(record["val_recall@20"]))
    metrics = json.loads((unbroken.folder / "metrics.json").read_text())
    assert metrics["validation"]["recall@20"] == best["val_recall@20"]


def test_a_step_is_traced_once(
    dataset: CheckedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced: list[Any] = []
    compute_loss = DICE.compute_loss

    def counted(self: DICE, *arguments: Any, **named: Any) -> Any:
        traced.append(arguments)
        return compute_loss(self, *arguments, **named)

    monkeypatch.setattr(DICE, "compute_loss", counted)
    options = dataclasses.replace(OPTIONS, steps_per_execution=1)
    model = DICE.of_dataset(dataset, DICE_OPTIONS)
    compile_model(model, options)
    batches = training_batches(dataset, model, options)
    model.fit(batches.dataset(0, 1), steps_per_epoch=3, verbose=0)
    assert len(traced) == 1


def test_same_options_same_bytes(
    dataset: CheckedDataset, unbroken: Run, tmp_path: Path
) -> None:
    assert outcome(run_dice(dataset, tmp_path / "again")) == outcome(unbroken)


_SCRIPT = """
import sys
from pathlib import Path
from tests.training.test_trainer import OPTIONS, run_dice
from tfcausal.data.interactions import open_dataset
run_dice(open_dataset(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def killed_after(dataset: CheckedDataset, run: Path, checkpoints: int) -> None:
    """Trains in a process of its own and kills it at a number of checkpoints."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(dataset.folder.root), str(run)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        state = run / "checkpoints" / "checkpoint"
        if state.is_file() and f"ckpt-{checkpoints}" in state.read_text():
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run / "manifest.json").exists()


@pytest.mark.parametrize("checkpoints", [1, 4])
def test_killed_and_run_again_gives_the_same_bytes(
    dataset: CheckedDataset, unbroken: Run, tmp_path: Path, checkpoints: int
) -> None:
    folder = tmp_path / "run"
    killed_after(dataset, folder, checkpoints)
    with pytest.raises(InputError, match="not finished"):
        load_run(folder)
    assert outcome(run_dice(dataset, folder)) == outcome(unbroken)


def test_a_finished_run_is_returned_as_it_is(
    dataset: CheckedDataset, unbroken: Run
) -> None:
    before = (unbroken.folder / "manifest.json").stat().st_mtime_ns
    assert run_dice(dataset, unbroken.folder).folder == unbroken.folder
    assert (unbroken.folder / "manifest.json").stat().st_mtime_ns == before


def test_another_run_in_the_folder_is_refused(
    dataset: CheckedDataset, unbroken: Run
) -> None:
    other = TrainingOptions(**{**vars(OPTIONS), "batch_size": 32})
    with pytest.raises(InputError, match="batch_size 64 there, 32 here"):
        run_dice(dataset, unbroken.folder, other)


def test_a_folder_with_something_else_is_refused(
    dataset: CheckedDataset, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"thesis\.txt"):
        run_dice(dataset, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_split_made_anew_is_noticed(tmp_path: Path) -> None:
    fresh = write_dataset(tmp_path / "data", seed=1)
    manifest = fresh.folder.splits / "manifest.json"
    manifest.write_text(
        manifest.read_text().replace('"options": {}', '"options": {"seed": 1}')
    )
    with pytest.raises(InputError, match="splits must be"):
        run_dice(open_dataset(fresh.folder.root), tmp_path / "run")


def test_plain_keras_fit_learns(dataset: CheckedDataset) -> None:
    options = TrainingOptions(batch_size=64, steps_per_execution=1)
    model = methods.get("mf")(
        MFOptions(embedding_dim=8, learning_rate=0.05),
        num_users=dataset.num_users,
        num_items=dataset.num_items,
    )
    batches = training_batches(dataset, model, options)
    compile_model(model, options)
    history = model.fit(
        batches.dataset(0, 4),
        epochs=4,
        steps_per_epoch=batches.steps_per_epoch,
        verbose=0,
    ).history
    assert history["click"][-1] < 0.7 * history["click"][0]


def test_skipping_batches_gives_the_rest_of_the_epoch(dataset: CheckedDataset) -> None:
    options = TrainingOptions(batch_size=64)
    model = methods.get("dice")(
        DICE_OPTIONS, num_users=dataset.num_users, num_items=dataset.num_items
    )
    batches = training_batches(dataset, model, options)
    whole = list(batches.dataset(1, 3).as_numpy_iterator())
    rest = list(batches.dataset(1, 3, skip_batches=7).as_numpy_iterator())
    assert len(whole) == 2 * batches.steps_per_epoch
    assert len(rest) == len(whole) - 7
    for left, right in zip(whole[7:], rest, strict=True):
        for name in left:
            assert np.array_equal(left[name], right[name])
