"""A small training with a stop on the way, and DICE's on any backbone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfcausal import methods
from tfcausal.data.interactions import CheckedDataset
from tfcausal.evaluation.validation import validator
from tfcausal.methods.options import MethodOptions
from tfcausal.schema.vectors import CausalVectors
from tfcausal.training.options import TrainingOptions
from tfcausal.training.run import Run
from tfcausal.training.trainer import train

OPTIONS = TrainingOptions(
    epochs=3,
    batch_size=64,
    checkpoint_steps=5,
    steps_per_execution=2,
    monitor="recall@20",
)


def train_until(
    dataset: CheckedDataset,
    method_options: MethodOptions,
    options: TrainingOptions,
    folder: Path,
    *,
    method: str,
    stop_at: int = -1,
) -> Run:
    """Trains; stops at the end of an epoch, before its checkpoint is written.

    Args:
        dataset: The data set.
        method_options: Of the method.
        options: Of the training.
        folder: Of the run.
        method: Its name.
        stop_at: The epoch, counted from 1; -1 for none.
    Raises:
        KeyboardInterrupt: At the stop.
    """
    judge = validator(dataset, monitor=options.monitor)
    seen = 0

    def validate(vectors: CausalVectors) -> Mapping[str, float]:
        nonlocal seen
        seen += 1
        if seen == stop_at:
            raise KeyboardInterrupt
        return judge(vectors)

    return train(dataset, method, method_options, options, folder, validate, verbose=0)


def run_dice(
    dataset: CheckedDataset,
    folder: Path,
    backbone: Mapping[str, Any],
    *,
    stop_at: int = -1,
) -> Run:
    """Trains DICE on a backbone; see `train_until`."""
    method_options = methods.get("dice").options_class(
        embedding_dim=8, learning_rate=0.02, margin=3.0, min_pool=5, **backbone
    )
    return train_until(
        dataset, method_options, OPTIONS, folder, method="dice", stop_at=stop_at
    )
