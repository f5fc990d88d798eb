"""Robustness of several runs: those that differ by their seed alone are one line."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcausal.errors import InputError
from tfcausal.evaluation.metrics import Float64s
from tfcausal.evaluation.noise import NOISE
from tfcausal.training.run import Run


@dataclass(frozen=True)
class NoiseLine:
    """What random clicks in histories cost one setting.

    Attributes:
        name: A lone run's folder; of several runs their method, the options in which
            they differ from other lines of it, and how many they are.
        runs: Runs of one setting, a seed each.
        curves: For each run what `noise_curve` gives, all with the same shares.
    """

    name: str
    runs: tuple[Run, ...]
    curves: tuple[Sequence[Mapping[str, float]], ...]

    @property
    def shares(self) -> list[float]:
        """Returns the shares of noise."""
        return [point[NOISE] for point in self.curves[0]]

    def mean(self, metric: str) -> Float64s:
        """Returns [num_shares] a metric's mean over runs; NaN where there is none."""
        found: Float64s = self._values(metric).mean(axis=0)
        return found

    def deviation(self, metric: str) -> Float64s:
        """Returns [num_shares] a metric's standard deviation over the runs."""
        found: Float64s = self._values(metric).std(axis=0)
        return found

    def lost(self, metric: str) -> float:
        """Returns how much of a metric is lost from the first share to the last.

        Of the mean, 1 being all of it; NaN where there is nothing to lose.
        """
        mean = self.mean(metric)
        return float(1 - mean[-1] / mean[0]) if mean[0] else float("nan")

    def to_json(self) -> dict[str, Any]:
        """Returns plain dictionaries for JSON: means and deviations by share."""
        return {
            "name": self.name,
            "runs": [str(run.folder) for run in self.runs],
            "mean": self._points(self.mean),
            "deviation": self._points(self.deviation),
        }

    def _values(self, metric: str) -> Float64s:
        return np.asarray(
            [[at.get(metric, np.nan) for at in curve] for curve in self.curves]
        )

    def _points(self, statistic: Callable[[str], Float64s]) -> list[dict[str, float]]:
        points: list[dict[str, float]] = [{NOISE: share} for share in self.shares]
        for metric in sorted(self.curves[0][-1].keys() - {NOISE}):
            for point, value in zip(points, statistic(metric), strict=True):
                if not np.isnan(value):
                    point[metric] = float(value)
        return points


def settings_of(runs: Iterable[Run]) -> list[tuple[Run, ...]]:
    """Groups runs that differ by their seed alone, in the order of their first ones.

    Raises:
        InputError: If two runs have the seed in common too, so that a mean would count
            one training twice.
    """
    groups: dict[str, dict[int, Run]] = {}
    for run in runs:
        setting = [run.method, dict(run.manifest.inputs), _setting(run)]
        seeds = groups.setdefault(json.dumps(setting, sort_keys=True), {})
        seed = run.options["seed"]
        if seed in seeds:
            raise InputError(
                "Runs of one setting must have seeds of their own; "
                f"{seeds[seed].folder} and {run.folder} both have {seed}. Give one of "
                "them."
            )
        seeds[seed] = run
    return [tuple(seeds.values()) for seeds in groups.values()]


def noise_lines(
    groups: Sequence[tuple[Run, ...]],
    curves: Mapping[str, Sequence[Mapping[str, float]]],
) -> list[NoiseLine]:
    """Joins the curves of runs to lines, one a setting.

    Args:
        groups: What `settings_of` gives.
        curves: What `noise_curve` gives, by the run's folder.
    """
    return [
        NoiseLine(
            _name(runs, [other for other, *_ in groups]),
            runs,
            tuple(curves[str(run.folder)] for run in runs),
        )
        for runs in groups
    ]


def _setting(run: Run) -> dict[str, Any]:
    return {name: value for name, value in run.options.items() if name != "seed"}


def _name(runs: tuple[Run, ...], firsts: Sequence[Run]) -> str:
    run, *others = runs
    if not others:
        return str(run.folder)
    alike = [_setting(other) for other in firsts if other.method == run.method]
    told = [
        f"{name}={value}"
        for name, value in _setting(run).items()
        if any(other.get(name) != value for other in alike)
    ]
    return f"{' '.join([run.method, *told])}, {len(runs)} seeds"
