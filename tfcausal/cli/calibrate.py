"""`tfcausal calibrate`: weights of causes chosen after training, on validation."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tfcausal.cli.run_options import (
    dataset_option,
    ks_option,
    protocol_option,
    run_option,
)
from tfcausal.cli.weights import in_words
from tfcausal.schema.protocol import protocol

if TYPE_CHECKING:
    from tfcausal.evaluation.calibration import Calibration


@click.command("calibrate")
@run_option
@click.option(
    "--metric",
    help="What to make as large as possible: recall, hr, ndcg or coverage at one of "
    "the cut-offs.  [default: recall at the first of them]",
)
@click.option(
    "--target_popularity",
    type=float,
    help="Reach this mean popularity of the listed items instead; of --metric only "
    "the cut-off then counts.",
)
@click.option(
    "--norms",
    is_flag=True,
    help="Choose too how much of the norm of items' vectors of the first cause counts: "
    "they are divided by it to a power from 0 to 1.",
)
@click.option(
    "--split",
    default="validation",
    show_default=True,
    help="The part to choose on. Test parts are refused: their figures would be too "
    "good.",
)
@protocol_option
@ks_option
@click.option(
    "--users",
    "num_users",
    default=10_000,
    show_default=True,
    help="At most so many users are ranked for, always the same.",
)
@dataset_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    run: Path,
    metric: str | None,
    target_popularity: float | None,
    norms: bool,
    split: str,
    protocol_name: str,
    ks: tuple[int, ...],
    num_users: int,
    dataset_folder: Path | None,
    as_json: bool,
) -> None:
    """Choose the weight of each cause, and a shift along log-popularity.

    What is met often grows long vectors, so that norms of interest still know how
    popular items are: --norms lets validation say how much of them counts.

    Nothing is trained again. The choice is kept as calibration.json in the run's
    folder, in place of an earlier one; `evaluate --calibrated` and `export
    --calibrated` apply it.
    """
    from rich.console import Console

    from tfcausal.evaluation.calibration import (
        calibrate,
        calibration_metric,
        require_calibration_part,
        save_calibration,
    )
    from tfcausal.evaluation.validation import evaluation_set
    from tfcausal.training.run import load_run

    require_calibration_part(split)
    chosen = protocol(protocol_name)
    if ks:
        chosen = replace(chosen, ks=ks)
    metric = calibration_metric(chosen, metric)
    finished = load_run(run)
    dataset = finished.open_dataset(dataset_folder)
    console = Console(stderr=True)
    with console.status("Ranking as trained") as status:

        def report(values: Mapping[str, float], value: float) -> None:
            # On what is no terminal the status shows nothing.
            status.update(f"Tried {in_words(values)}: {value:.4f}")

        found = calibrate(
            finished.vectors(),
            evaluation_set(dataset, split, chosen),
            chosen,
            metric=metric,
            target_popularity=target_popularity,
            norms=norms,
            part=split,
            num_users=num_users,
            report=report,
        )
    save_calibration(finished, found)
    path = finished.calibration_path
    if as_json:
        result = {"run": str(run), "calibration": str(path), **found.to_json()}
        click.echo(json.dumps(result, sort_keys=True))
        return
    _print(found)
    click.echo(f"written to {path}")


def _print(found: "Calibration") -> None:
    from rich.console import Console
    from rich.table import Table

    aim = "as large as possible" if found.target is None else f"near {found.target:g}"
    table = Table(
        title=f"{found.part}, protocol {found.protocol}, {found.num_users:,} users: "
        f"{found.metric} {aim}"
    )
    table.add_column("")
    for name in ("as trained", "calibrated"):
        table.add_column(name, justify="right")
    for cause, weight in found.weights.items():
        table.add_row(f"weight of {cause}", "1", f"{weight:.4g}")
    table.add_row("shift along log-popularity", "0", f"{found.shift:.4g}")
    if found.norm_power is not None:
        first = next(iter(found.weights))
        table.add_row(f"power of norms of {first}", "0", f"{found.norm_power:.4g}")
    table.add_section()
    for metric, before in found.as_trained.items():
        table.add_row(metric, f"{before:.4f}", f"{found.calibrated[metric]:.4f}")
    Console().print(table)
    for cause, weight in found.weights.items():
        if weight == 0:
            click.echo(
                f"`{cause}` is left out. Of an export with this calibration no request "
                "can bring it back; `tfcausal export --as_trained` keeps it."
            )
