"""`tfcausal robustness`: what random clicks in histories cost a run."""

import json
from pathlib import Path

import click

from tfcausal.cli.run_options import dataset_option, protocol_option
from tfcausal.errors import InputError, unknown_name
from tfcausal.schema.protocol import protocol


@click.command("robustness")
@click.option(
    "--run",
    "runs",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="A finished run of a method whose users are histories; again for another.",
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
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    runs: tuple[Path, ...],
    shares: tuple[float, ...],
    metric: str,
    split: str,
    protocol_name: str,
    seed: int,
    dataset_folder: Path | None,
    as_json: bool,
) -> None:
    """Replace a share of each history by random clicks, and evaluate anew.

    The users' queries are made again of the changed histories; nothing is trained. All
    runs and shares have the same noise, and more of it keeps what less has replaced.
    Below the metric stands the concept AUC: how often an item of the user's own scores
    above a random one with what was met next; chance is 0.5.
    """
    from tfcausal.evaluation.noise import noise_curve
    from tfcausal.evaluation.validation import evaluation_set
    from tfcausal.methods.histories import HistoryMethod
    from tfcausal.training.restored import load_model
    from tfcausal.training.run import load_run

    chosen = protocol(protocol_name)
    curves = {}
    for folder in runs:
        run = load_run(folder)
        dataset = run.open_dataset(dataset_folder)
        method = load_model(run, dataset)
        if not isinstance(method, HistoryMethod):
            raise InputError(
                f"`--run` must be of a method whose users are histories; {folder} is "
                f"of {run.method}. Choose a run of causerec, comirec, mind, gru4rec or "
                "youtube_dnn."
            )
        against = evaluation_set(dataset, split, chosen)
        curve = noise_curve(method, dataset, against, chosen, shares=shares, seed=seed)
        if metric not in curve[0]:
            raise unknown_name("metric", metric, curve[0].keys() - {"noise"})
        curves[str(folder)] = curve
    if as_json:
        click.echo(json.dumps({"split": split, "seed": seed, "curves": curves}))
        return
    _print(
        curves, metric, f"{metric} on {split} over the share of noise, {chosen.name}"
    )


def _print(curves: dict[str, list[dict[str, float]]], metric: str, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from tfcausal.evaluation.noise import CONCEPT_AUC

    table = Table("run", title=title)
    first, *_ = curves.values()
    for point in first:
        table.add_column(f"{point['noise']:g}", justify="right")
    for run, curve in curves.items():
        table.add_row(run, *(f"{point[metric]:.4f}" for point in curve))
        aucs = (point.get(CONCEPT_AUC) for point in curve)
        cells = ("-" if auc is None else f"{auc:.4f}" for auc in aucs)
        table.add_row("  concept AUC", *cells)
    Console().print(table)
