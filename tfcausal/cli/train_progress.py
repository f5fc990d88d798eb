"""What `tfcausal train` shows: a line an epoch, and a bar of steps on a terminal."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.progress import Progress

from tfcausal.keras_compat import keras
from tfcausal.training.options import TrainingOptions


def read_history(run: Path) -> list[dict[str, Any]]:
    """Returns what training has written down of each epoch."""
    found: list[dict[str, Any]] = json.loads(
        (run / "history.json").read_text(encoding="utf-8")
    )
    return found


def best_epoch(history: list[dict[str, Any]], monitor: str) -> dict[str, Any]:
    """Returns the first epoch with the largest monitored metric."""
    return max(history, key=lambda epoch: float(epoch[f"val_{monitor}"]))


class ShowEpochs(keras.callbacks.Callback):
    """Shows the loss and the monitored metric alone; history.json has all of them.

    Must stand behind the validation, which writes the history.
    """

    def __init__(self, progress: Progress, run: Path, options: TrainingOptions) -> None:
        """Describes what is shown.

        Args:
            progress: The bar, which shows nothing where there is no terminal.
            run: The run's folder.
            options: The monitored metric and the number of epochs.
        """
        super().__init__()
        self._progress = progress
        self._run = run
        self._options = options
        self._task = progress.add_task("")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begins the bar anew."""
        self._began = time.perf_counter()
        self._name = f"epoch {epoch + 1} of {self._options.epochs}"
        self._progress.reset(
            self._task, total=self.params["steps"], description=self._name
        )

    def on_train_batch_end(
        self, batch: int, logs: Mapping[str, float] | None = None
    ) -> None:
        """Moves the bar."""
        self._progress.update(self._task, completed=batch + 1)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Prints the epoch's line."""
        history = read_history(self._run)
        monitor = self._options.monitor
        ended = history[-1]
        best = ", best so far" if best_epoch(history, monitor) is ended else ""
        self._progress.print(
            f"{self._name}: loss {ended['loss']:.4f}, "
            f"{monitor} {ended[f'val_{monitor}']:.4f}{best}, "
            f"{time.perf_counter() - self._began:.0f} s",
            highlight=False,
            soft_wrap=True,
        )
