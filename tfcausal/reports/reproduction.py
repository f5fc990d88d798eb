"""A table's rows, tuned by one budget, trained over seeds and evaluated alike."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from tfcausal import methods
from tfcausal.data.interactions import CheckedDataset, read_popularity
from tfcausal.data.train_window import slot_begins
from tfcausal.errors import InputError
from tfcausal.evaluation.calibration import (
    Calibration,
    calibrate,
    load_calibration,
    save_calibration,
)
from tfcausal.evaluation.evaluator import EvaluationSet
from tfcausal.evaluation.item_pop import item_pop
from tfcausal.evaluation.validation import evaluation_set
from tfcausal.methods.options import MethodOptions
from tfcausal.reports.points import Reader, Reading
from tfcausal.reports.rows import SLOTS, Axis, Row, Table
from tfcausal.reports.trainings import Training, Trainings
from tfcausal.schema.dataset import TRAIN_INTERVENED, VALIDATION
from tfcausal.schema.options import field_types
from tfcausal.schema.protocol import EvaluationProtocol, protocol
from tfcausal.schema.vectors import CausalVectors
from tfcausal.training.options import TrainingOptions
from tfcausal.training.run import Run

CALIBRATED_BY = "recall@20"


@dataclass(frozen=True)
class Plan:
    """How a table is reproduced.

    Attributes:
        trials: Settings to try for each row; the first is the row's default.
        seeds: Seeds of the best setting, 0 and up. Settings are tried with seed 0.
        calibrated: Whether rows are calibrated too where the table does not ask for it.
        norms: Whether calibration chooses how much of items' norms counts, too.
        training: Options of training where a row has no other.
        settings: Options of methods; each goes to all rows whose method has it.
    """

    trials: int = 6
    seeds: int = 3
    calibrated: bool = False
    norms: bool = False
    training: TrainingOptions = field(default_factory=TrainingOptions)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("trials", "seeds"):
            if getattr(self, name) < 1:
                raise InputError(f"`{name}` must be >= 1; got {getattr(self, name)}.")


@dataclass(frozen=True)
class RowResult:
    """What came out of a row, at one point where there is an axis.

    Attributes:
        name: The row's name, or its line's, with ", calibrated" where it is, and the
            cause where it ranked alone.
        row: The row as it was trained.
        calibrated: Whether its vectors were calibrated on validation.
        trials: All settings that were tried; empty where nothing is trained. Of a
            calibrated row their validation is what calibration has reached.
        trainings: The best setting's, one a seed.
        evaluations: All metrics on the test part, one for each seed.
        num_users: Users averaged over.
        weights: calibrated: the weights of causes and the shift, one for each seed.
        point: Where on the table's axis; None without one.
    """

    name: str
    row: Row
    calibrated: bool
    trials: tuple[Training, ...] = ()
    trainings: tuple[Training, ...] = ()
    evaluations: tuple[Mapping[str, float], ...] = ()
    num_users: int = 0
    weights: tuple[Mapping[str, float], ...] = ()
    point: float | None = None

    def mean(self, metric: str) -> float:
        """Returns a metric's mean over seeds."""
        return float(np.mean([found[metric] for found in self.evaluations]))

    def deviation(self, metric: str) -> float:
        """Returns a metric's standard deviation over the seeds that there are."""
        return float(np.std([found[metric] for found in self.evaluations]))

    @property
    def seconds(self) -> float | None:
        """Mean seconds of a training; None where there is none."""
        if not self.trainings:
            return None
        return float(np.mean([training.seconds for training in self.trainings]))

    def to_json(self, shown: Sequence[str]) -> dict[str, Any]:
        """Returns plain dictionaries for JSON, with these metrics."""
        return {
            "name": self.name,
            "row": self.row.name,
            "point": self.point,
            "num_users": self.num_users,
            "method": self.row.method,
            "fixed": dict(self.row.fixed),
            "calibrated": self.calibrated,
            "mean": {metric: self.mean(metric) for metric in shown},
            "deviation": {metric: self.deviation(metric) for metric in shown},
            "seconds": self.seconds,
            "chosen": dict(self.trainings[0].settings) if self.trainings else {},
            "tried": [
                {
                    "settings": dict(trial.settings),
                    "validation": trial.validation,
                    "run": trial.run.folder.name,
                }
                for trial in self.trials
            ],
            "runs": [training.run.folder.name for training in self.trainings],
            "weights": [dict(weights) for weights in self.weights],
            "published": {data: dict(of) for data, of in self.row.published.items()},
        }


@dataclass(frozen=True)
class Reproduction:
    """A table, reproduced.

    Attributes:
        table: The table, with the rows that were asked for.
        plan: How.
        protocol: The protocol that epochs were chosen and lists evaluated by.
        rows: What came out, in the order of the table.
    """

    table: Table
    plan: Plan
    protocol: EvaluationProtocol
    rows: tuple[RowResult, ...]

    def lines(self) -> dict[str, dict[float, RowResult]]:
        """Returns the results of each line of a figure by point, points ascending."""
        found: dict[str, dict[float, RowResult]] = {}
        for row in self.rows:
            if row.point is not None:
                found.setdefault(row.name, {})[row.point] = row
        return {name: dict(sorted(line.items())) for name, line in found.items()}

    def first_runs(self, names: Collection[str]) -> dict[str, Run]:
        """Returns the first seed's run of each row of these names, as trained."""
        return {
            row.row.name: row.trainings[0].run
            for row in self.rows
            if row.row.name in names and not row.calibrated
        }

    def to_json(self) -> dict[str, Any]:
        """Returns plain dictionaries for JSON."""
        return {
            "table": self.table.name,
            "source": self.table.source,
            "trials": self.plan.trials,
            "seeds": self.plan.seeds,
            "training": asdict(self.plan.training),
            "settings": dict(self.plan.settings),
            "protocol": self.protocol.name,
            "protocol_hash": self.protocol.hash,
            "axis": self.table.axis and self.table.axis.name,
            "rows": [row.to_json(self.table.shown) for row in self.rows],
            "notes": list(self.table.notes),
        }


def fit_table(
    table: Table, dataset: CheckedDataset, settings: Mapping[str, Any]
) -> Table:
    """Fits a table's rows to a data set and to settings of the user's.

    Args:
        table: The table.
        dataset: A data set whose popularity is counted.
        settings: Options of methods; each goes to all rows whose method has it.
    Returns:
        The table that will be trained; its notes say what was changed or left out.
    Raises:
        InputError: If a row fixes a setting, or no row is left.
    """
    rows, notes = [], []
    for row in table.rows:
        fitted = _with_settings(row, settings)
        if row.needs and not _has(dataset, row.needs):
            lacking = (
                "the data set has no popularity by time slots"
                if row.needs == SLOTS
                else f"the split has no part {row.needs}"
            )
            if table.has_many_splits:
                lacking += f" ({dataset.folder.root.name})"
            if row.otherwise is None:
                notes.append(f"`{row.name}` was left out: {lacking}.")
                continue
            notes.append(f"`{row.name}` has {in_words(row.otherwise)}: {lacking}.")
            fitted = replace(fitted, fixed={**fitted.fixed, **row.otherwise})
        rows.append(fitted)
    if not rows:
        raise InputError(
            f"`{table.name}` must have a row that this data set can train; "
            f"{' '.join(notes)}"
        )
    return replace(table, rows=tuple(rows), notes=(*table.notes, *notes))


def _with_settings(row: Row, settings: Mapping[str, Any]) -> Row:
    if not row.is_trained:
        return row
    known = field_types(methods.get(row.method).options_class)
    own = {name: value for name, value in settings.items() if name in known}
    for name in own:
        if name in row.fixed:
            raise InputError(
                f"`--set {name}` must not be given: `{row.name}` has "
                f"{name}={row.fixed[name]}. Leave it away, or choose other rows with "
                "--row."
            )
    return replace(row, fixed={**row.fixed, **own})


def _has(dataset: CheckedDataset, need: str) -> bool:
    if need == TRAIN_INTERVENED:
        return bool(dataset.parts([need]))
    try:
        slot_begins(dataset)
    except InputError:
        return False
    return True


def reproduce(
    table: Table,
    dataset: CheckedDataset,
    runs: Path,
    plan: Plan,
    *,
    chosen: EvaluationProtocol | None = None,
    begin: Callable[[str], None] = lambda _: None,
    end: Callable[[str], None] = lambda _: None,
) -> Reproduction:
    """Tunes, trains and evaluates each row of a table.

    Each row may try the same number of settings, drawn from the values that the row
    names, with seed 0; the one with the best validation metric is trained with the
    other seeds too and evaluated on the test part. Calibrated, a row has a choice of
    its own: of all its settings the one that is best after calibration. All rows have
    the same epochs, patience and batches. Killed at any moment and called again, it
    goes on where it stopped; what is finished is not trained again.

    Args:
        table: The table, fitted to the data set; see `fit_table`.
        dataset: A data set that has been split and whose popularity is counted.
        runs: Where the runs' folders are.
        plan: How.
        chosen: The protocol; None for the table's.
        begin: Is told each training that begins, finished ones too.
        end: Is told each training that has ended.
    Raises:
        InputError: If the data set misses a part, or the protocol cannot be used.
    """
    chosen = chosen or protocol(table.protocol)
    if not {20, 50} <= set(chosen.ks):
        raise InputError(
            f"`protocol` must have the cut-offs 20 and 50; got {chosen.name} with "
            f"{chosen.ks}. Choose dice, dccl, causerec or cadvae."
        )
    trainings = Trainings(dataset, runs, plan.training, chosen)
    reader = Reader(dataset, table.axis, chosen)
    popularity = read_popularity(dataset)
    # Before anything is trained: all points can be read.
    popular = reader.read(item_pop(popularity, dataset.num_users))
    validation = evaluation_set(dataset, VALIDATION, chosen)
    where = f" on {dataset.folder.root.name}" if table.has_many_splits else ""
    results: list[RowResult] = []

    def add(base: RowResult, vectors: Iterable[CausalVectors]) -> None:
        found = [reader.read(one) for one in vectors]
        for readings in zip(*found, strict=True):
            results.append(_at_point(base, readings))

    for row in table.rows:
        if not row.is_trained:
            base = RowResult(row.name, row, False)
            results += [_at_point(base, (reading,)) for reading in popular]
            continue

        def train(
            settings: Mapping[str, Any], seed: int, what: str, row: Row = row
        ) -> Training:
            what = f"{row.name}{where}, {what}: {in_words(settings)}"
            begin(what)
            found = trainings.train(row, settings, seed)
            end(
                f"{what}: {plan.training.monitor} {found.validation:.4f}, "
                f"{found.seconds:.0f} s"
            )
            return found

        def calibration(run: Run) -> Calibration:
            return _calibration(run, validation, chosen, norms=plan.norms)

        def all_seeds(tried: Sequence[Training], said: str) -> tuple[Training, ...]:
            best = max(tried, key=attrgetter("validation"))
            seeds = range(1, plan.seeds)
            return (
                best,
                *(train(best.settings, seed, f"{said}seed {seed}") for seed in seeds),
            )

        trials = tune(row, plan.trials, lambda settings, what: train(settings, 0, what))
        own = all_seeds(trials, "")
        base = RowResult(
            row.line or row.name,
            row,
            False,
            trials,
            own,
            point=_own_point(row, table.axis),
        )
        add(base, (one.run.vectors() for one in own))
        if plan.calibrated or table.calibrated:
            begin(f"{row.name}{where}: calibrating")
            trials = tuple(
                replace(trial, validation=calibration(trial.run).value)
                for trial in trials
            )
            own = all_seeds(trials, "calibrated, ")
            begin(f"{row.name}{where}: calibrating")
            chosen_weights = [calibration(one.run) for one in own]
            add(
                _calibrated(
                    replace(base, trials=trials, trainings=own), chosen_weights
                ),
                (
                    found.apply(one.run.vectors(), popularity)
                    for one, found in zip(own, chosen_weights, strict=True)
                ),
            )
    return Reproduction(
        replace(table, protocol=chosen.name), plan, chosen, tuple(results)
    )


def joined(found: Sequence[Reproduction]) -> Reproduction:
    """Returns one reproduction with the points of several.

    Args:
        found: Reproductions of one figure, each on a data set of its own.
    """
    first, *_ = found
    notes = dict.fromkeys(note for one in found for note in one.table.notes)
    return replace(
        first,
        table=replace(first.table, notes=tuple(notes)),
        rows=tuple(row for one in found for row in one.rows),
    )


def tune(
    row: Row, trials: int, train: Callable[[Mapping[str, Any], str], Training]
) -> tuple[Training, ...]:
    """Tries settings of a row: its default, then others drawn at random.

    The draws follow from a fixed seed and from what is tuned alone, not from what came
    out, so that an interrupted search goes on as it would have.

    Args:
        row: The row.
        trials: At most so many different settings.
        train: Trains one setting; is told which trial it is.
    Returns:
        The trainings, in the order in which they were tried.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0)
    )
    study.enqueue_trial({name: values[0] for name, values in row.tuned.items()})
    choices: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.CategoricalDistribution(values)
        for name, values in row.tuned.items()
    }
    number = min(trials, row.num_settings)
    found: dict[tuple[tuple[str, Any], ...], Training] = {}
    while len(found) < number:
        asked = study.ask(choices)
        setting = tuple(asked.params.items())
        # What is drawn a second time takes none of the trials away.
        if setting not in found:
            what = f"trial {len(found) + 1} of {number}"
            found[setting] = train(asked.params, what)
        study.tell(asked, found[setting].validation)
    return tuple(found.values())


def _at_point(base: RowResult, readings: Sequence[Reading]) -> RowResult:
    """Returns a row's result with what its trainings show at one point."""
    first, *_ = readings
    return replace(
        base,
        name=f"{base.name}, {first.cause}" if first.cause else base.name,
        evaluations=tuple(reading.metrics for reading in readings),
        num_users=first.num_users,
        point=base.point if first.point is None else first.point,
    )


def _own_point(row: Row, axis: Axis | None) -> float | None:
    if axis is None or axis.over != "rows":
        return None
    return float(row.fixed[axis.name])


def _calibrated(base: RowResult, found: Sequence[Calibration]) -> RowResult:
    """Returns a row's result with the weights that validation has chosen."""
    return replace(
        base,
        name=f"{base.name}, calibrated",
        calibrated=True,
        weights=tuple(calibration.knobs() for calibration in found),
    )


def _calibration(
    run: Run, validation: EvaluationSet, chosen: EvaluationProtocol, *, norms: bool
) -> Calibration:
    """Calibrates a run, or takes the calibration that an earlier call has left."""
    if run.calibration_path.is_file():
        kept = load_calibration(run)
        asked = (CALIBRATED_BY, None, VALIDATION, chosen.hash, norms)
        chose_norms = kept.norm_power is not None
        if asked == (
            kept.metric,
            kept.target,
            kept.part,
            kept.protocol_hash,
            chose_norms,
        ):
            return kept
    found = calibrate(
        run.vectors(), validation, chosen, metric=CALIBRATED_BY, norms=norms
    )
    save_calibration(run, found)
    return found


def in_words(settings: Mapping[str, Any]) -> str:
    """Returns settings as `name=value name=value`."""
    return " ".join(f"{name}={value}" for name, value in settings.items())


def options_classes(table: Table) -> list[type[MethodOptions]]:
    """Returns the options' classes of a table's methods, each once."""
    names = dict.fromkeys(row.method for row in table.rows if row.is_trained)
    return [methods.get(name).options_class for name in names]
