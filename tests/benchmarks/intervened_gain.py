"""DICE against MF on a data set's intervened test set, over seeds.

    python -m tests.benchmarks.intervened_gain --dataset=DATASET --runs=FOLDER

Each training goes on where it stopped, and a finished one is not done again, so the
script may be interrupted. The settings of both methods are chosen on validation.
"""

import json
from pathlib import Path

import click
import numpy as np
import rich.console
import rich.table

from tfcausal import methods
from tfcausal.cli.options import build_options, parse_settings
from tfcausal.data.interactions import CheckedDataset, open_dataset
from tfcausal.evaluation.evaluator import Evaluation, evaluate, weight_curve
from tfcausal.evaluation.validation import evaluation_set, validator
from tfcausal.schema.protocol import protocol
from tfcausal.schema.vectors import CausalVectors
from tfcausal.training.options import TrainingOptions
from tfcausal.training.trainer import train

SHOWN = ("recall@20", "hr@20", "ndcg@20", "recall@50", "hr@50", "ndcg@50")
ABLATIONS = {
    "uniform negatives": {"negatives": "uniform"},
    "no curriculum": {"decay": "1"},
    "no discrepancy": {"discrepancy_weight": "0"},
    "no cause terms": {"interest_weight": "0", "conformity_weight": "0"},
}
WEIGHTS = (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2)
CONSOLE = rich.console.Console(width=110)


def vectors_of(
    dataset: CheckedDataset,
    method: str,
    seed: int,
    settings: dict[str, str],
    runs: Path,
) -> CausalVectors:
    """Trains one method with one seed, or takes what is there, and returns its best."""
    method_options, options = build_options(
        [methods.get(method).options_class, TrainingOptions], settings, seed=seed
    )
    validate = validator(dataset, monitor=options.monitor)
    name = "_".join([method, f"seed={seed}", *map("=".join, sorted(settings.items()))])
    run = train(
        dataset, method, method_options, options, runs / name, validate, verbose=0
    )
    metrics = json.loads((run.folder / "metrics.json").read_text(encoding="utf-8"))
    found = metrics["validation"][options.monitor]
    CONSOLE.print(f"{name}: validation {options.monitor} {found:.4f}", highlight=False)
    return run.vectors()


def print_gains(results: dict[str, list[Evaluation]]) -> None:
    """Prints mean and standard deviation over seeds, and each gain over MF."""
    for name in list(results)[1:]:
        table = rich.table.Table(
            title="Intervened test set, mean and deviation over seeds"
        )
        for column in ("metric", "mf", name, "gain"):
            table.add_column(column, justify="left" if column == "metric" else "right")
        for metric in (*SHOWN, "popularity@20"):
            base, found = (
                np.asarray([evaluation.metrics[metric] for evaluation in evaluations])
                for evaluations in (results["mf"], results[name])
            )
            digits = 0 if metric.startswith("popularity") else 4
            table.add_row(
                metric,
                *(
                    f"{value.mean():.{digits}f} +- {value.std():.{digits}f}"
                    for value in (base, found)
                ),
                f"{found.mean() / base.mean() - 1:+.1%}",
            )
        CONSOLE.print(table)


def print_curve(curve: list[dict[str, float]]) -> None:
    """Prints metrics and popularity over the weight of conformity."""
    table = rich.table.Table(title="DICE under do(conformity = w), first seed")
    for column in ("w", "recall@20", "ndcg@20", "popularity@20"):
        table.add_column(column, justify="right")
    for point in curve:
        table.add_row(
            f"{point['weight']:.2f}",
            f"{point['recall@20']:.4f}",
            f"{point['ndcg@20']:.4f}",
            f"{point['popularity@20']:.0f}",
        )
    CONSOLE.print(table)


@click.command()
@click.option("--dataset", required=True, type=click.Path(path_type=Path))
@click.option("--runs", required=True, type=click.Path(path_type=Path))
@click.option("--seeds", default=3, show_default=True)
@click.option("--mf", "mf_settings", multiple=True, help="NAME=VALUE for MF.")
@click.option("--dice", "dice_settings", multiple=True, help="NAME=VALUE for DICE.")
@click.option("--ablations", is_flag=True, help="Train DICE without each of its parts.")
def main(
    dataset: Path,
    runs: Path,
    seeds: int,
    mf_settings: tuple[str, ...],
    dice_settings: tuple[str, ...],
    ablations: bool,
) -> None:
    """Train both methods over seeds and print a table of the intervened test set."""
    opened = open_dataset(dataset)
    chosen = protocol("dice")
    against = evaluation_set(opened, "test", chosen)
    settings = {
        "mf": parse_settings(mf_settings),
        "dice": parse_settings(dice_settings),
    }
    if ablations:
        for name, changes in ABLATIONS.items():
            settings[f"dice, {name}"] = settings["dice"] | changes
    results: dict[str, list[Evaluation]] = {name: [] for name in settings}
    first: CausalVectors | None = None
    for seed in range(seeds):
        for name, texts in settings.items():
            method = name.split(",")[0]
            vectors = vectors_of(opened, method, seed, texts, runs)
            evaluation = evaluate(vectors, against, chosen, causes=name == "dice")
            results[name].append(evaluation)
            if name == "dice" and first is None:
                first = vectors
    print_gains(results)
    for cause, metrics in results["dice"][0].causes.items():
        CONSOLE.print(
            f"{cause} alone: recall@20 {metrics['recall@20']:.4f}, overlap with the "
            f"most popular items (IOU@50) {metrics['iou_itempop@50']:.3f}"
        )
    assert first is not None
    print_curve(
        weight_curve(first, against, chosen, cause="conformity", weights=WEIGHTS)
    )


if __name__ == "__main__":
    main()
