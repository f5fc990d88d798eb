"""Methods side by side while the world that they are tested in moves away.

    python -m tests.benchmarks.robustness --dataset=DATASET --work=FOLDER

Three experiments: the strength of the intervention (DICE, Figure 6: weights capped at
the 50th, 70th and 90th percentile), the share of intervened training data (DICE, Figure
8(b): 0 to 20 %), and the share of popular items in the test set (DCCL, section 3.3: 60
to 30 %, one training for all of them). DATASET is what ingest wrote; its own split is
not touched: each split is made in a copy below FOLDER, whose interactions and
vocabularies are hard links.

Every training goes on where it stopped, and what is finished is not done again, so the
script may be interrupted. All figures are by the protocol dice, on DCCL's sets too.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import rich.table
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.popularity import PopularityOptions
from beam_jobs.popularity import run as count_popularity
from beam_jobs.runtime.pipeline import WITHOUT_BEAM
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from tests.benchmarks.intervened_gain import CONSOLE, vectors_of
from tfcausal.cli.options import parse_settings
from tfcausal.data.interactions import CheckedDataset, open_dataset
from tfcausal.errors import InputError, unknown_name
from tfcausal.evaluation.evaluator import evaluate
from tfcausal.evaluation.validation import evaluation_set
from tfcausal.schema.dataset import (
    TEST,
    TRAIN_INTERVENED,
    DatasetFolder,
    popular_test_part,
)
from tfcausal.schema.manifest import FILE_NAME, read_manifest
from tfcausal.schema.protocol import protocol

METHODS = ("mf", "dice", "dccl", "two_tower")
EXPERIMENTS = ("caps", "shares", "popular")
CAPS = (50.0, 70.0, 90.0)
SHARES = (0.0, 0.05, 0.1, 0.15, 0.2)
POPULAR = (0.6, 0.5, 0.4, 0.3)
SHOWN = ("recall@20", "ndcg@20")
# DICE's own split, from which one thing is changed at a time.
CAP, SHARE = 90.0, 0.1

Figures = dict[str, list[Mapping[str, float]]]
"""Method to its metrics with each seed; none where it cannot be trained."""


def copied(source: DatasetFolder, target: DatasetFolder) -> DatasetFolder:
    """Links what ingest wrote into another folder, where it may be split anew."""
    manifest = read_manifest(source.root, kind="dataset")
    # The manifest comes last: with it, the copy is whole.
    for name in (*manifest.files, FILE_NAME):
        link = target.root / name
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(source.root / name, link)
    found = read_manifest(target.root, kind="dataset").fingerprint
    if found != manifest.fingerprint:
        raise InputError(
            f"`{target.root}` must be a copy of `{source.root}` as it is now; that one "
            "has changed since. Choose another --work."
        )
    return target


def split_and_counted(folder: DatasetFolder, options: dict[str, Any]) -> CheckedDataset:
    """Splits a data set and counts popularity, unless that is done."""
    local = PipelineOptions([f"--runner={WITHOUT_BEAM}"])
    if not folder.splits.exists():
        split(SplitOptions(folder.root, **options), local)
    if not folder.popularity.exists():
        count_popularity(PopularityOptions(folder.root), local)
    return open_dataset(folder.root)


@dataclass(frozen=True)
class Bench:
    """What is the same in all experiments.

    Attributes:
        source: The data set.
        work: Where copies and runs go.
        settings: Method to its settings.
        seeds: Number of trainings of each method, seeded from 0.
    """

    source: DatasetFolder
    work: Path
    settings: Mapping[str, dict[str, str]]
    seeds: int

    def figures(self, parts: Sequence[str], **options: Any) -> list[Figures]:
        """Splits by `options`, trains all methods and returns the figures of parts."""
        name = "_".join(
            f"{key}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
            for key, value in options.items()
        )
        folder = copied(self.source, DatasetFolder(self.work / name / "dataset"))
        dataset = split_and_counted(folder, options)
        dice = protocol("dice")
        against = [evaluation_set(dataset, part, dice) for part in parts]
        found: list[Figures] = [{name: [] for name in self.settings} for _ in parts]
        for seed in range(self.seeds):
            for method, texts in self.settings.items():
                runs = self.work / name / "runs"
                try:
                    vectors = vectors_of(dataset, method, seed, texts, runs)
                except InputError as error:
                    # As in DICE's figure, a method may need what this split lacks.
                    if dataset.parts([TRAIN_INTERVENED]):
                        raise
                    CONSOLE.print(f"{method}: {error}", highlight=False, soft_wrap=True)
                    continue
                for place, part in enumerate(against):
                    metrics = evaluate(vectors, part, dice).metrics
                    found[place][method].append(metrics)
        return found


def print_figures(title: str, columns: Mapping[str, Figures]) -> None:
    """Prints a table for each metric, with each gain over the first method."""
    CONSOLE.print(title)
    first, *_ = next(iter(columns.values()))
    for metric in SHOWN:
        table = rich.table.Table(title=metric)
        table.add_column("method")
        for column in columns:
            table.add_column(column, justify="right")
        for method in next(iter(columns.values())):
            cells = [
                _cell(found[method], found[first], metric) for found in columns.values()
            ]
            table.add_row(method, *cells)
        CONSOLE.print(table)


def _cell(
    own: list[Mapping[str, float]], first: list[Mapping[str, float]], metric: str
) -> str:
    if not own:
        return "-"
    values = np.asarray([metrics[metric] for metrics in own])
    text = f"{values.mean():.4f}"
    if len(values) > 1:
        text += f" +- {values.std():.4f}"
    if own is first or not first:
        return text
    base = np.mean([metrics[metric] for metrics in first])
    return f"{text} ({values.mean() / base - 1:+.1%})"


def settings_of(
    methods: Sequence[str], texts: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Returns each method's settings: those for all, then its own METHOD.NAME=VALUE."""
    settings: dict[str, dict[str, str]] = {method: {} for method in methods}
    parsed = parse_settings(texts)
    for name, value in sorted(parsed.items(), key=lambda pair: "." in pair[0]):
        method, dot, own = name.rpartition(".")
        if dot and method not in settings:
            raise unknown_name("method", method, methods)
        for chosen in [method] if dot else methods:
            settings[chosen][own] = value
    return settings


@click.command()
@click.option("--dataset", required=True, type=click.Path(path_type=Path))
@click.option("--work", required=True, type=click.Path(path_type=Path))
@click.option(
    "--method", "methods", multiple=True, default=METHODS, help="The first is the base."
)
@click.option("--only", type=click.Choice(EXPERIMENTS), help="One experiment.")
@click.option("--cap", "caps", type=float, multiple=True, default=CAPS)
@click.option("--share", "shares", type=float, multiple=True, default=SHARES)
@click.option("--popular", type=float, multiple=True, default=POPULAR)
@click.option("--seeds", default=1, show_default=True)
@click.option(
    "--set",
    "texts",
    multiple=True,
    help="NAME=VALUE for all methods, or METHOD.NAME=VALUE.",
)
def main(
    dataset: Path,
    work: Path,
    methods: tuple[str, ...],
    only: str | None,
    caps: tuple[float, ...],
    shares: tuple[float, ...],
    popular: tuple[float, ...],
    seeds: int,
    texts: tuple[str, ...],
) -> None:
    """Split, train and print the tables of one experiment, or of all three."""
    settings = settings_of(methods, texts)
    bench = Bench(DatasetFolder(dataset), work, settings, seeds)

    def intervened(cap: float, share: float) -> Figures:
        (found,) = bench.figures(
            [TEST],
            rule="intervened",
            cap_percentile=cap,
            intervened_training_fraction=share,
        )
        return found

    if only in (None, "caps"):
        print_figures(
            "By the percentile at which the weights of the intervention are capped",
            {f"{cap:g}": intervened(cap, SHARE) for cap in caps},
        )
    if only in (None, "shares"):
        print_figures(
            "By the share of intervened training data",
            {f"{100 * share:g}%": intervened(CAP, share) for share in shares},
        )
    if only in (None, "popular"):
        parts = [TEST, *map(popular_test_part, popular)]
        found = bench.figures(parts, rule="popular_share", popular_shares=popular)
        titles = [TEST, *(f"{share:.0%}" for share in popular)]
        print_figures(
            "By the share of popular items in the test set",
            dict(zip(titles, found, strict=True)),
        )


if __name__ == "__main__":
    main()
