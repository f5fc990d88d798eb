"""`tfcausal diversity`: a run's accuracy and diversity over the weight of diversity."""

import json
from dataclasses import replace
from pathlib import Path

import click

from tfcausal.cli.run_options import (
    dataset_option,
    ks_option,
    protocol_option,
    run_option,
)
from tfcausal.schema.protocol import protocol


@click.command("diversity")
@run_option
@click.option(
    "--concept",
    required=True,
    help="In whose values items of a list are to differ, such as genres; "
    "beam_jobs.item_concepts makes concepts of a data set's features.",
)
@click.option(
    "--weight",
    "weights",
    type=float,
    multiple=True,
    default=(0.0, 0.01, 0.03, 0.1, 0.3, 1.0),
    show_default=True,
    help="Added to an item's score for each item of the list that it shares no value "
    "with; again for another.",
)
@click.option(
    "--pool",
    default=4,
    show_default=True,
    help="Candidates of a list, as a multiple of the longest list.",
)
@ks_option
@click.option(
    "--split", default="test", show_default=True, help="The part of the split."
)
@protocol_option
@click.option(
    "--calibrated/--as_trained",
    default=False,
    help="Whether to apply what `tfcausal calibrate` chose.  [default: as_trained]",
)
@dataset_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    run: Path,
    concept: str,
    weights: tuple[float, ...],
    pool: int,
    ks: tuple[int, ...],
    split: str,
    protocol_name: str,
    calibrated: bool,
    dataset_folder: Path | None,
    as_json: bool,
) -> None:
    """Make lists whose items differ, and show what that costs in accuracy.

    Lists are filled one place at a time by the item with the largest score plus weight
    times the number of items in the list that it shares no value with (ComiRec's
    controllable aggregation). diversity is the share of a list's pairs without a common
    value. Scores of methods differ in size, and so do the weights that matter.
    """
    from tfcausal.data.concept_rows import read_concept
    from tfcausal.evaluation.calibration import load_calibration
    from tfcausal.evaluation.diversity import diversity_curve
    from tfcausal.evaluation.validation import evaluation_set
    from tfcausal.training.run import load_run

    chosen = protocol(protocol_name)
    if ks:
        chosen = replace(chosen, ks=ks)
    loaded = load_run(run)
    dataset = loaded.open_dataset(dataset_folder)
    against = evaluation_set(dataset, split, chosen)
    vectors = loaded.vectors()
    if calibrated:
        vectors = load_calibration(loaded).apply(vectors, against.popularity)
    curve = diversity_curve(
        vectors,
        against,
        chosen,
        read_concept(dataset, concept).items,
        weights=weights,
        pool=pool,
    )
    if as_json:
        result = {
            "run": str(run),
            "split": split,
            "concept": concept,
            "pool": pool,
            "protocol": chosen.name,
            "calibrated": calibrated,
            "curve": curve,
        }
        click.echo(json.dumps(result))
        return
    kind = "calibrated" if calibrated else "as trained"
    title = f"{run.name} on {split}, {kind}: lists that differ in {concept}"
    _print(curve, chosen.ks[0], title)


def _print(curve: list[dict[str, float]], k: int, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = [f"{name}@{k}" for name in ("recall", "ndcg", "diversity", "coverage")]
    table = Table(title=title)
    for column in ("weight", *shown):
        table.add_column(column, justify="right")
    for point in curve:
        cells = (f"{point[metric]:.4f}" for metric in shown)
        table.add_row(f"{point['weight']:g}", *cells)
    Console().print(table)
