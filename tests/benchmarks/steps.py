"""The time of a step of training, as the benchmarks of methods take it."""

import time

import numpy as np

from tfcausal.data.interactions import CheckedDataset
from tfcausal.methods.base import Method
from tfcausal.training.batches import training_batches
from tfcausal.training.options import TrainingOptions
from tfcausal.training.trainer import compile_model

STEPS_AT_ONCE = 4
_CALLS, _WARM_UP = 12, 4


def measured_steps(
    dataset: CheckedDataset, model: Method, batch_size: int
) -> dict[str, float]:
    """Trains a model for some steps.

    Args:
        dataset: The data set.
        model: The model, not compiled.
        batch_size: Rows in a batch.
    Returns:
        `step`, seconds; `epoch`, seconds; `rows` a second.
    Raises:
        InputError: If the data set lacks what the method needs.
    """
    options = TrainingOptions(
        batch_size=batch_size, steps_per_execution=STEPS_AT_ONCE, l2=1e-5
    )
    batches = training_batches(dataset, model, options)
    compile_model(model, options)
    drawn = iter(batches.dataset(0, 100))
    step = model.make_train_function()
    taken = []
    for _ in range(_CALLS):
        begin = time.perf_counter()
        step(drawn)
        taken.append((time.perf_counter() - begin) / STEPS_AT_ONCE)
    # The first runs trace the graph and fill the pipeline.
    seconds = float(np.median(taken[_WARM_UP:]))
    return {
        "step": seconds,
        "epoch": seconds * batches.steps_per_epoch,
        "rows": batches.batch_size / seconds,
    }
