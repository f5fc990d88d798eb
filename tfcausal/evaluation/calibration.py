"""Weights of causes chosen after training, on validation alone.

A calibration is a weight for each cause and a shift along log-popularity, the only knob
of a method with a single cause; where it is asked for, also how much of the norm of
items' vectors of the first cause counts. Nothing is trained: vectors are scaled and one
coordinate is added, so that evaluation, export and index take the result as any other
vectors.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import log2
from typing import Any

import numpy as np

from tfcausal.errors import InputError, unknown_name
from tfcausal.evaluation.evaluator import Evaluation, EvaluationSet, evaluate
from tfcausal.evaluation.users import sample_users
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.dataset import TEST, TRAINING_PARTS, VALIDATION
from tfcausal.schema.protocol import EvaluationProtocol
from tfcausal.schema.vectors import POPULARITY_CAUSE, CausalVectors
from tfcausal.stats.negatives import Int64s
from tfcausal.training.callbacks import write_json
from tfcausal.training.run import Run

Report = Callable[[Mapping[str, float], float], None]
"""Is told the values of all knobs that were tried and what came of them."""

_METRICS = ("recall", "hr", "ndcg", "coverage")
"""What can be made large, each at a cut-off."""
PULLS = ("conformity", POPULARITY_CAUSE)
"""Causes that draw towards what is popular; the first that there is meets a target."""
_COARSE_WEIGHTS = tuple(step / 4 for step in range(-4, 5))
_NORM_POWER = "norm_power"
_COARSE_POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
_COARSE_SHIFTS = (-2.0, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 2.0)
_FINER = (1 / 8, 1 / 16, 1 / 32)
_SWEEPS = 4
_FARTHEST_SHIFT = 64.0
_HALVINGS = 30
_NEAR_ENOUGH = 1e-3
_DECIMALS = 12
"""Beyond them metrics differ by the order of their sums alone."""


@dataclass(frozen=True)
class Calibration:
    """What was chosen, and what it was chosen by.

    Attributes:
        weights: Each cause to its weight.
        shift: Weight of log-popularity; see `CausalVectors.shifted`.
        norm_power: What items' vectors of the first cause are shortened by; see
            `CausalVectors.shortened`. None where it was not to be chosen.
        metric: What was made large, such as "recall@20", or brought to the target.
        target: The mean popularity that was wanted; None for the largest metric.
        as_trained: All metrics before.
        calibrated: All metrics with the weights and the shift.
        part: The part of the split that they were taken on.
        protocol: Name of the protocol.
        protocol_hash: Hash of all its switches.
        num_users: Users averaged over.
    """

    weights: Mapping[str, float]
    shift: float
    metric: str
    target: float | None
    as_trained: Mapping[str, float]
    calibrated: Mapping[str, float]
    part: str
    protocol: str
    protocol_hash: str
    num_users: int
    norm_power: float | None = None

    @property
    def value(self) -> float:
        """The metric with the weights and the shift."""
        return self.calibrated[self.metric]

    def apply(self, vectors: CausalVectors, popularity: Int64s) -> CausalVectors:
        """Returns the calibrated vectors.

        They have the cause `popularity` whatever the shift, so that a model exported
        again after another calibration takes the same requests. A method's own cause
        of that name stands in its place.

        Args:
            vectors: Of the run that was calibrated.
            popularity: [num_items] int64 interactions in the train window.
        Raises:
            InputError: If the vectors have other causes or other items.
        """
        chosen = _Choice(self.weights, self.shift, self.norm_power)
        return chosen.apply(vectors, popularity)

    def knobs(self) -> dict[str, float]:
        """Returns everything that was chosen, by name."""
        return _Choice(self.weights, self.shift, self.norm_power).knobs()

    def to_json(self) -> dict[str, Any]:
        """Returns plain dictionaries for JSON."""
        return asdict(self)


def calibrate(
    vectors: CausalVectors,
    against: EvaluationSet,
    chosen: EvaluationProtocol,
    *,
    metric: str | None = None,
    target_popularity: float | None = None,
    norms: bool = False,
    part: str = VALIDATION,
    num_users: int = 10_000,
    report: Report = lambda *_: None,
) -> Calibration:
    """Chooses the weight of each cause and the shift along log-popularity.

    Lists do not change when all weights are multiplied by one number, so the first
    cause keeps weight 1. For a metric, one knob after another goes through its grid
    (weights 0 to 2; shifts to twice the spread of a user's scores on either side) until
    none moves, then in ever smaller steps around the best, down to 1/32. Of equally
    good choices the one nearest to the vectors as trained is taken. For a target
    popularity, the weight of conformity is halved in on, or the shift where there is no
    such cause or weights from 0 to 2 do not reach the target; nothing else moves.
    With `norms` a power from 0 to 1 is chosen too, see `CausalVectors.shortened`, and
    the first cause's weight is the mean norm to this power, which makes up for it.

    Args:
        vectors: Of all users and items.
        against: The evaluated and the masked items, of a validation part.
        chosen: How lists are made and averaged.
        metric: Recall, hr, ndcg or coverage at a cut-off of the protocol; with a target
            popularity only its cut-off counts. None for recall at the first cut-off.
        target_popularity: The mean popularity that lists should have; None for the
            largest metric.
        norms: Whether to choose how much of the norm of items' vectors of the first
            cause counts.
        part: Name of the evaluated part, for the record.
        num_users: At most so many users are ranked for, those of `validator`.
        report: Is told each trial.
    Returns:
        The choice; the same for the same input.
    Raises:
        InputError: If the part is one to test or to train on, the metric does not
            exist, the target cannot be reached, or norms are to be chosen for a target.
    Cost:
        A ranking of the users for each trial, some 20 for each knob.
    """
    require_calibration_part(part)
    metric = calibration_metric(chosen, metric)
    if target_popularity is not None:
        if norms:
            raise InputError(
                "`norms` cannot go with `target_popularity`, for which one weight "
                "moves; got both. Choose norms for a metric."
            )
        metric = f"popularity@{metric.partition('@')[2]}"
    trials = _Trials(
        vectors,
        against,
        chosen,
        metric,
        norms=norms,
        num_users=num_users,
        report=report,
    )
    start = (0.0,) * len(trials.knobs)
    best = (
        _search(trials, start)
        if target_popularity is None
        else _reach(trials, start, target_popularity)
    )
    choice = trials.choice(best)
    found = trials.evaluation(best)
    return Calibration(
        weights=choice.weights,
        shift=choice.shift,
        norm_power=choice.norm_power,
        metric=metric,
        target=target_popularity,
        as_trained=trials.evaluation(start).metrics,
        calibrated=found.metrics,
        part=part,
        protocol=found.protocol,
        protocol_hash=found.protocol_hash,
        num_users=found.num_users,
    )


def reaches(cause: str, ends: Sequence[float], target: float) -> bool:
    """Returns whether some weight of a cause gives lists of a mean popularity.

    Args:
        cause: One of PULLS.
        ends: The mean popularity at its smallest and at its largest weight.
        target: What is wanted.
    """
    if cause == POPULARITY_CAUSE:
        # A shift that was calibrated below 0 takes popularity out as it grows.
        ends = sorted(ends)
    return ends[0] <= target <= ends[1]


def require_calibration_part(part: str) -> None:
    """Raises InputError for a part whose use would make later figures worthless."""
    if part.startswith(TEST):
        raise InputError(
            f"`split` must not be a test part; got {part}. What is chosen on it makes "
            f"its figures too good: calibrate on {VALIDATION}."
        )
    if part in TRAINING_PARTS:
        raise InputError(
            f"`split` must not be a part that was trained on; got {part}. Calibrate on "
            f"{VALIDATION}."
        )


def calibration_metric(chosen: EvaluationProtocol, metric: str | None) -> str:
    """Returns the metric to calibrate by; for None, recall at the first cut-off.

    Raises:
        InputError: If there is no such metric, or the protocol has not its cut-off.
    """
    known = [f"{name}@{k}" for name in _METRICS for k in chosen.ks]
    if metric is None:
        return known[0]
    if metric in known:
        return metric
    if metric.partition("@")[0] in _METRICS:
        cut_offs = ", ".join(map(str, chosen.ks))
        raise InputError(
            f"`metric` must be at one of these cut-offs: {cut_offs}; got {metric}. "
            "Choose one of these, or ask for its cut-off too (--k)."
        )
    raise unknown_name("metric", metric, known)


def save_calibration(run: Run, calibration: Calibration) -> None:
    """Writes a calibration into its run's folder, in place of an earlier one."""
    content = {"run": run.manifest.fingerprint, **calibration.to_json()}
    write_json(run.calibration_path, content)


def load_calibration(run: Run) -> Calibration:
    """Reads the calibration of a run.

    Raises:
        InputError: If there is none, or it is spoilt or of another run.
    """
    path = run.calibration_path
    advice = f"Run `tfcausal calibrate --run={run.folder}`."
    if not path.is_file():
        raise InputError(f"`{path}` must be there; it is not. {advice}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        owner = content.pop("run")
        calibration = Calibration(**content)
        float(calibration.shift)
        float(calibration.norm_power or 0)
        dict(calibration.weights)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"`{path}` must be a calibration in JSON; got {error}. {advice}"
        ) from error
    if owner != run.manifest.fingerprint:
        raise InputError(
            f"`{path}` must be of this run, {run.manifest.fingerprint[:12]}; it is of "
            f"{str(owner)[:12]}. {advice}"
        )
    return calibration


@dataclass(frozen=True)
class _Choice:
    """What vectors are changed by; attributes as those of Calibration."""

    weights: Mapping[str, float]
    shift: float
    norm_power: float | None

    def apply(self, vectors: CausalVectors, popularity: Int64s) -> CausalVectors:
        """Returns the changed vectors."""
        if self.norm_power:
            vectors = vectors.shortened(next(iter(vectors.causes)), self.norm_power)
        changed = vectors.weighted(self.weights)
        if POPULARITY_CAUSE in vectors.causes:
            return changed
        return changed.shifted(popularity, self.shift)

    def knobs(self) -> dict[str, float]:
        """Returns everything that was chosen, by name."""
        found = {**self.weights, "shift": self.shift}
        return (
            found if self.norm_power is None else found | {_NORM_POWER: self.norm_power}
        )


@dataclass(frozen=True)
class _Knob:
    """One number to choose: neutral + unit * offset."""

    cause: str
    neutral: float
    unit: float
    coarse: tuple[float, ...]

    def value(self, offset: float) -> float:
        return self.neutral + self.unit * offset


_Offsets = tuple[float, ...]
"""A number for each knob; 0 is as trained."""


class _Trials:
    """Evaluates choices, each once, for the users that count and no others."""

    def __init__(
        self,
        vectors: CausalVectors,
        against: EvaluationSet,
        chosen: EvaluationProtocol,
        metric: str,
        *,
        norms: bool,
        num_users: int,
        report: Report,
    ) -> None:
        lengths = against.positives.lengths
        counted = (
            np.arange(1, len(lengths))
            if chosen.users == "all"
            else np.flatnonzero(lengths[1:] > 0) + 1
        )
        users = sample_users(counted.astype(np.int32), num_users, "validation users")
        rows = np.concatenate([np.asarray([UNKNOWN_INDEX], np.int32), users])
        self._vectors = CausalVectors(
            vectors.queries[rows], vectors.candidates, vectors.causes
        )
        self._against = EvaluationSet(
            against.positives.chosen(rows),
            against.masked.chosen(rows),
            against.popularity,
        )
        self._chosen = chosen
        self._metric = metric
        self._report = report
        self._found: dict[_Offsets, Evaluation] = {}
        self.knobs = [
            _Knob(cause, 1.0, 1.0, _COARSE_WEIGHTS)
            for cause in list(vectors.causes)[1:]
        ]
        if POPULARITY_CAUSE not in vectors.causes:
            unit = _spread(self._vectors)
            self.knobs.append(_Knob(POPULARITY_CAUSE, 0.0, unit, _COARSE_SHIFTS))
        if norms:
            self.knobs.append(_Knob(_NORM_POWER, 0.0, 1.0, _COARSE_POWERS))

    def choice(self, offsets: _Offsets) -> _Choice:
        """Returns what a choice of offsets does to vectors."""
        weights = dict.fromkeys(self._vectors.causes, 1.0) | self._values(offsets)
        norm_power = weights.pop(_NORM_POWER, None)
        if norm_power:
            # Or the other weights would mean something else with every power.
            first = next(iter(weights))
            weights[first] *= _mean_norm(self._vectors, first) ** norm_power
        own = POPULARITY_CAUSE in self._vectors.causes
        shift = 0.0 if own else weights.pop(POPULARITY_CAUSE)
        return _Choice(weights, shift, norm_power)

    def evaluation(self, offsets: _Offsets) -> Evaluation:
        """Returns all metrics of a choice."""
        if offsets not in self._found:
            popularity = self._against.popularity
            changed = self.choice(offsets).apply(self._vectors, popularity)
            found = evaluate(changed, self._against, self._chosen)
            self._found[offsets] = found
            self._report(self._values(offsets), found.metrics[self._metric])
        return self._found[offsets]

    def metric(self, offsets: _Offsets) -> float:
        """Returns the metric that counts."""
        return self.evaluation(offsets).metrics[self._metric]

    def tried(self) -> Sequence[_Offsets]:
        """Returns all choices that were evaluated."""
        return list(self._found)

    def _values(self, offsets: _Offsets) -> dict[str, float]:
        return {
            knob.cause: knob.value(offset)
            for knob, offset in zip(self.knobs, offsets, strict=True)
        }


def _search(trials: _Trials, start: _Offsets) -> _Offsets:
    """Returns the choice with the largest metric that moving one knob finds."""

    def worth(offsets: _Offsets) -> tuple[float, float]:
        nearness = -sum(abs(offset) for offset in offsets)
        return round(trials.metric(offsets), _DECIMALS), nearness

    best = start
    for _ in range(_SWEEPS):
        before = best
        for place, knob in enumerate(trials.knobs):
            tried = [_moved(best, place, offset) for offset in knob.coarse]
            best = max([best, *tried], key=worth)
        if best == before:
            break
    for step in _FINER:
        for place, knob in enumerate(trials.knobs):
            least, most = knob.coarse[0], knob.coarse[-1]
            near = [best[place] - step, best[place] + step]
            tried = [_moved(best, place, one) for one in near if least <= one <= most]
            best = max([best, *tried], key=worth)
    return best


def _reach(trials: _Trials, start: _Offsets, target: float) -> _Offsets:
    """Returns the choice whose mean popularity is nearest to the target."""
    places = {knob.cause: place for place, knob in enumerate(trials.knobs)}
    for cause in PULLS:
        if cause not in places:
            continue
        place = places[cause]
        knob = trials.knobs[place]
        low, high = knob.coarse[0], knob.coarse[-1]
        if knob.neutral == 0:
            low, high = -_FARTHEST_SHIFT, _FARTHEST_SHIFT
        ends = [trials.metric(_moved(start, place, end)) for end in (low, high)]
        if reaches(cause, ends, target):
            if ends[0] > ends[1]:
                low, high = high, low
            return _halve(trials, start, place, low, high, target)
    reached = [trials.metric(offsets) for offsets in trials.tried()]
    raise InputError(
        f"`target_popularity` must lie between {min(reached):.6g} and "
        f"{max(reached):.6g}, which is what weights reach; got {target}."
    )


def _halve(
    trials: _Trials,
    start: _Offsets,
    place: int,
    low: float,
    high: float,
    target: float,
) -> _Offsets:
    """Returns the nearest choice, the metric being least at `low`, most at `high`."""

    def distance(offsets: _Offsets) -> tuple[float, float]:
        missed = abs(trials.metric(offsets) - target)
        return round(missed, _DECIMALS), abs(offsets[place])

    tried = [_moved(start, place, end) for end in (low, high)]
    for _ in range(_HALVINGS):
        middle = _moved(start, place, (low + high) / 2)
        tried.append(middle)
        found = trials.metric(middle)
        if abs(found - target) <= _NEAR_ENOUGH * target:
            break
        if found < target:
            low = middle[place]
        else:
            high = middle[place]
    return min(tried, key=distance)


def _moved(offsets: _Offsets, place: int, offset: float) -> _Offsets:
    return (*offsets[:place], offset, *offsets[place + 1 :])


def _mean_norm(vectors: CausalVectors, cause: str) -> float:
    items = vectors.candidates[UNKNOWN_INDEX + 1 :, vectors.causes[cause]]
    return float(np.linalg.norm(items.astype(np.float64), axis=1).mean())


def _spread(vectors: CausalVectors) -> float:
    """Returns the power of two nearest to the deviation of a user's scores.

    A power of two, so that rounding on another machine does not move the grid.
    """
    covariance = np.atleast_2d(np.cov(vectors.candidates[1:], rowvar=False, bias=True))
    queries = vectors.queries[1:].reshape(-1, vectors.dim).astype(np.float64)
    total = float((queries @ covariance * queries).sum())
    variance = total / max(len(queries), 1)
    return 2.0 ** round(log2(variance) / 2) if variance > 0 else 1.0
