"""Running a job, in Beam or without it, and sealing the folder that it wrote."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
)

from beam_jobs.runtime.report import (
    REPORTS,
    Finish,
    MergeReports,
    Report,
    finish_with,
    raise_failure,
)
from tfcausal.errors import InputError
from tfcausal.schema.folders import finish_folder
from tfcausal.schema.manifest import (
    Manifest,
    checksums,
    library_versions,
    write_manifest,
)
from tfcausal.schema.paths import is_store

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
    "model",
    "vectors",
    "users",
    "index",
    "items_per_shard",
}
"""Options that say where or how, not what: a manifest leaves them out."""


class Submitted(Exception):  # noqa: N818 - a way to end well, like StopIteration
    """The pipeline runs elsewhere, or will; its last stage seals the folder."""


def run_pipeline(
    build: Callable[[beam.Pipeline], beam.PCollection],
    options: PipelineOptions | None,
    *,
    without_beam: Callable[[], Iterable[Report]],
    finish: Callable[[Report], object],
    folder: Path,
) -> None:
    """Builds a pipeline, runs it and waits for its end; or does the work without Beam.

    Args:
        build: Adds the transforms and returns the reports.
        options: Beam's options; without a runner among them, LOCAL_RUNNER.
        without_beam: Does the same work, for --runner=local.
        finish: What the last stage does, on some worker, with the sum of all reports.
        folder: The folder that is being written.
    Raises:
        InputError: If the runner is none, its workers cannot see the folder, or a stage
            met input that does not fit.
        Submitted: If the options say not to wait for the end.
    """
    options = PipelineOptions([]) if options is None else options
    runner = options.view_as(StandardOptions).runner or LOCAL_RUNNER
    if runner == WITHOUT_BEAM:
        finish_with(finish, MergeReports().merge_accumulators(without_beam()))
        return
    _require_visible(runner, folder)
    waits = waits_for_end(options)
    try:
        begun = beam.Pipeline(runner=runner, options=options)
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(
            f"`--runner` must be one of Beam's runners, the full name of one, or "
            f"{WITHOUT_BEAM}; got {runner}: {error}"
        ) from error
    try:
        with begun as pipeline:
            _ = build(pipeline) | Finish(finish, folder, waits=waits)
    except RuntimeError as error:
        # What a worker raised; a full disk, say, which the user must hear of as such.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise
    if not waits:
        raise Submitted(
            f"handed to {runner}; `{folder}` is whole as soon as it has a manifest.json"
        )
    raise_failure(folder)


def waits_for_end(options: PipelineOptions | None) -> bool:
    """Returns whether a run waits for its pipeline's end.

    Beam's --no_wait_until_finish says that it does not; and a Dataflow template,
    classic or Flex, is only written.
    """
    return options is None or not (
        options.view_as(StandardOptions).no_wait_until_finish
        or options.view_as(GoogleCloudOptions).template_location
    )


def _require_visible(runner: str, folder: Path) -> None:
    if runner.rpartition(".")[2] == "DataflowRunner" and not is_store(folder):
        raise InputError(
            f"With `--runner={runner}` every path must be one that Dataflow's workers "
            f"see, such as gs://BUCKET/FOLDER; got `{folder}`. Copy the data there."
        )


def call(do_fn: beam.DoFn, elements: Iterable[Any], *sides: Any) -> Iterator[Any]:
    """Yields what a DoFn makes of elements, without Beam.

    Args:
        do_fn: The DoFn.
        elements: What it is to process.
        *sides: Its side inputs.
    """
    do_fn.setup()
    do_fn.start_bundle()
    for element in elements:
        yield from do_fn.process(element, *sides)
    do_fn.finish_bundle()
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
    finish_folder(folder)
    return manifest
