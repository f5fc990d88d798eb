"""Running a job, in Beam or without it, and sealing the folder that it wrote."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from beam_jobs.runtime.report import REPORTS, Report, write_report
from tfcausal.errors import InputError
from tfcausal.schema.manifest import (
    Manifest,
    checksums,
    library_versions,
    write_manifest,
)

LOCAL_RUNNER = "FnApiRunner"
"""Runs in this process. Beam's own default would first try to fetch another runner."""

WITHOUT_BEAM = "local"
"""The --runner that is none: the stages' own code, one after the other, no Beam."""

_NOT_PROMISED = {
    "input",
    "output",
    "dataset",
    "overwrite",
    "user_features",
    "item_features",
    "before",
    "after",
}
"""Options that say where, not what: a manifest leaves them out."""


def run_pipeline(
    build: Callable[[beam.Pipeline], None],
    options: PipelineOptions | None,
    *,
    without_beam: Callable[[], Iterable[Report]],
    folder: Path,
) -> None:
    """Builds a pipeline, runs it and waits for its end; or does the work without Beam.

    Args:
        build: Adds the transforms, WriteReport among them.
        options: Beam's options; without a runner among them, LOCAL_RUNNER.
        without_beam: Does the same work, for --runner=local.
        folder: The folder that is being written.
    """
    options = PipelineOptions([]) if options is None else options
    runner = options.view_as(StandardOptions).runner or LOCAL_RUNNER
    if runner == WITHOUT_BEAM:
        write_report(without_beam(), folder)
        return
    try:
        begun = beam.Pipeline(runner=runner, options=options)
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(
            f"`--runner` must be one of Beam's runners, the full name of one, or "
            f"{WITHOUT_BEAM}; got {runner}: {error}"
        ) from error
    try:
        with begun as pipeline:
            build(pipeline)
    except RuntimeError as error:
        # What a worker raised; a full disk, say, which the user must hear of as such.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def call(do_fn: beam.DoFn, elements: Iterable[Any], *sides: Any) -> Iterator[Any]:
    """Yields what a DoFn makes of elements, without Beam.

    Args:
        do_fn: The DoFn.
        elements: What it is to process.
        *sides: Its side inputs.
    """
    do_fn.setup()
    for element in elements:
        yield from do_fn.process(element, *sides)
    do_fn.teardown()


def route(
    outputs: Iterable[Any], main: Callable[[Any], Any], **tagged: Callable[[Any], Any]
) -> Iterator[Report]:
    """Hands a DoFn's outputs on by their tags, without Beam, and yields its reports.

    Args:
        outputs: From `call`.
        main: Takes what has no tag.
        **tagged: By tag, what takes it.
    """
    for output in outputs:
        if not isinstance(output, beam.pvalue.TaggedOutput):
            main(output)
        elif output.tag == REPORTS:
            yield output.value
        else:
            tagged[output.tag](output.value)


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
