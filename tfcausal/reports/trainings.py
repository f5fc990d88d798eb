"""Trainings named by what they are, so that none is ever done twice."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from tfcausal import methods
from tfcausal.data.interactions import CheckedDataset
from tfcausal.evaluation.validation import validator
from tfcausal.keras_compat import keras
from tfcausal.methods.options import MethodOptions
from tfcausal.reports.rows import Row
from tfcausal.schema.protocol import EvaluationProtocol
from tfcausal.schema.vectors import CausalVectors
from tfcausal.training.callbacks import write_json
from tfcausal.training.options import TrainingOptions
from tfcausal.training.run import Run
from tfcausal.training.trainer import train


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        settings: The tuned options.
        seed: Its seed.
        run: Its run.
        validation: The monitored metric of its best epoch.
        seconds: What it took, validation included, over all calls that it took.
    """

    settings: Mapping[str, Any]
    seed: int
    run: Run
    validation: float
    seconds: float


def options_of(
    method: str, settings: Mapping[str, Any], training: TrainingOptions
) -> tuple[MethodOptions, TrainingOptions]:
    """Gives each setting to the options that have it.

    Args:
        method: Name of the method.
        settings: Options of the method and of training, by name.
        training: Options of training where `settings` names none.
    """
    own = methods.get(method).options_class
    names = {option.name for option in fields(own)}
    return (
        own(**{name: value for name, value in settings.items() if name in names}),
        replace(
            training,
            **{name: value for name, value in settings.items() if name not in names},
        ),
    )


class Trainings:
    """Trains on one data set, into folders of one folder."""

    def __init__(
        self,
        dataset: CheckedDataset,
        runs: Path,
        training: TrainingOptions,
        chosen: EvaluationProtocol,
        *,
        verbose: int = 0,
    ) -> None:
        """Describes what all trainings share.

        Args:
            dataset: A data set that has been split and whose popularity is counted.
            runs: Where the runs' folders are.
            training: Options of training where a row has no other.
            chosen: The protocol that the best epoch is chosen by.
            verbose: Keras's progress: 0 silent, 1 a bar, 2 a line an epoch.
        Raises:
            InputError: If validation is missing or has no such metric.
        """
        self._dataset = dataset
        self._runs = runs
        self._training = training
        self._chosen = chosen
        self._verbose = verbose
        self._validate = validator(dataset, monitor=training.monitor, chosen=chosen)

    def train(self, row: Row, settings: Mapping[str, Any], seed: int) -> Training:
        """Trains a row with one setting, or takes what is there.

        Args:
            row: The row; what it fixes goes before the other settings.
            settings: The tuned options.
            seed: The seed.
        """
        own, options = options_of(
            row.method, {**settings, **row.fixed, "seed": seed}, self._training
        )
        folder = self._runs / self._name(row.method, own, options)
        timed = _Timed(self._validate, folder / "seconds.json")
        run = train(
            self._dataset,
            row.method,
            own,
            options,
            folder,
            timed,
            verbose=self._verbose,
        )
        # Else Keras keeps the graphs of all trainings of this process.
        keras.backend.clear_session()
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        return Training(
            settings=settings,
            seed=seed,
            run=run,
            validation=metrics["validation"][options.monitor],
            seconds=timed.before(),
        )

    def _name(self, method: str, own: MethodOptions, options: TrainingOptions) -> str:
        content = {
            "method": method,
            # What is as by default is left out, so that an option that comes later
            # does not give finished runs another name. A run knows all its options.
            "options": _changed(own) | _changed(options),
            "splits": self._dataset.splits.fingerprint,
            "protocol": self._chosen.hash,
        }
        text = json.dumps(content, sort_keys=True)
        return f"{method}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _changed(options: MethodOptions | TrainingOptions) -> dict[str, Any]:
    return {
        field.name: getattr(options, field.name)
        for field in fields(options)
        if getattr(options, field.name) != field.default
    }


class _Timed:
    """Validation that also writes down what the training has taken until then.

    Training validates after each epoch, so that an interruption loses the seconds of
    the epoch that it loses, and no others.
    """

    def __init__(
        self, validate: Callable[[CausalVectors], dict[str, float]], path: Path
    ) -> None:
        self._validate = validate
        self._path = path
        self._before = self.before()
        self._start = time.perf_counter()

    def before(self) -> float:
        if not self._path.is_file():
            return 0.0
        return float(json.loads(self._path.read_text(encoding="utf-8"))["seconds"])

    def __call__(self, vectors: CausalVectors) -> dict[str, float]:
        found = self._validate(vectors)
        elapsed = time.perf_counter() - self._start
        write_json(self._path, {"seconds": self._before + elapsed})
        return found
