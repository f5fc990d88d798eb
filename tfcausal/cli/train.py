"""`tfcausal train`: fit a method on a data set."""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import click

from tfcausal.cli.options import build_options, describe_options, parse_settings


def _show_options(ctx: click.Context, _: click.Parameter, shown: bool) -> None:
    if not shown:
        return
    from tfcausal import methods
    from tfcausal.training.options import TrainingOptions

    for name in methods.names():
        click.echo(f"--method={name}")
        click.echo(describe_options(methods.get(name).options_class))
    click.echo("every method")
    click.echo(describe_options(TrainingOptions))
    ctx.exit()


@click.command("train")
@click.option("--method", required=True, help="Name of the method, such as mf or dice.")
@click.option(
    "--dataset",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder that ingest, split and popularity have filled.",
)
@click.option(
    "--run", required=True, type=click.Path(path_type=Path), help="The run's folder."
)
@click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the method or of training; may be given again and again.",
)
@click.option("--overwrite", is_flag=True, help="Throw away what the folder holds.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option(
    "--options",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_options,
    help="List what --set takes, with defaults, and stop.",
)
def command(
    method: str,
    dataset: Path,
    run: Path,
    seed: int,
    settings: tuple[str, ...],
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Fit a method; called again after an interruption, go on where it stopped.

    The best epoch by validation is kept. The run's folder then holds vectors, metrics,
    history and TensorBoard logs; `tfcausal evaluate` and `tfcausal export` read it.
    """
    from tfcausal import methods
    from tfcausal.data.interactions import open_dataset
    from tfcausal.evaluation.validation import validator
    from tfcausal.training.options import TrainingOptions
    from tfcausal.training.trainer import train

    method_options, options = build_options(
        [methods.get(method).options_class, TrainingOptions],
        parse_settings(settings),
        seed=seed,
    )
    opened = open_dataset(dataset)
    # Keras prints its progress where results are to be printed: a bar on a terminal, a
    # line an epoch elsewhere.
    verbose = 0 if quiet else 1 if sys.stderr.isatty() else 2
    with contextlib.redirect_stdout(sys.stderr):
        finished = train(
            opened,
            method,
            method_options,
            options,
            run,
            validator(opened, monitor=options.monitor),
            overwrite=overwrite,
            verbose=verbose,
        )
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    history = json.loads((run / "history.json").read_text(encoding="utf-8"))
    best = max(history, key=lambda epoch: float(epoch[f"val_{options.monitor}"]))
    result: dict[str, Any] = {
        "run": str(finished.folder),
        "method": method,
        "epochs": len(history),
        "best_epoch": best["epoch"],
        "validation": metrics["validation"],
    }
    if as_json:
        click.echo(json.dumps(result, sort_keys=True))
        return
    click.echo(
        f"{run}: {method}, best epoch {best['epoch'] + 1} of {len(history)} by "
        f"validation {options.monitor} = {best[f'val_{options.monitor}']:.4f}."
    )
