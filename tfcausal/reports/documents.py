"""A reproduction as Markdown, as CSV and as a figure."""

import csv
import importlib.util
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfcausal.errors import InputError
from tfcausal.reports.reproduction import (
    CALIBRATED_BY,
    SHOWN,
    Reproduction,
    RowResult,
    in_words,
)

PLOTTED = "recall@20"
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
        Name of the row, whose figures these are, and a text for each of SHOWN and for
        SECONDS.
    """
    for result in found.rows:
        ours = {metric: cell(result, metric) for metric in SHOWN}
        spent = "-" if result.seconds is None else f"{result.seconds:,.0f}"
        whose = "here, calibrated" if result.calibrated else "here"
        yield result.row.name, whose, {**ours, SECONDS: spent}
        if result.calibrated:
            continue
        for data, figures in result.row.published.items():
            theirs = dict.fromkeys((*SHOWN, SECONDS), "-")
            # Four digits, or the five of a percentage with three.
            theirs |= {
                name: f"{value:.5f}".removesuffix("0")
                for name, value in figures.items()
            }
            yield result.row.name, f"paper, {data}", theirs


def calibrations(found: Reproduction) -> list[str]:
    """Returns a line for each calibrated training: its weights of causes and shift."""
    return [
        # A calibration that was kept has its causes in alphabetical order.
        f"{result.name}, seed {seed}: {in_words(dict(sorted(weights.items())))}"
        for result in found.rows
        for seed, weights in enumerate(result.weights)
    ]


def markdown(found: Reproduction, data: str, command: str) -> str:
    """Returns the document of a reproduction.

    Args:
        found: What came out.
        data: What the data set is to be called.
        command: The command that made it.
    """
    table, plan = found.table, found.plan
    seeds = f"seeds 0 to {plan.seeds - 1}" if plan.seeds > 1 else "seed 0"
    lines = [
        f"# {table.name}: {table.title}",
        "",
        f"    {command}",
        "",
        f"Data set `{data}`, test part, protocol `{found.protocol.name}` "
        f"({found.protocol.hash}), {found.num_users:,} users; {seeds}: mean"
        + (" +- standard deviation." if plan.seeds > 1 else "."),
    ]
    if table.source:
        lines += [
            "",
            f"The paper: {table.source}. Its figures are those of its own data sets, "
            "which are named, and of no other.",
        ]
    lines += ["", *_header(["row", "figures", *SHOWN, SECONDS])]
    lines += [
        _line([name, whose, *cells.values()]) for name, whose, cells in beside(found)
    ]
    lines += [
        "",
        "`popularity@20` is the mean popularity of what is shown; `seconds` the mean "
        "of a training, validation included.",
    ]
    if any(result.calibrated for result in found.rows):
        lines += [
            "",
            "Calibrated: weights of causes and a shift along log-popularity, chosen on "
            f"validation by {CALIBRATED_BY}.",
            "",
            *(f"- {line}" for line in calibrations(found)),
        ]
    lines += [f"\n{note}" for note in table.notes]
    lines += ["", "## What was tuned", ""]
    lines += [
        f"At most {counted(plan.trials, 'setting')} for each row, seed 0, by "
        f"validation {plan.training.monitor}; the first is the row's default, the "
        "others are drawn. The largest was trained with the other seeds.",
        "",
        *_header(["row", "setting", plan.training.monitor, "chosen"]),
    ]
    for result in found.rows:
        if result.calibrated:
            continue
        for trial in result.trials:
            lines.append(
                _line(
                    [
                        result.name,
                        in_words(trial.settings),
                        f"{trial.validation:.4f}",
                        "yes" if trial == result.trainings[0] else "",
                    ]
                )
            )
    return "\n".join(lines) + "\n"


def comma_separated(found: Reproduction) -> str:
    """Returns a line for each row, source and metric, with all digits.

    Columns: row, source ("here" or the paper's data set), metric, mean, deviation
    (empty for the paper's), seeds.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "source", "metric", "mean", "deviation", "seeds"])
    for result in found.rows:
        for metric in SHOWN:
            writer.writerow(
                [
                    result.name,
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
                    result.name,
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
                writer.writerow([result.name, data, metric, value, "", ""])
    return text.getvalue()


def write_documents(
    found: Reproduction, folder: Path, data: str, command: str
) -> list[Path]:
    """Writes NAME.md and NAME.csv, after the table, in place of earlier ones.

    Args:
        found: What came out.
        folder: The folder; made where it is not there.
        data: What the data set is to be called.
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


def require_plots(path: Path) -> None:
    """Raises InputError where a figure could not be written, before hours are spent."""
    if path.suffix != ".png":
        raise InputError(f"`--plot` must end in .png; got {path}.")
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError(
            "`--plot` needs matplotlib; it is not installed. Run pip install "
            "'tfcausal[plots]'."
        )


def write_plot(found: Reproduction, path: Path) -> None:
    """Writes bars of recall@20 with deviations over seeds, as PNG.

    Args:
        found: What came out.
        path: The file; its folder is made where it is not there.
    """
    from matplotlib.figure import Figure

    names = [result.name for result in found.rows]
    figure = Figure(figsize=(7, 1 + 0.4 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(
        names,
        [result.mean(PLOTTED) for result in found.rows],
        xerr=[result.deviation(PLOTTED) for result in found.rows],
        color=["0.7" if result.calibrated else "tab:blue" for result in found.rows],
        capsize=3,
    )
    axes.invert_yaxis()
    axes.set_xlabel(f"{PLOTTED} on test, mean and deviation over seeds")
    axes.set_title(found.table.title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _header(columns: Sequence[str]) -> list[str]:
    return [_line(columns), "|" + "---|" * len(columns)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
