"""`tfcausal robustness`: what random clicks in histories cost a run."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfcausal.cli.run_options import dataset_option, protocol_option
from tfcausal.errors import InputError, unknown_name
from tfcausal.schema.protocol import protocol

if TYPE_CHECKING:
    from tfcausal.evaluation.metrics import Float64s
    from tfcausal.reports.robustness import NoiseLine


@click.command("robustness")
@click.option(
    "--run",
    "runs",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="A finished run of a method whose users are histories; again for another. "
    "Runs that differ by their seed alone are shown as their mean.",
)
@click.option(
    "--noise",
    "shares",
    type=float,
    multiple=True,
    default=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
    show_default=True,
    help="Share of each history to replace by random clicks; again for another.",
)
@click.option(
    "--metric", default="recall@20", show_default=True, help="The metric to show."
)
@click.option(
    "--split", default="test", show_default=True, help="The part of the split."
)
@protocol_option
@click.option("--seed", default=0, show_default=True, help="Seed of the noise.")
@dataset_option
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    help="PNG to draw the metric to, over the share of noise (the extra `plots`).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    runs: tuple[Path, ...],
    shares: tuple[float, ...],
    metric: str,
    split: str,
    protocol_name: str,
    seed: int,
    dataset_folder: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Replace a share of each history by random clicks, and evaluate anew.

    The users' queries are made again of the changed histories; nothing is trained. All
    runs and shares have the same noise, and more of it keeps what less has replaced.
    The last column, where there are several shares, is how much of the metric is lost
    from the first to the last.
    Below the metric stands the concept AUC: how often an item of the user's own scores
    above a random one with what was met next; chance is 0.5.
    """
    from rich.console import Console
    from rich.progress import track

    from tfcausal.evaluation.noise import NOISE, noise_curve
    from tfcausal.evaluation.validation import evaluation_set
    from tfcausal.methods.histories import HistoryMethod
    from tfcausal.reports.plots import require_plots, write_noise_plot
    from tfcausal.reports.robustness import noise_lines, settings_of
    from tfcausal.training.restored import load_model
    from tfcausal.training.run import load_run

    if plot:
        require_plots(plot)
    chosen = protocol(protocol_name)
    groups = settings_of(map(load_run, runs))
    curves = {}
    for run in track(
        [run for group in groups for run in group],
        "runs with noise",
        console=Console(stderr=True),
    ):
        dataset = run.open_dataset(dataset_folder)
        method = load_model(run, dataset)
        if not isinstance(method, HistoryMethod):
            raise InputError(
                "`--run` must be of a method whose users are histories; "
                f"{run.folder} is of {run.method}. Choose a run of causerec, comirec, "
                "mind, gru4rec or youtube_dnn."
            )
        against = evaluation_set(dataset, split, chosen)
        curve = noise_curve(method, dataset, against, chosen, shares=shares, seed=seed)
        if metric not in curve[0]:
            raise unknown_name("metric", metric, curve[0].keys() - {NOISE})
        curves[str(run.folder)] = curve
    lines = noise_lines(groups, curves)
    if plot:
        write_noise_plot(lines, metric, split, plot)
    if as_json:
        result: dict[str, Any] = {
            "split": split,
            "protocol": chosen.name,
            "seed": seed,
            "curves": curves,
            "lines": [line.to_json() for line in lines],
        }
        if plot:
            result["plot"] = str(plot)
        click.echo(json.dumps(result, sort_keys=True))
        return
    _print(lines, metric, f"{metric} on {split} over the share of noise, {chosen.name}")
    if plot:
        click.echo(f"written to {plot}")


def _print(lines: Sequence["NoiseLine"], metric: str, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from tfcausal.evaluation.noise import CONCEPT_AUC

    console = Console()
    console.print(title, highlight=False)
    for line in lines:
        shares = [f"{share:g}" for share in line.shares]
        table = Table("noise", title=line.name, title_justify="left")
        for share in shares:
            table.add_column(share, justify="right")
        values = _cells(line.mean(metric))
        if len(shares) > 1:
            table.add_column(f"lost, {shares[0]} to {shares[-1]}", justify="right")
            lost = line.lost(metric)
            values.append("-" if math.isnan(lost) else f"{lost:.1%}")
        table.add_row(metric, *values)
        if len(line.runs) > 1:
            table.add_row("deviation", *_cells(line.deviation(metric)))
        table.add_row("concept AUC", *_cells(line.mean(CONCEPT_AUC)))
        console.print(table)


def _cells(values: "Float64s") -> list[str]:
    return ["-" if math.isnan(value) else f"{value:.4f}" for value in values]
