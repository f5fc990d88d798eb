"""Options of training, the same for every method."""

import math
from dataclasses import dataclass
from typing import Literal

from tfcausal.errors import InputError


@dataclass(frozen=True)
class TrainingOptions:
    """How long, how fast and on what a method trains.

    Defaults are those of Zheng et al. (DICE), WWW 2021, and of its authors' code, but
    for `batch_size` (128 there), which suits a processor better, and `l2` (5e-8 there):
    larger batches shrink a row less often and need more of it.

    Attributes:
        seed: Seed of initial values, of the order of rows and of the negatives.
        epochs: At most so many passes over the training rows.
        batch_size: Positives in a batch.
        triplets: "graph" draws the negatives, or cuts the histories, while training;
            "shards" reads what beam_jobs.triplets drew, or beam_jobs.sequences cut.
            Equal seeds give equal rows.
        draw_positives: "each" visits every training row once an epoch; "by_user" draws
            as many, a user evenly and then one of their rows, as the authors of
            LightGCN, PDA and MACR do: users count alike, however much they have met.
            The latter not with triplets=shards, nor where users are histories or
            negatives are the batch.
        beta_1: Adam's decay of the first moment.
        beta_2: Adam's decay of the second moment.
        amsgrad: Whether Adam's denominator never falls.
        l2: Coupled L2 on the rows of each batch.
        monitor: Validation metric that decides on the best epoch; larger is better.
        reduce_patience: The learning rate falls after more epochs than this without a
            better metric.
        reduce_factor: What it is multiplied by then.
        min_learning_rate: Below which it never falls.
        stop_patience: At the least learning rate, training stops after more epochs than
            this without a better metric.
        checkpoint_steps: Steps between checkpoints within an epoch; one is written at
            each epoch's end in any case.
        steps_per_execution: Steps that TensorFlow takes between looks from Python.
    """

    seed: int = 0
    epochs: int = 500
    batch_size: int = 2048
    triplets: Literal["graph", "shards"] = "graph"
    draw_positives: Literal["each", "by_user"] = "each"
    beta_1: float = 0.5
    beta_2: float = 0.99
    amsgrad: bool = True
    l2: float = 1e-5
    monitor: str = "recall@50"
    reduce_patience: int = 5
    reduce_factor: float = 0.1
    min_learning_rate: float = 1e-4
    stop_patience: int = 3
    checkpoint_steps: int = 2000
    steps_per_execution: int = 16

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "checkpoint_steps", "steps_per_execution"):
            if getattr(self, name) < 1:
                raise InputError(f"`{name}` must be >= 1; got {getattr(self, name)}.")
        for name in ("l2", "min_learning_rate", "reduce_patience", "stop_patience"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(
                    f"`{name}` must be >= 0 and finite; got {getattr(self, name)}."
                )
        for name in ("beta_1", "beta_2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(
                    f"`{name}` must be in [0, 1); got {getattr(self, name)}."
                )
        if self.triplets not in ("graph", "shards"):
            raise InputError(
                f"`triplets` must be graph or shards; got {self.triplets}."
            )
        if self.draw_positives not in ("each", "by_user"):
            raise InputError(
                f"`draw_positives` must be each or by_user; got {self.draw_positives}."
            )
        if self.draw_positives == "by_user" and self.triplets == "shards":
            raise InputError(
                "`draw_positives` must be each with triplets=shards, which hold every "
                "training row once; got by_user. Train with triplets=graph."
            )
        if not 0 < self.reduce_factor < 1:
            raise InputError(
                f"`reduce_factor` must be in (0, 1); got {self.reduce_factor}."
            )
