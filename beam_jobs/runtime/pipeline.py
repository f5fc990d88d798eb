"""Running a pipeline, and sealing the folder that it wrote."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from tfcausal.errors import InputError
from tfcausal.schema.manifest import (
    Manifest,
    checksums,
    library_versions,
    write_manifest,
)

LOCAL_RUNNER = "FnApiRunner"
"""Runs in this process. Beam's own default would first try to fetch another runner."""

_NOT_PROMISED = {"input", "output", "dataset", "overwrite"}
"""Options that say where, not what: a manifest leaves them out."""


def run_pipeline(
    build: Callable[[beam.Pipeline], None], options: PipelineOptions | None
) -> None:
    """Builds a pipeline, runs it and waits for its end.

    Args:
        build: Adds the transforms.
        options: Beam's options; without a runner among them, LOCAL_RUNNER.
    """
    options = PipelineOptions([]) if options is None else options
    runner = options.view_as(StandardOptions).runner or LOCAL_RUNNER
    with beam.Pipeline(runner=runner, options=options) as pipeline:
        build(pipeline)


def local_path(flag: str, path: str | Path) -> Path:
    """Returns a path of a local file system, absolute, so that workers find it.

    Raises:
        InputError: If it names another kind of file system.
    """
    # As a Path, the slashes after a scheme have become one.
    if ":/" in str(path):
        raise InputError(
            f"`--{flag}` must be a path of a local or mounted file system; got "
            f"`{path}`. Copy the data there first."
        )
    return Path(path).absolute()


def promised_options(options: Any) -> dict[str, Any]:
    """Returns a dataclass of options as a manifest holds it, without paths."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(options).items()
        if name not in _NOT_PROMISED
    }


def seal(
    folder: Path,
    kind: str,
    *,
    options: Mapping[str, Any],
    counts: Mapping[str, int],
    inputs: Mapping[str, str],
    details: Mapping[str, Any] | None = None,
) -> Manifest:
    """Writes the manifest of a folder whose files are all there.

    Returns:
        The manifest.
    """
    manifest = Manifest(
        kind=kind,
        options=options,
        counts=counts,
        inputs=inputs,
        files=checksums(folder),
        details=details or {},
        versions=library_versions("numpy", "pyarrow", "apache-beam"),
    )
    write_manifest(folder, manifest)
    return manifest
