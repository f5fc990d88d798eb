"""Figures as pictures: bars, lines over an axis, maps of items and of users."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from tfcausal.data.interactions import CheckedDataset, read_popularity
from tfcausal.errors import InputError
from tfcausal.evaluation.metrics import Float64s
from tfcausal.evaluation.validation import evaluation_set
from tfcausal.reports.pictures import save_item_map, save_user_map
from tfcausal.reports.reproduction import Reproduction
from tfcausal.reports.robustness import NoiseLine
from tfcausal.reports.rows import Axis
from tfcausal.schema.dataset import TEST

PLOTTED = "recall@20"
"""What the bars of a table show."""
LEGEND_CHARACTERS = 80
"""As many as a line of the legend has room for in a figure seven inches wide."""


def require_plots(path: Path) -> None:
    """Raises InputError where a figure could not be written, before hours are spent."""
    if path.suffix != ".png":
        raise InputError(f"`--plot` must end in .png; got {path}.")
    for library, package in (("matplotlib", "matplotlib"), ("sklearn", "scikit-learn")):
        if importlib.util.find_spec(library) is None:
            raise InputError(
                f"`--plot` needs {package}; it is not installed. Run pip install "
                "'tfcausal[plots]'."
            )


def write_plots(found: Reproduction, dataset: CheckedDataset, path: Path) -> list[Path]:
    """Writes bars, or lines over the axis, and the maps that the table has.

    A map is drawn of the first seed; its name has the row's, such as bars-dice.png.

    Args:
        found: What came out.
        dataset: What it was trained on; the first of several.
        path: The file, PNG; its folder is made where it is not there.
    Returns:
        The files.
    """
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(layout="constrained")
    if found.table.axis is None:
        _draw_bars(found, figure)
    else:
        _draw_lines(found, figure, found.table.axis)
    figure.suptitle(found.table.title)
    figure.savefig(path, dpi=150)
    written = [path]
    popularity = read_popularity(dataset)
    for name, run in found.first_runs(found.table.maps).items():
        written.append(path.with_stem(f"{path.stem}-{name}"))
        save_item_map(run.vectors(), popularity, written[-1])
    for name, run in found.first_runs(found.table.user_maps).items():
        written.append(path.with_stem(f"{path.stem}-{name}"))
        tested = evaluation_set(dataset, TEST, found.protocol)
        save_user_map(run.vectors(), tested.positives, written[-1])
    return written


def write_noise_plot(
    lines: Sequence[NoiseLine], metric: str, split: str, path: Path
) -> None:
    """Draws a metric over the share of random clicks, a line for each setting.

    Args:
        lines: At least one.
        metric: What to draw.
        split: Part of the split that it was measured on.
        path: The file, PNG; its folder is made where it is not there.
    """
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    names = [fill(line.name, LEGEND_CHARACTERS) for line in lines]
    height = 4 + 0.2 * sum(1 + name.count("\n") for name in names)
    figure = Figure(figsize=(7, height), layout="constrained")
    axes = figure.add_subplot()
    for name, line in zip(names, lines, strict=True):
        means, deviations = line.mean(metric), line.deviation(metric)
        _draw_line(axes, name, line.shares, means, deviations)
    axes.set_xlabel("share of random clicks in histories")
    axes.set_ylabel(f"{metric} on {split}")
    figure.legend(loc="outside lower center", fontsize="small")
    figure.savefig(path, dpi=150)


def _draw_bars(found: Reproduction, figure: Any) -> None:
    names = [result.name for result in found.rows]
    figure.set_size_inches(7, 1 + 0.4 * len(names))
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


def _draw_lines(found: Reproduction, figure: Any, axis: Axis) -> None:
    figure.set_size_inches(max(6, 5 * len(axis.metrics)), 4.5)
    panels = figure.subplots(1, len(axis.metrics), squeeze=False)[0]
    for axes, metric in zip(panels, axis.metrics, strict=True):
        for name, line in found.lines().items():
            means = [result.mean(metric) for result in line.values()]
            deviations = [result.deviation(metric) for result in line.values()]
            _draw_line(axes, name, list(line), means, deviations)
        axes.set_xlabel(axis.name)
        axes.set_ylabel(f"{metric} on test")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)


def _draw_line(
    axes: Any,
    name: str,
    points: Sequence[float],
    means: Sequence[float] | Float64s,
    deviations: Sequence[float] | Float64s,
) -> None:
    axes.errorbar(points, means, yerr=deviations, marker="o", capsize=3, label=name)
