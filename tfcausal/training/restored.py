"""A finished run as the model that it was."""

from dataclasses import fields

import numpy as np
import tensorflow as tf

from tfcausal import methods
from tfcausal.data.interactions import CheckedDataset
from tfcausal.errors import InputError
from tfcausal.methods.base import Method
from tfcausal.training.run import Run

_TOLERANCE = 1e-4


def load_model(run: Run, dataset: CheckedDataset) -> Method:
    """Rebuilds the model of a run with the weights of its best epoch.

    Args:
        run: A finished run; its `best/` must still be there.
        dataset: The data set that it was trained on, as `Run.open_dataset` gives it.
    Returns:
        The model, whose vectors are the run's.
    Raises:
        InputError: If there are no weights, or they do not give the run's vectors.
    """
    method = methods.get(run.method)
    own = {field.name for field in fields(method.options_class)}
    options = method.options_class(
        **{name: value for name, value in run.options.items() if name in own}
    )
    model = method.of_dataset(dataset, options, seed=run.options["seed"])
    folder = run.folder / "best"
    best = tf.train.latest_checkpoint(str(folder))
    if best is None:
        raise InputError(
            f"`{folder}` must hold the weights of the best epoch; found none. Train "
            "again."
        )
    try:
        saved = tf.train.Checkpoint(variables=model.trainable_variables)
        saved.restore(best).assert_existing_objects_matched()
        found, expected = model.vectors(), run.vectors()
        same = found.causes == dict(expected.causes) and all(
            np.allclose(left, right, rtol=0, atol=_TOLERANCE * np.abs(right).max())
            for left, right in (
                (found.queries, expected.queries),
                (found.candidates, expected.candidates),
            )
        )
    except (AssertionError, ValueError) as error:
        raise _other_weights(run) from error
    if not same:
        raise _other_weights(run)
    return model


def _other_weights(run: Run) -> InputError:
    return InputError(
        f"`{run.folder / 'best'}` must give the vectors of its run; it does not. The "
        "weights, the data set or the method have changed since: train again."
    )
