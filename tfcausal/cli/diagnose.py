"""`tfcausal diagnose`: how much of what is shown is popularity."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfcausal.cli.run_options import dataset_option
from tfcausal.cli.weights import calibration_in_words
from tfcausal.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from tfcausal.evaluation.diagnosis import Diagnosis


@click.command("diagnose")
@click.option("--run", type=click.Path(path_type=Path), help="A finished run.")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="An exported model instead of --run; its data set is not needed.",
)
@click.option("--k", default=20, show_default=True, help="Length of the lists.")
@click.option(
    "--users",
    "num_users",
    default=2_000,
    show_default=True,
    help="At most so many users' lists are looked at, always the same.",
)
@click.option(
    "--calibrated/--as_trained",
    default=False,
    help="Whether to apply what `tfcausal calibrate` chose to the run; an exported "
    "model is taken as it is.  [default: as_trained]",
)
@dataset_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    run: Path | None,
    model: Path | None,
    k: int,
    num_users: int,
    calibrated: bool,
    dataset_folder: Path | None,
    as_json: bool,
) -> None:
    """Look at users' lists beside the most popular items and the interactions.

    docs/diagnosis.md says what each figure means and what helps against it.
    """
    if (run is None) == (model is None):
        raise InputError("`--run` or `--model` must be given, and not both.")
    if model is not None and (calibrated or dataset_folder is not None):
        raise InputError(
            "`--calibrated` and `--dataset` must go with --run; an exported model has "
            "its calibration and its history in it."
        )

    from tfcausal.data.interactions import read_part, read_popularity
    from tfcausal.evaluation.calibration import load_calibration
    from tfcausal.evaluation.diagnosis import diagnose
    from tfcausal.evaluation.ranking import ItemLists
    from tfcausal.schema.dataset import TRAINING_PARTS
    from tfcausal.schema.exported import find_version
    from tfcausal.schema.manifest import read_manifest
    from tfcausal.serving.export import read_back
    from tfcausal.training.run import load_run

    applied: Mapping[str, Any] | None = None
    if model is not None:
        place = find_version(model)
        vectors, seen, popularity = read_back(place)
        applied = read_manifest(place, kind="export").details.get("calibration")
    elif run is not None:
        place = run
        finished = load_run(run)
        dataset = finished.open_dataset(dataset_folder)
        rows = read_part(dataset.folder, dataset.parts(TRAINING_PARTS))
        seen = ItemLists.from_interactions(rows, dataset.num_users)
        popularity = read_popularity(dataset)
        vectors = finished.vectors()
        if calibrated:
            calibration = load_calibration(finished)
            vectors = calibration.apply(vectors, popularity)
            applied = calibration.to_json()
    found = diagnose(vectors, seen, popularity, k=k, num_users=num_users)
    if as_json:
        content = {
            "diagnosed": str(place),
            "calibrated": applied is not None,
            **found.to_json(),
        }
        click.echo(json.dumps(content, sort_keys=True))
        return
    changed = "" if applied is None else f", {calibration_in_words(applied)}"
    _print(f"{place}{changed}", found)


def _print(name: str, found: "Diagnosis") -> None:
    from rich.console import Console

    console = Console()
    console.print(
        _table(
            f"{name}: lists of {found.k}, {found.num_users:,} users",
            {
                "shown": found.shown,
                "ItemPop": found.itempop,
                "interactions": found.interactions,
            },
        )
    )
    console.print(_table("causes", found.causes))


def _table(title: str, columns: Mapping[str, Mapping[str, float]]) -> "Table":
    from rich.table import Table

    table = Table("", title=title)
    for name in columns:
        table.add_column(name, justify="right")
    for figure in next(iter(columns.values())):
        table.add_row(
            figure,
            *(
                f"{values[figure]:.4f}" if figure in values else "-"
                for values in columns.values()
            ),
        )
    return table
