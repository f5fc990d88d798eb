"""BPR-MF and LightGCN on the published split of gowalla, beside published figures.

    python -m tests.benchmarks.published_split --data=FOLDER --work=FOLDER

--data holds train.txt and test.txt, a user and all their items on each line, as the
LightGCN paper's authors publish them. One in a hundred training rows is kept for
validation, which chooses the epoch; the test rows choose nothing. Trainings go on where
they stopped, so the script may be interrupted.

Published: He et al., LightGCN, SIGIR 2020, table 3 (three layers), and Wang et al.,
NGCF, SIGIR 2019, on the same split, for BPR-MF.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq
import rich.console
import rich.table
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from beam_jobs.popularity import PopularityOptions
from beam_jobs.popularity import run as count_popularity
from beam_jobs.runtime.pipeline import WITHOUT_BEAM
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from tfcausal.cli.options import build_options, parse_settings
from tfcausal.data.interactions import (
    CheckedDataset,
    index_interactions,
    open_dataset,
)
from tfcausal.evaluation.evaluator import EvaluationSet, evaluate
from tfcausal.evaluation.validation import evaluation_set
from tfcausal.methods.mf import MFOptions
from tfcausal.reports.rows import Row
from tfcausal.reports.trainings import Trainings
from tfcausal.schema.protocol import EvaluationProtocol, protocol
from tfcausal.training.options import TrainingOptions

METRICS = ("recall@20", "ndcg@20")
PUBLISHED = {"mf": (0.1291, 0.1109), "lightgcn": (0.1830, 0.1554)}
"""Backbone to the published figures of METRICS."""
COMMON = {
    "embedding_dim": 64,
    "num_negatives": 4,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "amsgrad": False,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "mf": {"learning_rate": 3e-3, "l2": 1e-5, "batch_size": 8192},
    "lightgcn": {"learning_rate": 1e-2, "l2": 1e-7, "batch_size": 16384},
}


def prepared(data: Path, work: Path) -> CheckedDataset:
    """Ingests and splits the training rows, unless that is done."""
    local = PipelineOptions([f"--runner={WITHOUT_BEAM}"])
    root = work / "dataset"
    if not root.exists():
        ingest(IngestOptions(str(data / "train.txt"), "lines", root), local)
    if not (root / "splits").exists():
        split(SplitOptions(root, "random", fractions=(0.99, 0.01, 0.0)), local)
    if not (root / "features" / "popularity").exists():
        count_popularity(PopularityOptions(root), local)
    return open_dataset(root)


def published_test(
    data: Path, work: Path, dataset: CheckedDataset, chosen: EvaluationProtocol
) -> EvaluationSet:
    """Reads the published test rows."""
    users, items = [], []
    for line in (data / "test.txt").read_text(encoding="utf-8").splitlines():
        user, *met = line.split()
        users += [user] * len(met)
        items += met
    file = work / "test.parquet"
    pq.write_table(pa.table({"user_id": users, "item_id": items}), file)
    return evaluation_set(dataset, index_interactions(file, dataset), chosen)


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path))
@click.option("--work", required=True, type=click.Path(path_type=Path))
@click.option(
    "--backbone",
    "backbones",
    multiple=True,
    default=tuple(PUBLISHED),
    type=click.Choice(tuple(PUBLISHED)),
)
@click.option("--epochs", default=200, show_default=True)
@click.option("--set", "texts", multiple=True, help="NAME=VALUE for all trainings.")
def main(
    data: Path,
    work: Path,
    backbones: tuple[str, ...],
    epochs: int,
    texts: tuple[str, ...],
) -> None:
    """Train BPR on each backbone and print what the published test rows say."""
    dataset = prepared(data, work)
    # What was kept from training for validation is history all the same.
    chosen = replace(protocol("dice"), mask=("train", "validation"))
    test = published_test(data, work, dataset, chosen)
    given = parse_settings(texts)
    built = build_options([MFOptions, TrainingOptions], given, epochs=epochs)
    changed = {
        name: next(getattr(one, name) for one in built if hasattr(one, name))
        for name in given
    }
    console = rich.console.Console(width=110)
    table = rich.table.Table(title="Published split, BPR, 64 coordinates")
    for column in ("backbone", *METRICS, "published", "seconds"):
        left = column == "backbone"
        table.add_column(column, justify="left" if left else "right")
    monitored = TrainingOptions(monitor=METRICS[0])
    trainings = Trainings(
        dataset, work / "runs", monitored, protocol("dice"), verbose=2
    )
    for backbone in backbones:
        settings = COMMON | SETTINGS[backbone] | changed | {"epochs": epochs}
        console.print(f"{backbone}: {settings}", highlight=False)
        row = Row(backbone, "mf", {"backbone": backbone})
        training = trainings.train(row, settings, seed=0)
        found = evaluate(training.run.vectors(), test, chosen).metrics
        table.add_row(
            backbone,
            *(f"{found[metric]:.4f}" for metric in METRICS),
            " / ".join(f"{figure:.4f}" for figure in PUBLISHED[backbone]),
            f"{training.seconds:,.0f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
