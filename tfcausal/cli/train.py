"""`tfcausal train`: fit a method on a data set."""

import json
from pathlib import Path
from typing import Any

import click

from tfcausal.cli.options import build_options, parse_settings, write_options


def _show_options(ctx: click.Context, _: click.Parameter, shown: bool) -> None:
    if not shown:
        return
    from tfcausal import methods
    from tfcausal.methods.options import HistoryOptions, MethodOptions, TowerOptions
    from tfcausal.training.options import TrainingOptions

    formatter = ctx.make_formatter()
    write_options(formatter, "Training, of every method", TrainingOptions)
    write_options(formatter, "Every method", MethodOptions)
    shared = {
        TowerOptions: "Methods whose users have a row in a table",
        HistoryOptions: "Methods whose users are histories",
    }
    for kind, title in shared.items():
        write_options(formatter, title, kind, besides=MethodOptions)
    for name in methods.names():
        own = methods.get(name).options_class
        (base,) = (kind for kind in shared if issubclass(own, kind))
        write_options(formatter, f"--method={name}", own, besides=base)
    click.echo(formatter.getvalue(), nl=False)
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
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option(
    "--options",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_options,
    help="List what --set takes, with defaults, and stop: what every method has, then "
    "what each has of its own.",
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
    What is shown of each epoch is its loss and the metric that decides; history.json
    has all of them.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from tfcausal import methods
    from tfcausal.cli.train_progress import ShowEpochs, best_epoch, read_history
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
    console = Console(stderr=True, quiet=quiet)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        # On what is no terminal it would end with an empty line.
        disable=not console.is_interactive,
    ) as progress:
        finished = train(
            opened,
            method,
            method_options,
            options,
            run,
            validator(opened, monitor=options.monitor),
            overwrite=overwrite,
            verbose=0,
            callbacks=[ShowEpochs(progress, run, options)],
        )
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    history = read_history(run)
    best = best_epoch(history, options.monitor)
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
