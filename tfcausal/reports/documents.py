"""A reproduction as Markdown and as CSV."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfcausal.reports.reproduction import (
    CALIBRATED_BY,
    Plan,
    Reproduction,
    RowResult,
    in_words,
)
from tfcausal.reports.rows import Axis

SECONDS = "seconds"


def cell(result: RowResult, metric: str) -> str:
    """Returns a metric's mean over seeds, and its deviation where there are several."""
    digits = 0 if metric.startswith("popularity") else 4
    mean = f"{result.mean(metric):,.{digits}f}"
    if len(result.evaluations) == 1:
        return mean
    return f"{mean} +- {result.deviation(metric):,.{digits}f}"


def counted(number: int, what: str) -> str:
    """Returns a number of things, such as `1 seed` or `3 seeds`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def beside(found: Reproduction) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yields the lines of the table, the paper's figures below ours.

    Yields:
        Name of the row, whose figures these are, and a text for each metric that the
        table shows and for SECONDS.
    """
    shown = found.table.shown
    for result in found.rows:
        ours = {metric: cell(result, metric) for metric in shown}
        spent = "-" if result.seconds is None else f"{result.seconds:,.0f}"
        whose = "here, calibrated" if result.calibrated else "here"
        yield result.row.name, whose, {**ours, SECONDS: spent}
        if result.calibrated:
            continue
        for data, figures in result.row.published.items():
            theirs = dict.fromkeys((*shown, SECONDS), "-")
            # Four digits, or the five of a percentage with three.
            theirs |= {
                name: f"{value:.5f}".removesuffix("0")
                for name, value in figures.items()
                if name in shown
            }
            yield result.row.name, f"paper, {data}", theirs


def over_axis(
    found: Reproduction, axis: Axis, metric: str
) -> tuple[list[str], list[list[str]]]:
    """Returns a figure as a table: a line for each line of it, a column for each point.

    Args:
        found: What came out.
        axis: The table's axis.
        metric: What is shown.
    Returns:
        The header, and the cells of each line; "-" where a row has no such point.
    """
    lines = found.lines()
    points = sorted({point for line in lines.values() for point in line})
    return [axis.name, *(f"{point:g}" for point in points)], [
        [
            name,
            *(cell(line[point], metric) if point in line else "-" for point in points),
        ]
        for name, line in lines.items()
    ]


def users(found: Reproduction) -> str:
    """Returns how many users were averaged over, such as `943 users`."""
    counts = [row.num_users for row in found.rows]
    least, most = min(counts), max(counts)
    return f"{most:,} users" if least == most else f"{least:,} to {most:,} users"


def calibrations(found: Reproduction) -> list[str]:
    """Returns a line for each calibrated training: its weights of causes and shift."""
    lines = (
        # A calibration that was kept has its causes in alphabetical order.
        f"{_trained(result, found)}, calibrated, seed {seed}: "
        f"{in_words(dict(sorted(weights.items())))}"
        for result in found.rows
        for seed, weights in enumerate(result.weights)
    )
    return list(dict.fromkeys(lines))


def _knobs(plan: Plan) -> str:
    knobs = "weights of causes and a shift along log-popularity"
    if not plan.norms:
        return knobs
    return f"{knobs}, and how much of items' norms counts in the first cause"


def map_commands(found: Reproduction) -> list[str]:
    """Returns a line for each row with something to be drawn: how to draw it."""
    maps, user_maps = (
        found.first_runs(names) for names in (found.table.maps, found.table.user_maps)
    )
    return [
        *(
            f"Items of {name}: tfcausal disentangle --run={run.folder} "
            f"--picture={name}.png"
            for name, run in maps.items()
        ),
        *(
            f"Users of {name} among their items: the same command with --plot=PNG"
            for name in user_maps
        ),
    ]


def _trained(result: RowResult, found: Reproduction) -> str:
    """Returns the row's name, and what split it was trained on where there are more."""
    axis = found.table.axis
    if axis is None or not found.table.has_many_splits:
        return result.row.name
    return f"{result.row.name}, {axis.name} {result.point:g}"


def markdown(found: Reproduction, data: Sequence[str], command: str) -> str:
    """Returns the document of a reproduction.

    Args:
        found: What came out.
        data: What each data set is to be called.
        command: The command that made it.
    """
    table, plan, axis = found.table, found.plan, found.table.axis
    seeds = f"seeds 0 to {plan.seeds - 1}" if plan.seeds > 1 else "seed 0"
    lines = [
        f"# {table.name}: {table.title}",
        "",
        f"    {command}",
        "",
        f"Data set{'s' if len(data) > 1 else ''} "
        f"{', '.join(f'`{one}`' for one in data)}, "
        f"{'test parts' if axis and axis.over == 'parts' else 'test part'}, protocol "
        f"`{found.protocol.name}` ({found.protocol.hash}), {users(found)}; "
        f"{seeds}: mean" + (" +- standard deviation." if plan.seeds > 1 else "."),
    ]
    if table.source:
        lines += ["", f"The paper: {table.source}."]
        if any(result.row.published for result in found.rows):
            lines[-1] += (
                " Its figures are those of its own data sets, which are named, and of "
                "no other."
            )
    lines += _over_axis(found, axis) if axis else _all_metrics(found)
    if any(result.calibrated for result in found.rows):
        lines += [
            "",
            f"Calibrated: {_knobs(plan)}, chosen on validation by {CALIBRATED_BY}.",
            "",
            *(f"- {line}" for line in calibrations(found)),
        ]
    lines += [f"\n{note}" for note in table.notes]
    if drawn := map_commands(found):
        lines += ["", *(f"- {line}" for line in drawn)]
    lines += ["", "## What was tuned", ""]
    lines += [
        f"At most {counted(plan.trials, 'setting')} for each row, seed 0, by "
        f"validation {plan.training.monitor}; the first is the row's default, the "
        "others are drawn. The largest was trained with the other seeds.",
        "",
        *_header(["row", "setting", "by", "validation", "chosen", "run"]),
    ]
    tried = (
        _line(
            [
                _trained(result, found),
                in_words(trial.settings),
                f"{CALIBRATED_BY}, calibrated"
                if result.calibrated
                else plan.training.monitor,
                f"{trial.validation:.4f}",
                "yes" if trial == result.trainings[0] else "",
                trial.run.folder.name,
            ]
        )
        for result in found.rows
        for trial in result.trials
    )
    # A training that is read at several points is one training.
    lines += dict.fromkeys(tried)
    return "\n".join(lines) + "\n"


def _all_metrics(found: Reproduction) -> list[str]:
    return [
        "",
        *_header(["row", "figures", *found.table.shown, SECONDS]),
        *(
            _line([name, whose, *cells.values()])
            for name, whose, cells in beside(found)
        ),
        "",
        "`popularity@20` is the mean popularity of what is shown; `seconds` the mean "
        "of a training, validation included.",
    ]


def _over_axis(found: Reproduction, axis: Axis) -> list[str]:
    lines = []
    for metric in axis.metrics:
        header, cells = over_axis(found, axis, metric)
        lines += ["", f"`{metric}`:", "", *_header(header), *map(_line, cells)]
    return lines


def comma_separated(found: Reproduction) -> str:
    """Returns a line for each row, source and metric, with all digits.

    Columns: row, point (empty without an axis), source ("here" or the paper's data
    set), metric, mean, deviation (empty for the paper's), seeds.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "point", "source", "metric", "mean", "deviation", "seeds"])
    for result in found.rows:
        # csv writes None as nothing.
        place = [result.name, result.point]
        for metric in found.table.shown:
            writer.writerow(
                [
                    *place,
                    "here",
                    metric,
                    result.mean(metric),
                    result.deviation(metric),
                    len(result.evaluations),
                ]
            )
        if result.seconds is not None:
            writer.writerow(
                [
                    *place,
                    "here",
                    SECONDS,
                    result.seconds,
                    "",
                    len(result.trainings),
                ]
            )
        if result.calibrated:
            continue
        for data, figures in result.row.published.items():
            for metric, value in figures.items():
                writer.writerow([*place, data, metric, value, "", ""])
    return text.getvalue()


def write_documents(
    found: Reproduction, folder: Path, data: Sequence[str], command: str
) -> list[Path]:
    """Writes NAME.md and NAME.csv, after the table, in place of earlier ones.

    Args:
        found: What came out.
        folder: The folder; made where it is not there.
        data: What each data set is to be called.
        command: The command that made it.
    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, text in (
        ("md", markdown(found, data, command)),
        ("csv", comma_separated(found)),
    ):
        path = folder / f"{found.table.name}.{suffix}"
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _header(columns: Sequence[str]) -> list[str]:
    return [_line(columns), "|" + "---|" * len(columns)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
