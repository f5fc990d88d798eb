"""GRU4Rec here and in RecBole: seconds an epoch, and what the test part says of both.

    python -m tests.benchmarks.gru4rec --dataset=DATASET --work=FOLDER --recbole=PYTHON

PYTHON is the interpreter of a virtual environment of its own in which RecBole 1.2 and
its PyTorch are installed. Both train on the same samples (every prefix of the training
part) with the same coordinates, batches, epochs and learning rates, each with its own
loss (RecBole's has all items, ours a sample of 1,000) and its own other defaults; the
same evaluator ranks all items for the users of the test part. Seconds are those of
`fit` alone, without reading and without evaluation.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from tests.benchmarks.processes import run_measured
from tfcausal import methods
from tfcausal.cli.options import build_options, parse_settings
from tfcausal.data.histories import SequencesInMemory, read_histories
from tfcausal.data.interactions import CheckedDataset, open_dataset
from tfcausal.evaluation.evaluator import evaluate
from tfcausal.evaluation.validation import evaluation_set
from tfcausal.methods.histories import PREFERENCE
from tfcausal.schema.dataset import TEST
from tfcausal.schema.protocol import protocol
from tfcausal.schema.vectors import CausalVectors
from tfcausal.training.batches import training_batches
from tfcausal.training.options import TrainingOptions
from tfcausal.training.trainer import compile_model

METHOD = "gru4rec"
SHOWN = ("recall@20", "recall@50", "ndcg@20")


def train_here(dataset: CheckedDataset, folder: Path, settings: dict[str, str]) -> None:
    """Trains ours, writes its vectors and prints the seconds of `fit`."""
    options, training = build_options(
        [methods.get(METHOD).options_class, TrainingOptions], settings
    )
    model = methods.get(METHOD).of_dataset(dataset, options)
    compile_model(model, training)
    batches = training_batches(dataset, model, training)
    begin = time.perf_counter()
    model.fit(
        batches.dataset(0, training.epochs),
        epochs=training.epochs,
        steps_per_epoch=batches.steps_per_epoch,
        verbose=0,
    )
    seconds = time.perf_counter() - begin
    vectors = model.vectors()
    np.save(folder / "queries.npy", vectors.queries[:, 0])
    np.save(folder / "candidates.npy", vectors.candidates)
    print(json.dumps({"seconds": seconds}))


def write_samples(
    dataset: CheckedDataset, folder: Path, settings: dict[str, str]
) -> None:
    """Writes what RecBole's side reads: samples, histories and its names of options."""
    options, training = build_options(
        [methods.get(METHOD).options_class, TrainingOptions], settings
    )
    blocks = list(SequencesInMemory(dataset, options.rule()).blocks(0))
    columns = {
        name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]
    }
    np.savez(folder / "samples.npz", **columns)
    np.save(folder / "histories.npy", read_histories(dataset, options.max_length))
    named: dict[str, Any] = {
        "num_items": dataset.num_items,
        "MAX_ITEM_LIST_LENGTH": options.max_length,
        "embedding_size": options.embedding_dim,
        "learning_rate": options.learning_rate,
        "train_batch_size": training.batch_size,
        "epochs": training.epochs,
    }
    (folder / "options.json").write_text(json.dumps(named))


@click.command()
@click.option("--dataset", required=True, type=click.Path(path_type=Path))
@click.option("--work", required=True, type=click.Path(path_type=Path))
@click.option("--recbole", help="The interpreter; without it ours trains alone.")
@click.option("--set", "texts", multiple=True, help="NAME=VALUE for both sides.")
@click.option("--one", is_flag=True, hidden=True)
def main(
    dataset: Path, work: Path, recbole: str | None, texts: tuple[str, ...], one: bool
) -> None:
    """Train both and print a table."""
    opened = open_dataset(dataset)
    settings = {"epochs": "10", "batch_size": "1024", **parse_settings(texts)}
    if one:
        train_here(opened, work, settings)
        return
    sides = {"here": work / "here"}
    commands = {
        "here": [sys.executable, "-m", "tests.benchmarks.gru4rec", "--one"]
        + [f"--dataset={dataset}", f"--work={sides['here']}"]
        + [f"--set={text}" for text in texts]
    }
    if recbole:
        sides["RecBole"] = work / "recbole"
        script = Path(__file__).with_name("recbole_gru4rec.py")
        commands["RecBole"] = [recbole, str(script), str(sides["RecBole"])]
    for folder in sides.values():
        folder.mkdir(parents=True, exist_ok=True)
    if recbole:
        write_samples(opened, sides["RecBole"], settings)
    chosen = protocol("causerec")
    against = evaluation_set(opened, TEST, chosen)
    table = Table(title=f"GRU4Rec, {settings['epochs']} epochs")
    for column in ("", "s an epoch", *SHOWN, "peak MiB"):
        table.add_column(column, justify="right" if column else "left")
    for name, folder in sides.items():
        usage = run_measured(commands[name])
        seconds = json.loads(usage.output.splitlines()[-1])["seconds"]
        candidates = np.load(folder / "candidates.npy")
        found = CausalVectors(
            np.load(folder / "queries.npy")[:, None],
            candidates,
            {PREFERENCE: slice(0, candidates.shape[1])},
        )
        metrics = evaluate(found, against, chosen).metrics
        table.add_row(
            name,
            f"{seconds / int(settings['epochs']):.1f}",
            *(f"{metrics[metric]:.4f}" for metric in SHOWN),
            f"{usage.peak_bytes / 2**20:,.0f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
