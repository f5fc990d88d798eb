"""Two data sets side by side: what a retraining meets that the last one did not.

The users and the items of both are joined by their ids. Of each: how far the shares of
interactions lie apart, how the order by count has changed, which ids are new and which
are gone, and which ids moved most.
"""

import math
import sys
from argparse import ArgumentParser
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import apache_beam as beam
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.runtime.command import Job
from beam_jobs.runtime.dataset_input import open_ingested
from beam_jobs.runtime.flags import JobFlags, add_flags
from beam_jobs.runtime.pipeline import promised_options, run_pipeline, seal
from beam_jobs.runtime.report import Report
from beam_jobs.transforms.drift import Drift, DriftPlan, read_figures
from tfcausal.errors import InputError
from tfcausal.schema.dataset import DatasetFolder
from tfcausal.schema.folders import staged_folder
from tfcausal.schema.manifest import Manifest, read_manifest
from tfcausal.schema.paths import as_path

_SHARD_IDS = 4_000_000

_COMPARED = ("users", "items")


@dataclass(frozen=True)
class DriftOptions:
    """Options of drift.

    Attributes:
        before: The earlier data set, as beam_jobs.ingest wrote it.
        after: The later one.
        output: The folder to write.
        top: How many of the ids that moved most are listed.
        overwrite: Replace what --output holds.
    """

    before: Path
    after: Path
    output: Path
    top: int = 1_000
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises InputError for a value that makes no sense."""
        if self.top < 1:
            raise InputError(f"`top` must be at least 1; got {self.top}.")


class DriftFlags(JobFlags):
    """Flags of drift."""

    options_class = DriftOptions

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        add_flags(parser, DriftOptions)


def run(
    options: DriftOptions, pipeline_options: PipelineOptions | None = None
) -> Manifest:
    """Compares two data sets.

    Args:
        options: Options of the job.
        pipeline_options: Beam's options; None to run in this process.
    Returns:
        The manifest; `details` has the figures of `users` and of `items`.
    Raises:
        InputError: If one of the data sets is none, or an option does not fit.
    """
    target = as_path(options.output)
    before, after = (open_ingested(path) for path in (options.before, options.after))
    with staged_folder(target, "drift", overwrite=options.overwrite) as folder:
        compared = [
            Drift(_plan(before.folder, after.folder, name, options.top, folder))
            for name in _COMPARED
        ]

        def build(pipeline: beam.Pipeline) -> beam.PCollection:
            reports = [pipeline | each.plan.name >> each for each in compared]
            return reports | "AllReports" >> beam.Flatten()

        run_pipeline(
            build,
            pipeline_options,
            without_beam=lambda: (
                report for each in compared for report in each.without_beam()
            ),
            finish=partial(_finish, options, before.manifest, after.manifest, folder),
            folder=folder,
        )
        return read_manifest(folder, kind="drift")


def _finish(
    options: DriftOptions,
    before: Manifest,
    after: Manifest,
    folder: Path,
    report: Report,
) -> None:
    seal(
        folder,
        "drift",
        options=promised_options(options),
        counts=report.counts,
        inputs={"before": before.fingerprint, "after": after.fingerprint},
        details={name: read_figures(folder / f"{name}.parquet") for name in _COMPARED},
    )


def _plan(
    before: DatasetFolder, after: DatasetFolder, name: str, top: int, folder: Path
) -> DriftPlan:
    paths = [getattr(dataset, name) for dataset in (before, after)]
    ids = max(pq.read_metadata(path).num_rows for path in paths)
    return DriftPlan(
        name=name,
        before=paths[0],
        after=paths[1],
        num_shards=math.ceil(ids / _SHARD_IDS),
        top=top,
        folder=folder,
    )


JOB = Job(
    name="drift",
    summary="Compares popularity and vocabularies of two data sets.",
    flags=DriftFlags,
    run=run,
)


def main() -> int:
    """Runs the command."""
    return JOB.main()


if __name__ == "__main__":
    sys.exit(main())
