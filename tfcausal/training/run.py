"""A run's folder: what was trained, on what, and what came out.

RUN/run.json         method, options, data set; written first
RUN/checkpoints/     where to go on after an interruption
RUN/best/            weights of the best epoch
RUN/history.json     loss terms, metrics and learning rate of each epoch
RUN/tensorboard/     the same for TensorBoard
RUN/vectors/         the best epoch's vectors: all that comes after needs nothing else
RUN/metrics.json     metrics by split
RUN/manifest.json    kind "run"; written last: the run is whole
RUN/calibration.json weights chosen after the training, by `tfcausal calibrate`
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcausal.data.interactions import CheckedDataset, open_dataset
from tfcausal.errors import InputError
from tfcausal.schema.manifest import Manifest, read_manifest, require_input
from tfcausal.schema.vectors import CausalVectors


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: Its folder.
        method: Name of the method.
        dataset: Folder of the data set it was trained on.
        options: Method's and training's options by name.
        manifest: What the run promises.
    """

    folder: Path
    method: str
    dataset: Path
    options: Mapping[str, Any]
    manifest: Manifest

    def open_dataset(self, folder: Path | None = None) -> CheckedDataset:
        """Opens the data set that it was trained on.

        Args:
            folder: Where that is; None for where it was in training.
        Raises:
            InputError: If there is none, or its split is another.
        """
        dataset = open_dataset(folder or self.dataset)
        fingerprint = dataset.splits.fingerprint
        require_input(self.manifest, "splits", fingerprint, self.folder)
        return dataset

    def vectors(self) -> CausalVectors:
        """Reads the vectors of the best epoch, mapped into memory."""
        return CausalVectors.load(self.folder / "vectors")

    @property
    def calibration_path(self) -> Path:
        """Where `tfcausal calibrate` keeps what it chose; missing before it has."""
        return self.folder / "calibration.json"


def load_run(folder: Path | str) -> Run:
    """Opens a finished run.

    Args:
        folder: Its folder.
    Raises:
        InputError: If there is none, or its training has not ended.
    """
    folder = Path(folder)
    if not (folder / "manifest.json").is_file():
        state = "not finished" if (folder / "run.json").is_file() else "not there"
        raise InputError(
            f"`{folder}` must be a finished run; it is {state}. Run `tfcausal train "
            f"--run={folder}` to begin it or to go on."
        )
    manifest = read_manifest(folder, kind="run")
    description = read_description(folder)
    return Run(
        folder=folder,
        method=description["method"],
        dataset=Path(os.path.normpath(folder / description["dataset"])),
        options=description["options"],
        manifest=manifest,
    )


def read_description(folder: Path) -> dict[str, Any]:
    """Reads run.json.

    Raises:
        InputError: If it is not the JSON that a run begins with.
    """
    path = folder / "run.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for name in ("method", "dataset", "options", "inputs"):
            content[name]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"`{path}` must describe a run in JSON; got {error}. Train into another "
            "folder."
        ) from error
    return content
