"""DICE and MF on the synthetic world, against the causes that made it.

    python -m tests.benchmarks.known_causes --world=W --dataset=DATASET --runs=FOLDER

W is what `tfcausal synth` wrote, DATASET what ingest, split and popularity made of
its log; `make demo` leaves both. Prints the rank correlation of learned with true
scores, and recall and popularity over the weight of conformity on the three test sets.
"""

from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
import rich.table

from tests.benchmarks.intervened_gain import CONSOLE, vectors_of
from tfcausal.cli.options import parse_settings
from tfcausal.data.interactions import (
    index_interactions,
    open_dataset,
    read_part,
    read_popularity,
    read_vocabulary,
)
from tfcausal.data.world_truth import read_truth
from tfcausal.evaluation.disentanglement import cause_correlations, sample_pairs
from tfcausal.evaluation.evaluator import EvaluationSet, evaluate, weight_curve
from tfcausal.schema.protocol import protocol

WEIGHTS = (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2)
TEST_SETS = ("test_observational", "test_equal_exposure", "test_no_conformity")
PAIRS = 200_000


@click.command()
@click.option("--world", required=True, type=click.Path(path_type=Path))
@click.option("--dataset", required=True, type=click.Path(path_type=Path))
@click.option("--runs", required=True, type=click.Path(path_type=Path))
@click.option("--seed", default=0, show_default=True)
@click.option("--mf", "mf_settings", multiple=True, help="NAME=VALUE for MF.")
@click.option("--dice", "dice_settings", multiple=True, help="NAME=VALUE for DICE.")
def main(
    world: Path,
    dataset: Path,
    runs: Path,
    seed: int,
    mf_settings: tuple[str, ...],
    dice_settings: tuple[str, ...],
) -> None:
    """Compare learned causes with true ones."""
    opened = open_dataset(dataset)
    learned = {
        method: vectors_of(opened, method, seed, parse_settings(settings), runs)
        for method, settings in (("mf", mf_settings), ("dice", dice_settings))
    }
    truth = read_truth(world)
    users, items = sample_pairs(opened.num_users, opened.num_items, PAIRS, seed=seed)
    user_ids = read_vocabulary(opened.folder.users).take(users)
    item_ids = read_vocabulary(opened.folder.items).take(items)
    true_scores = {
        "interest": np.asarray(truth.interest(user_ids, item_ids), np.float64),
        "conformity": np.asarray(truth.conformity(user_ids, item_ids), np.float64),
    }
    table = rich.table.Table(title=f"Spearman's rho over {PAIRS:,} pairs")
    for column in ("method", "learned", *(f"true {name}" for name in true_scores)):
        table.add_column(column)
    for method, vectors in learned.items():
        found = cause_correlations(vectors, users, items, true_scores)
        for cause, correlations in found.items():
            cells = [f"{correlations[name]:+.3f}" for name in true_scores]
            table.add_row(method, cause, *cells)
    CONSOLE.print(table)

    chosen = protocol("dice")
    history = read_part(opened.folder, ["train", "train_intervened"])
    popularity = read_popularity(opened)
    table = rich.table.Table(title="do(conformity = w): recall@20, popularity@20")
    table.add_column("w", justify="right")
    curves = {}
    base = []
    for name in TEST_SETS:
        table.add_column(name, justify="right")
        against = EvaluationSet.from_interactions(
            index_interactions(world / name, opened),
            history,
            popularity,
            opened.num_users,
        )
        curves[name] = weight_curve(
            learned["dice"], against, chosen, cause="conformity", weights=WEIGHTS
        )
        base.append(evaluate(learned["mf"], against, chosen).metrics)
    for place, weight in enumerate(WEIGHTS):
        points = [curves[name][place] for name in TEST_SETS]
        table.add_row(f"{weight:.2f}", *map(_cell, points))
    table.add_row("mf", *map(_cell, base))
    CONSOLE.print(table)
    for name, curve in curves.items():
        best = max(curve, key=lambda point: point["recall@20"])
        CONSOLE.print(f"{name}: best w = {best['weight']:.2f}", highlight=False)


def _cell(metrics: Mapping[str, float]) -> str:
    return f"{metrics['recall@20']:.4f}  {metrics['popularity@20']:5.0f}"


if __name__ == "__main__":
    main()
