"""Keras callbacks: the curriculum, validation with the best epoch, checkpoints."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfcausal.keras_compat import keras
from tfcausal.methods.base import Method
from tfcausal.schema.vectors import CausalVectors
from tfcausal.training.options import TrainingOptions
from tfcausal.training.progress import Progress

Validate = Callable[[CausalVectors], Mapping[str, float]]
"""Scores the vectors on validation: metric names to values."""


class Curriculum(keras.callbacks.Callback):
    """Lets the weights of loss terms decay from epoch to epoch (DICE, section 3.3).

    The weights are variables, so that nothing is traced again. The sampler's margins
    follow the same decay by themselves.
    """

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Sets each weight to its first value times decay ** epoch."""
        decays = self.model.term_weight_decays()
        for name, weight in self.model.initial_term_weights().items():
            self.model.term_weights[name].assign(
                weight * decays.get(name, 1.0) ** epoch
            )


class Validation(keras.callbacks.Callback):
    """Scores each epoch, keeps the best one's weights, writes the history.

    Must stand before Checkpoints, so that a checkpoint knows the epoch's outcome.
    """

    def __init__(
        self,
        validate: Validate,
        progress: Progress,
        options: TrainingOptions,
        run: Path,
    ) -> None:
        """Describes the validation.

        Args:
            validate: Scores the vectors.
            progress: Where the training is; told each epoch's metric.
            options: The monitored metric, patience and bounds.
            run: Folder for `best/` and `history.json`.
        """
        super().__init__()
        self._validate = validate
        self._progress = progress
        self._options = options
        self._run = run

    def set_model(self, model: Method) -> None:
        """Prepares the checkpoint of the best weights."""
        super().set_model(model)
        self._best = tf.train.CheckpointManager(
            tf.train.Checkpoint(variables=model.trainable_variables),
            str(self._run / "best"),
            max_to_keep=1,
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Scores the epoch; `logs` gets the metrics under `val_` names."""
        logs = {} if logs is None else logs
        metrics = self._validate(self.model.vectors())
        rate = float(self.model.optimizer.learning_rate)
        record = {
            "epoch": epoch,
            "learning_rate": rate,
            **{name: float(value) for name, value in logs.items()},
            **{f"val_{name}": float(value) for name, value in metrics.items()},
        }
        logs.update({f"val_{name}": value for name, value in metrics.items()})
        if self._progress.judge(
            metrics[self._options.monitor], self.model.optimizer, self._options
        ):
            self._best.save(checkpoint_number=epoch)
        append_history(self._run, record)
        if bool(self._progress.stopped):
            self.model.stop_training = True

    def restore_best(self) -> None:
        """Gives the model the weights of the best epoch."""
        self._best.restore_or_initialize()


def append_history(run: Path, record: Mapping[str, float]) -> None:
    """Adds an epoch to history.json, in place of what an unfinished try left of it."""
    path = run / "history.json"
    records = json.loads(path.read_text()) if path.is_file() else []
    records = [old for old in records if old["epoch"] < record["epoch"]]
    write_json(path, [*records, dict(record)])


def write_json(path: Path, content: Any) -> None:
    """Writes JSON so that a reader sees the old file or the new one, whole."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    os.replace(partial, path)


class Checkpoints(keras.callbacks.Callback):
    """Writes checkpoints from which training goes on with the very next batch."""

    def __init__(self, progress: Progress, run: Path, every_steps: int) -> None:
        """Describes the checkpoints.

        Args:
            progress: Where the training is; kept up to date here.
            run: Folder for `checkpoints/`.
            every_steps: Steps between two checkpoints within an epoch.
        """
        super().__init__()
        self._progress = progress
        self._run = run
        self._every_steps = every_steps
        self._means: list[Any] | None = None

    def set_model(self, model: Method) -> None:
        """Prepares the manager and, where there is a checkpoint, restores it."""
        super().set_model(model)
        if getattr(self, "_manager", None) is not None:
            return
        model.optimizer.build(model.trainable_variables)
        self._manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(
                model=model, optimizer=model.optimizer, progress=self._progress
            ),
            str(self._run / "checkpoints"),
            max_to_keep=2,
        )
        self._manager.restore_or_initialize()
        # fit resets the means of the loss terms when it begins the epoch.
        self._means = [variable.numpy() for variable in self._mean_variables()]

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Takes up the means of an epoch that was cut short."""
        if self._means is not None and int(self._progress.step) > 0:
            for variable, value in zip(
                self._mean_variables(), self._means, strict=True
            ):
                variable.assign(value)
        self._means = None
        self._skipped = int(self._progress.step)
        self._saved = self._skipped

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts the step and writes a checkpoint where one is due."""
        self._progress.step.assign(self._skipped + batch + 1)
        # The last step's checkpoint is the epoch's own, written after validation.
        ended = batch + 1 >= self.params["steps"]
        if not ended and int(self._progress.step) - self._saved >= self._every_steps:
            self._saved = int(self._progress.step)
            self._manager.save()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Moves on to the next epoch and writes a checkpoint."""
        self._progress.epoch.assign(epoch + 1)
        self._progress.step.assign(0)
        self._manager.save()

    def _mean_variables(self) -> list[Any]:
        return [weight for mean in self.model.metrics for weight in mean.variables]
