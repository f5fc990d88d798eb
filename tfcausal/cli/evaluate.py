"""`tfcausal evaluate`: metrics of a run on a part of the split or an outside set."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfcausal.cli.run_options import (
    dataset_option,
    ks_option,
    protocol_option,
    run_option,
)
from tfcausal.cli.weights import calibration_in_words, parse_weights, weight_option
from tfcausal.errors import InputError
from tfcausal.schema.protocol import protocol
from tfcausal.schema.vectors import POPULARITY_CAUSE

if TYPE_CHECKING:
    from tfcausal.evaluation.evaluator import Evaluation
    from tfcausal.training.run import Run


@click.command("evaluate")
@run_option
@protocol_option
@click.option(
    "--split",
    default="test",
    show_default=True,
    help="The part of the data set's split: validation, test, or another that its "
    "rule made.",
)
@click.option(
    "--interactions",
    type=click.Path(path_type=Path),
    help="An outside test set instead of --split: Parquet with user_id and item_id.",
)
@dataset_option
@click.option(
    "--calibrated/--as_trained",
    default=False,
    help="Whether to apply what `tfcausal calibrate` chose, before --weight.  "
    "[default: as_trained]",
)
@weight_option
@click.option("--causes", is_flag=True, help="Add each cause alone, and IOU.")
@click.option(
    "--users",
    type=click.Choice(["with_positives", "all"]),
    help="Whom to average over.  [default: as the protocol has it]",
)
@ks_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    run: Path,
    protocol_name: str,
    split: str,
    interactions: Path | None,
    dataset_folder: Path | None,
    calibrated: bool,
    weights: tuple[str, ...],
    causes: bool,
    users: Any,
    ks: tuple[int, ...],
    as_json: bool,
) -> None:
    """Rank the whole catalogue for each user and score the lists.

    The items a protocol masks, the history, are never in a list. The result is printed
    and added to metrics.json in the run's folder.
    """
    from tfcausal.data.interactions import index_interactions
    from tfcausal.evaluation.calibration import load_calibration
    from tfcausal.evaluation.evaluator import evaluate
    from tfcausal.evaluation.validation import evaluation_set
    from tfcausal.training.run import load_run

    chosen = protocol(protocol_name)
    if users:
        chosen = replace(chosen, users=users)
    if ks:
        chosen = replace(chosen, ks=ks)
    parsed = parse_weights(weights)
    finished = load_run(run)
    vectors = finished.vectors()
    if POPULARITY_CAUSE in parsed and not calibrated:
        _require_popularity(finished, vectors.causes)
    dataset = finished.open_dataset(dataset_folder)
    evaluated: Any = split
    rows: dict[str, int] = {}
    if interactions:
        evaluated = index_interactions(interactions, dataset)
        rows = {"rows": len(evaluated), "rows_unknown": evaluated.num_unknown}
    against = evaluation_set(dataset, evaluated, chosen)
    title = on = str(interactions) if interactions else split
    applied: dict[str, Any] = {}
    if calibrated:
        calibration = load_calibration(finished)
        vectors = calibration.apply(vectors, against.popularity)
        kept = {"weights": calibration.weights, "shift": calibration.shift}
        if calibration.norm_power is not None:
            kept["norm_power"] = calibration.norm_power
        applied = {"calibration": kept}
        title = f"{on}, {calibration_in_words(kept)}"
    found = evaluate(
        vectors,
        against,
        chosen,
        causes=causes,
        weights=parsed,
    )
    label = _label(on, found, calibrated=calibrated)
    _add_to_metrics(run, label, found.to_json() | rows | applied)
    if as_json:
        result = {
            "run": str(run),
            "evaluated": on,
            **found.to_json(),
            **rows,
            **applied,
        }
        click.echo(json.dumps(result, sort_keys=True))
        return
    _print(title, found)
    if rows.get("rows_unknown"):
        click.echo(
            f"{rows['rows_unknown']:,} rows of `{on}` were left out: the data set does "
            f"not know their user or item. {rows['rows']:,} remain."
        )


def _require_popularity(run: "Run", causes: Mapping[str, slice]) -> None:
    """Raises InputError where a run as trained has no shift that could be weighed."""
    if POPULARITY_CAUSE in causes:
        return
    advice = "Pass --calibrated."
    if not run.calibration_path.is_file():
        advice = f"Run `tfcausal calibrate --run={run.folder}`, then pass --calibrated."
    raise InputError(
        f"`--weight {POPULARITY_CAUSE}` must be of a cause that is there; as trained "
        f"there are {', '.join(causes)}. Calibration adds this one. {advice}"
    )


def _label(on: str, found: "Evaluation", *, calibrated: bool) -> str:
    kind = ["calibrated"] if calibrated else []
    weights = [f"{cause}={weight:g}" for cause, weight in found.weights.items()]
    return " ".join([on, f"{found.protocol}:{found.protocol_hash}", *kind, *weights])


def _add_to_metrics(run: Path, label: str, found: dict[str, Any]) -> None:
    from tfcausal.schema.folders import sole_user
    from tfcausal.training.callbacks import write_json

    path = run / "metrics.json"
    # Two evaluations at a time must not lose each other's result.
    with sole_user(run):
        content = json.loads(path.read_text(encoding="utf-8"))
        content.setdefault("evaluations", {})[label] = found
        write_json(path, content)


def _print(title: str, found: "Evaluation") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{title}, protocol {found.protocol}, {found.num_users:,} users"
    )
    table.add_column("metric")
    columns: dict[str, Mapping[str, float]] = {
        " ".join(["score", *(f"{c}={w:g}" for c, w in found.weights.items())]): (
            found.metrics
        ),
        **{f"{cause} alone": metrics for cause, metrics in found.causes.items()},
    }
    for name in columns:
        table.add_column(name, justify="right")
    for metric in found.metrics:
        table.add_row(metric, *(f"{values[metric]:.4f}" for values in columns.values()))
    Console().print(table)
