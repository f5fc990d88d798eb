"""`tfcausal reproduce`: a paper's table or figure, tuned alike for every row."""

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from tfcausal.cli.options import build_options, parse_settings
from tfcausal.errors import InputError, unknown_name
from tfcausal.reports.rows import Table
from tfcausal.reports.tables import TABLES, table
from tfcausal.schema.options import field_types, parse_value
from tfcausal.schema.protocol import protocol

if TYPE_CHECKING:
    from tfcausal.reports.reproduction import Reproduction
    from tfcausal.training.options import TrainingOptions

TRIALS = 6
SEEDS = 3
WIDTH_OF_ALL = 190
"""Columns of a terminal on which all metrics stand side by side."""


def _cost(one: Table) -> str:
    trainings = f"{one.num_trainings(TRIALS, SEEDS, calibrated=False)} trainings"
    return f"{trainings} for each data set" if one.has_many_splits else trainings


def _show_tables(ctx: click.Context, _: click.Parameter, shown: bool) -> None:
    if not shown:
        return
    for one in TABLES.values():
        click.echo(f"{one.name}: {one.title} ({_cost(one)})")
        if one.source:
            click.echo(f"  {one.source}")
        if one.axis:
            click.echo(f"  over {one.axis.name}")
        for row in one.rows:
            tuned = ", ".join(row.tuned)
            fixed = " ".join(f"{name}={value}" for name, value in row.fixed.items())
            what = f"{row.method}, tuned: {tuned}; {fixed}" if tuned else "not trained"
            click.echo(f"    {row.name}: {what}")
    ctx.exit()


def _require_table(ctx: click.Context, _: click.Parameter, name: str | None) -> str:
    """Raises InputError with all tables where none is named."""
    if name is None and not ctx.resilient_parsing:
        width = max(map(len, TABLES))
        lines = [
            f"  {one.name:{width}}  {one.title} ({one.source or 'of no paper'})"
            for one in TABLES.values()
        ]
        raise InputError(
            "`TABLE` must be one of these; got none. `tfcausal reproduce --list` shows "
            "their rows.\n" + "\n".join(lines)
        )
    return name or ""


@click.command(
    "reproduce",
    epilog="What it costs: for each row TRIALS + SEEDS - 1 trainings of at most EPOCHS "
    "epochs, none for ItemPop, and a ranking of the test users for each seed; "
    "calibrated rows SEEDS - 1 more where another setting is their best. --list says "
    "how many trainings that is in all with the defaults; fewer with --row, --trials "
    "and --seeds.",
)
@click.argument(
    "table_name",
    metavar="TABLE",
    required=False,
    is_eager=True,
    callback=_require_table,
)
@click.option(
    "--dataset",
    "--data",
    "dataset_folders",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of a data set that has been split and whose popularity is counted. "
    "A figure over splits takes one for each split.",
)
@click.option(
    "--runs",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of runs: each training gets a folder in it, named by its content, "
    "which other verbs take as --run. Several tables may share it.",
)
@click.option(
    "--trials",
    default=TRIALS,
    show_default=True,
    help="Settings to try for each row, the default first.",
)
@click.option(
    "--seeds", default=SEEDS, show_default=True, help="Seeds of the best setting."
)
@click.option(
    "--epochs",
    default=100,
    show_default=True,
    help="At most so many in each training; all stop early by the same patience.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of training, or of methods, for all rows that have it, such as "
    "batch_size or margin; may be given again and again.",
)
@click.option(
    "--tune",
    "ranges",
    multiple=True,
    metavar="NAME=VALUE,...",
    help="Values to tune an option over in place of the table's, the first tried "
    "first, for all rows that tune it; may be given again for another option.",
)
@click.option(
    "--row",
    "rows",
    multiple=True,
    metavar="NAME",
    help="A row; may be given again.  [default: all rows]",
)
@click.option(
    "--protocol",
    "protocol_name",
    help="How lists are made and averaged: dice, dccl, causerec or cadvae.  [default: "
    "the table's]",
)
@click.option("--calibrated", is_flag=True, help="Add each row calibrated.")
@click.option(
    "--norms",
    is_flag=True,
    help="With --calibrated: let calibration choose how much of items' norms counts.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder to write NAME.md and NAME.csv to, NAME being the table's.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    help="PNG to draw recall@20 to, or a figure's lines; maps of items beside it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_tables,
    help="List tables, rows and what is tuned, and stop.",
)
def command(
    table_name: str,
    dataset_folders: tuple[Path, ...],
    runs: Path,
    trials: int,
    seeds: int,
    epochs: int,
    settings: tuple[str, ...],
    ranges: tuple[str, ...],
    rows: tuple[str, ...],
    protocol_name: str | None,
    calibrated: bool,
    norms: bool,
    output: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Train and tune all rows of a paper's TABLE or figure, and compare them.

    Every row may try the same number of settings on validation; the best one is trained
    with several seeds and evaluated on the test part. Called again after an
    interruption, it goes on where it was; what is finished is not trained again.
    """
    asked = table(table_name).only(rows)
    chosen = protocol(protocol_name or asked.protocol)

    import tensorflow as tf
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from tfcausal.data.interactions import open_dataset
    from tfcausal.reports.documents import write_documents
    from tfcausal.reports.plots import require_plots, write_plots
    from tfcausal.reports.points import require_points
    from tfcausal.reports.reproduction import Plan, fit_table, joined, reproduce

    # Each training traces its step, which TensorFlow takes for a fault.
    tf.get_logger().setLevel("ERROR")
    if plot:
        require_plots(plot)
    asked = asked.tuned_over(_ranges(asked, ranges))
    training, of_methods = _options(asked, settings, epochs)
    if norms and not (calibrated or asked.calibrated):
        raise InputError(
            "`--norms` must go with --calibrated, whose choice it widens; got it alone."
        )
    plan = Plan(trials, seeds, calibrated, norms, training, of_methods)
    datasets = [open_dataset(folder) for folder in dataset_folders]
    require_points(asked.axis, datasets)
    fitted = [fit_table(asked, dataset, of_methods) for dataset in datasets]
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
    ) as progress:
        total = sum(
            one.num_trainings(trials, seeds, calibrated=calibrated) for one in fitted
        )
        task = progress.add_task("", total=total)

        def begin(what: str) -> None:
            progress.update(task, description=what)

        def end(said: str) -> None:
            progress.print(said, highlight=False, soft_wrap=True)
            progress.advance(task)

        found = joined(
            [
                reproduce(one, dataset, runs, plan, chosen=chosen, begin=begin, end=end)
                for one, dataset in zip(fitted, datasets, strict=True)
            ]
        )
    written = []
    if output:
        names = [folder.resolve().name for folder in dataset_folders]
        written += write_documents(found, output, names, _command_line())
    if plot:
        written += write_plots(found, datasets[0], plot)
    if as_json:
        result: dict[str, Any] = {
            "datasets": [str(folder) for folder in dataset_folders],
            **found.to_json(),
            "written": [str(path) for path in written],
        }
        click.echo(json.dumps(result, sort_keys=True))
        return
    _print(found)
    for path in written:
        click.echo(f"written to {path}")


def _kinds(asked: Table) -> dict[str, Any]:
    """Returns the type of each option of the rows' methods."""
    from tfcausal.reports.reproduction import options_classes

    return {
        name: kind
        for options_class in options_classes(asked)
        for name, kind in field_types(options_class).items()
    }


def _ranges(asked: Table, texts: tuple[str, ...]) -> dict[str, tuple[Any, ...]]:
    """Reads --tune, and finds values that cannot be trained before any training."""
    from tfcausal.reports.trainings import options_of
    from tfcausal.training.options import TrainingOptions

    kinds = _kinds(asked) | field_types(TrainingOptions)
    ranges: dict[str, tuple[Any, ...]] = {}
    for name, text in parse_settings(texts, "--tune").items():
        if name not in asked.tuned:
            raise unknown_name("tuned option", name, asked.tuned)
        values = [parse_value(name, one, kinds[name]) for one in text.split(",")]
        if len(set(values)) < len(values):
            raise InputError(f"`--tune {name}` must not repeat a value; got {text}.")
        for row in asked.rows:
            for value in values if name in row.tuned else ():
                options_of(row.method, {**row.fixed, name: value}, TrainingOptions())
        ranges[name] = tuple(values)
    return ranges


def _options(
    asked: Table, settings: tuple[str, ...], epochs: int
) -> tuple["TrainingOptions", dict[str, Any]]:
    """Splits --set into options of training and options of the rows' methods."""
    from tfcausal.training.options import TrainingOptions

    parsed = parse_settings(settings)
    of_training = set(field_types(TrainingOptions))
    kinds = _kinds(asked)
    of_methods: dict[str, Any] = {}
    for name in list(parsed):
        if name in asked.tuned:
            raise InputError(
                f"`--set {name}` must not be given: rows are tuned on it. Give the "
                f"values to try, or a single one, as --tune {name}={parsed[name]}."
            )
        if name == "seed":
            raise InputError(
                "`--set seed` must be given as --seeds, how many there are."
            )
        if name in kinds:
            of_methods[name] = parse_value(name, parsed.pop(name), kinds[name])
        elif name not in of_training:
            raise unknown_name("option", name, {*kinds, *of_training})
    (training,) = build_options([TrainingOptions], parsed, epochs=epochs)
    return training, of_methods


def _command_line() -> str:
    """Returns the command with the options that were given, for the document."""
    ctx = click.get_current_context()
    words = ["tfcausal", "reproduce", str(ctx.params["table_name"])]
    for parameter in ctx.command.params:
        name = parameter.name or ""
        given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not isinstance(parameter, click.Option) or not given:
            continue
        flag, value = parameter.opts[0], ctx.params[name]
        if parameter.is_flag:
            words.append(flag)
        elif parameter.multiple:
            words += [word for one in value for word in (flag, str(one))]
        else:
            words.append(f"{flag}={value}")
    return shlex.join(words)


def _print(found: "Reproduction") -> None:
    from rich.console import Console
    from rich.table import Table as Shown

    from tfcausal.reports.documents import (
        SECONDS,
        beside,
        calibrations,
        counted,
        map_commands,
        over_axis,
        users,
    )

    console = Console()
    title = (
        f"{found.table.title}\ntest, protocol {found.protocol.name}, {users(found)}, "
        f"{counted(found.plan.seeds, 'seed')}"
    )

    def show(title: str, header: list[str], lines: Iterable[list[str]]) -> None:
        texts = 1 if found.table.axis else 2
        shown = Shown(title=title)
        for column in header[:texts]:
            shown.add_column(column, overflow="fold")
        for column in header[texts:]:
            shown.add_column(column, justify="right", no_wrap=True)
        for line in lines:
            shown.add_row(*line)
        console.print(shown)

    if found.table.axis is None:
        metrics = [*found.table.shown, SECONDS]
        if console.width < WIDTH_OF_ALL:
            k = _printed_cut_off(found)
            metrics = [f"recall@{k}", f"ndcg@{k}", "popularity@20"]
        lines = (
            [name, whose, *(cells[metric] for metric in metrics)]
            for name, whose, cells in beside(found)
        )
        show(title, ["row", "figures", *metrics], lines)
    else:
        for metric in found.table.axis.metrics:
            show(f"{title}\n{metric}", *over_axis(found, found.table.axis, metric))
    for note in (*calibrations(found), *found.table.notes, *map_commands(found)):
        console.print(note, highlight=False, soft_wrap=True)


def _printed_cut_off(found: "Reproduction") -> int:
    """Returns 20, or 50 where that is the only one that the paper prints."""
    printed = {
        metric
        for result in found.rows
        for figures in result.row.published.values()
        for metric in figures
    }
    return 50 if "recall@50" in printed and "recall@20" not in printed else 20
