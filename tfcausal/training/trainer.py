"""From a data set's folder to a run's folder, with Keras's fit in the middle."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from tfcausal import methods
from tfcausal.data.interactions import CheckedDataset
from tfcausal.errors import InputError
from tfcausal.keras_compat import keras
from tfcausal.methods.base import Method
from tfcausal.methods.histories import HistoryMethod
from tfcausal.methods.options import MethodOptions
from tfcausal.samplers.batches import Batches
from tfcausal.schema.dataset import TRAIN
from tfcausal.schema.manifest import (
    Manifest,
    checksums,
    library_versions,
    read_manifest,
    write_manifest,
)
from tfcausal.training.batches import training_batches
from tfcausal.training.callbacks import (
    Checkpoints,
    Curriculum,
    Validate,
    Validation,
    write_json,
)
from tfcausal.training.optimizers import RowSparseAdam
from tfcausal.training.options import TrainingOptions
from tfcausal.training.progress import Progress
from tfcausal.training.run import Run, load_run, read_description


def compile_model(model: Method, options: TrainingOptions) -> None:
    """Compiles a method with the row-sparse Adam of `options`."""
    model.compile(
        optimizer=RowSparseAdam(
            model.options.learning_rate,
            beta_1=options.beta_1,
            beta_2=options.beta_2,
            amsgrad=options.amsgrad,
            l2=options.l2,
        ),
        steps_per_execution=options.steps_per_execution,
    )
    # A first step that makes the moments would be traced twice.
    model.optimizer.build(model.trainable_variables)


def train(
    dataset: CheckedDataset,
    method: str,
    method_options: MethodOptions,
    options: TrainingOptions,
    folder: Path,
    validate: Validate,
    *,
    overwrite: bool = False,
    verbose: int = 1,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """Trains a method, or goes on where an interrupted training stopped.

    Killed at any moment and called again with the same arguments, it ends with the
    same vectors and metrics as without the interruption. A finished run is returned as
    it is.

    Args:
        dataset: A data set that has been split and whose popularity is counted.
        method: Name of the method.
        method_options: Its options.
        options: Options of training.
        folder: The run's folder.
        validate: Scores vectors on validation; see `evaluation.validation`.
        overwrite: Whether to throw away what the folder holds.
        verbose: Keras's progress: 0 silent, 1 a bar, 2 a line an epoch.
        callbacks: Further ones; an epoch's validation comes before them.
    Returns:
        The finished run.
    Raises:
        InputError: If the data set misses something or does not fit, or the folder
            holds another run.
    """
    inputs = {"splits": dataset.splits.fingerprint}
    if options.triplets == "shards":
        # With hard negatives among them, options do not say which they are.
        kind, shards = "triplets", dataset.folder.triplets
        if issubclass(methods.get(method), HistoryMethod):
            kind, shards = "sequences", dataset.folder.sequences(TRAIN)
        inputs[kind] = read_manifest(shards, kind=kind).fingerprint
    defaults = {
        field.name: field.default
        for field in (*fields(method_options), *fields(options))
        if field.default is not MISSING
    }
    description = {
        "method": method,
        "dataset": os.path.relpath(dataset.folder.root.resolve(), folder.resolve()),
        "options": _as_read(asdict(method_options) | asdict(options)),
        "inputs": inputs,
    }
    with _only_writer(folder):
        _begin(folder, description, _as_read(defaults), overwrite=overwrite)
        if (folder / "manifest.json").is_file():
            return load_run(folder)
        model = methods.get(method).of_dataset(
            dataset, method_options, seed=options.seed
        )
        batches = training_batches(dataset, model, options)
        compile_model(model, options)
        _fit(model, batches, options, folder, validate, verbose, callbacks)
        _finish(model, folder, description, validate)
    return load_run(folder)


def _as_read(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options as run.json gives them back: tuples are lists."""
    read: dict[str, Any] = json.loads(json.dumps(options))
    return read


def _begin(
    folder: Path,
    description: Mapping[str, Any],
    defaults: Mapping[str, Any],
    *,
    overwrite: bool,
) -> None:
    if (folder / "run.json").is_file() and not overwrite:
        found = read_description(folder)
        # An option that has come since is as if it had been left alone.
        found["options"] = {**defaults, **found["options"]}
        for name in ("method", "options", "inputs"):
            if found[name] != description[name]:
                raise InputError(
                    f"`{folder}` must be empty or hold this very run; {name}: "
                    f"{_difference(found[name], description[name])}. A run cannot be "
                    "changed or prolonged: choose another folder, or pass --overwrite."
                )
        return
    for path in folder.iterdir():
        if not path.name.startswith("."):
            if not overwrite:
                raise InputError(
                    f"`{folder}` must be empty or hold a run; got {path.name}. Choose "
                    "another folder."
                )
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_json(folder / "run.json", description)


def _difference(found: Any, wanted: Any) -> str:
    if not isinstance(found, Mapping):
        return f"{found} there, {wanted} here"
    names = [name for name in wanted if found.get(name) != wanted[name]]
    return ", ".join(
        f"{name} {found.get(name)} there, {wanted[name]} here" for name in names
    )


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"`{folder}` must have one writer at a time; another process is "
                "training into it. Wait for that one, or choose another folder."
            ) from error
        yield


def _fit(
    model: Method,
    batches: Batches,
    options: TrainingOptions,
    folder: Path,
    validate: Validate,
    verbose: int,
    further: Sequence[keras.callbacks.Callback],
) -> None:
    progress = Progress()
    validation = Validation(validate, progress, options, folder)
    checkpoints = Checkpoints(progress, folder, options.checkpoint_steps)
    callbacks = [
        Curriculum(),
        validation,
        checkpoints,
        keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=False),
        *further,
    ]
    for callback in (validation, checkpoints):
        callback.set_model(model)

    def fit(epoch: int, end_epoch: int, skip: int) -> None:
        model.fit(
            batches.dataset(epoch, end_epoch, skip),
            initial_epoch=epoch,
            epochs=end_epoch,
            steps_per_epoch=batches.steps_per_epoch - skip,
            callbacks=callbacks,
            verbose=verbose,
        )

    skip = int(progress.step)
    if skip:
        fit(int(progress.epoch), int(progress.epoch) + 1, skip)
    if int(progress.epoch) < options.epochs and not bool(progress.stopped):
        fit(int(progress.epoch), options.epochs, 0)
    validation.restore_best()


def _finish(
    model: Method,
    folder: Path,
    description: Mapping[str, Any],
    validate: Validate,
) -> None:
    vectors = model.vectors()
    vectors.save(folder / "vectors")
    metrics = {name: float(value) for name, value in validate(vectors).items()}
    write_json(folder / "metrics.json", {"validation": metrics})
    files = {
        f"vectors/{name}": checksum
        for name, checksum in checksums(folder / "vectors").items()
    }
    write_manifest(
        folder,
        Manifest(
            kind="run",
            options={"method": description["method"], **description["options"]},
            counts={"users": len(vectors.queries), "items": len(vectors.candidates)},
            inputs=description["inputs"],
            files=files,
            versions=library_versions("tensorflow", "tf-keras", "numpy"),
        ),
    )
