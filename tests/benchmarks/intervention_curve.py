"""An exported model under do(cause = w), over w, beside its run's vectors.

    python -m tests.benchmarks.intervention_curve --run=RUN --model=VERSION

Every test user's list comes from the SavedModel's signature `recommend` with that
weight. Recall and popularity of the lists stand beside what evaluation finds of the
run's vectors, and the largest difference of a listed item's score, in shares of the
user's largest. Below, the preset `popularity_neutral`: its target, and what lists have
on validation and on the test part.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from tfcausal.evaluation.evaluator import EvaluationSet, evaluate
from tfcausal.evaluation.validation import evaluation_set
from tfcausal.schema.exported import ids_file
from tfcausal.schema.manifest import read_manifest
from tfcausal.schema.protocol import protocol
from tfcausal.schema.vectors import CausalVectors
from tfcausal.serving.index_files import read_ids
from tfcausal.training.run import load_run

import tensorflow as tf  # isort: skip

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
_BATCH = 256


class Exported:
    """Asks an exported model for many users' lists."""

    def __init__(self, version: Path, causes: list[str], k: int) -> None:
        self._recommend = tf.saved_model.load(str(version)).signatures["recommend"]
        self._users = ["", *read_ids(ids_file(version, "users"))]
        items = ["", *read_ids(ids_file(version, "items"))]
        self._rows = {item.encode(): row for row, item in enumerate(items)}
        self._causes, self._k = causes, k

    def lists(self, users: Any, weights: dict[str, float], do: str = "") -> Any:
        """Returns items and scores, [n, k], of users with more than k items left."""
        found = []
        for first in range(0, len(users), _BATCH):
            asked = [self._users[user] for user in users[first : first + _BATCH]]
            nothing = tf.fill([len(asked), 1], "")
            answer = self._recommend(
                user_id=tf.constant(asked),
                k=tf.constant(self._k),
                do=tf.fill([len(asked)], do),
                exclude_item_id=nothing,
                allow_item_id=nothing,
                exclude_seen=tf.constant(True),
                **{
                    f"{cause}_weight": tf.fill([len(asked)], weights.get(cause, 1.0))
                    for cause in self._causes
                },
            )
            found.append((answer["item_id"].numpy(), answer["score"].numpy()))
        items = np.vectorize(self._rows.__getitem__)(
            np.vstack([one for one, _ in found])
        )
        return items, np.vstack([scores for _, scores in found])


def recall(items: Any, users: Any, against: EvaluationSet) -> float:
    """Returns the mean share of the users' positives that is in their lists."""
    shares = []
    for user, listed in zip(users, items, strict=True):
        positives = against.positives.of(np.asarray([user]))[1]
        shares.append(np.isin(positives, listed).mean())
    return float(np.mean(shares))


def largest_difference(
    vectors: CausalVectors, users: Any, items: Any, scores: Any
) -> float:
    """Returns how far scores are from those of vectors, in shares of a list's best."""
    queries = vectors.queries[users].astype(np.float64)
    candidates = vectors.candidates[items].astype(np.float64)
    exact = np.einsum("uqd,ukd->ukq", queries, candidates).max(axis=2)
    return float((np.abs(scores - exact) / np.abs(exact).max(axis=1)[:, None]).max())


@click.command()
@click.option("--run", required=True, type=click.Path(path_type=Path))
@click.option("--model", required=True, type=click.Path(path_type=Path))
@click.option("--cause", default="conformity", show_default=True)
@click.option("--k", default=20, show_default=True)
def main(run: Path, model: Path, cause: str, k: int) -> None:
    """Ask for every weight; nothing is asserted."""
    finished = load_run(run)
    dataset, vectors = finished.open_dataset(), finished.vectors()
    manifest = read_manifest(model, kind="export")
    if "calibration" in manifest.details:
        raise click.UsageError("--model must be an export as trained.")
    chosen = replace(protocol("dice"), ks=(k,))
    against = evaluation_set(dataset, "test", chosen)
    users = np.flatnonzero(against.positives.lengths)
    exported = Exported(model, list(vectors.causes), k)
    console = Console()
    table = Table(f"do({cause} = w)", title=f"{len(users):,} test users, {k} places")
    columns = ("recall, exported", "recall, vectors", "popularity", "difference")
    for column in columns:
        table.add_column(column, justify="right")
    for weight in WEIGHTS:
        items, scores = exported.lists(users, {cause: weight})
        weighted = vectors.weighted({cause: weight})
        metrics = evaluate(weighted, against, chosen).metrics
        table.add_row(
            f"{weight:g}",
            f"{recall(items, users, against):.4f}",
            f"{metrics[f'recall@{k}']:.4f}",
            f"{against.popularity[items].mean():,.0f}",
            f"{largest_difference(weighted, users, items, scores):.1e}",
        )
    console.print(table)
    neutral = manifest.details.get("neutral")
    if neutral is not None:
        items, _ = exported.lists(users, {}, do="popularity_neutral")
        shown = against.popularity[items].mean()
        console.print(
            f"popularity_neutral: {neutral['weights']}; target "
            f"{neutral['target']:,.1f}, on validation {neutral['reached']:,.1f}, on "
            f"the test part {shown:,.1f}, recall@{k} "
            f"{recall(items, users, against):.4f}"
        )


if __name__ == "__main__":
    main()
