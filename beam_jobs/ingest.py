"""Raw interactions into a data set: checked, filtered, ids numbered, cut by user.

Order of the steps: unreadable rows are rejected; ratings below --min_rating are left
out; of repeated (user, item) pairs one stays; then, once and in this order, items with
fewer than --min_item_count interactions are dropped and users with fewer than
--min_user_count of what is left. (DICE's data are made so, in one pass each. An item
may therefore end below its minimum again.)
"""

import math
import sys
from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.runtime.command import Job
from beam_jobs.runtime.flags import JobFlags, add_flags
from beam_jobs.runtime.pipeline import (
    local_path,
    promised_options,
    run_pipeline,
    seal,
)
from beam_jobs.runtime.report import Report, WriteReport, take_report
from beam_jobs.sources.forms import FORMATS, AskedColumns, RawInput, open_input
from beam_jobs.transforms.ingest import (
    Ingest,
    IngestPlan,
    clean_schema,
    ingest_without_beam,
)
from tfcausal.errors import InputError, unknown_name
from tfcausal.schema.dataset import DatasetFolder, shard_name
from tfcausal.schema.folders import refuse_existing, staged_folder
from tfcausal.schema.manifest import Manifest
from tfcausal.stats.cleaning import REJECTED_SCHEMA
from tfcausal.stats.repeats import REPEATS, Repeats

_SHARD_BYTES = 1 << 27
_SHOWN_ROWS = 3


@dataclass(frozen=True)
class IngestOptions:
    """Options of ingest.

    Attributes:
        input: A file, a folder or a glob of raw interactions.
        format: How they are written: csv (also .gz, .tsv), parquet, movielens (u.data,
            ratings.dat, ratings.csv) or lines (user item item ...).
        output: The folder of the data set to write.
        user_column: Column of user ids (csv, parquet); user_id unless named.
        item_column: Column of item ids (csv, parquet); item_id unless named.
        rating_column: Column of ratings; unless named, `rating` where there is one;
            empty for none.
        timestamp_column: Column of times in seconds since 1970; unless named,
            `timestamp` where there is one; empty for none.
        min_rating: Leave out ratings below this.
        min_user_count: Drop users with fewer interactions than this.
        min_item_count: Drop items with fewer interactions than this.
        repeats: Of a user's repeated interactions with an item, keep the earliest, the
            latest, or (keep) all of them.
        max_bad_fraction: Fail if more than this share of rows cannot be read.
        num_shards: Number of files to cut the users into; by the size of the input
            unless given. A shard must fit in the memory of a worker.
        row_group_size: Rows in a Parquet row group.
        overwrite: Replace what --output holds.
    """

    input: str
    format: str
    output: Path
    user_column: str | None = None
    item_column: str | None = None
    rating_column: str | None = None
    timestamp_column: str | None = None
    min_rating: float | None = None
    min_user_count: int = 1
    min_item_count: int = 1
    repeats: Repeats = "earliest"
    max_bad_fraction: float = 0.01
    num_shards: int | None = None
    row_group_size: int = 131_072
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises InputError for a value that makes no sense."""
        if self.format not in FORMATS:
            raise unknown_name("format", self.format, FORMATS)
        if self.repeats not in REPEATS:
            raise unknown_name("repeats", self.repeats, REPEATS)
        for name in (
            "min_user_count",
            "min_item_count",
            "num_shards",
            "row_group_size",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"`{name}` must be at least 1; got {value}.")
        if not 0 <= self.max_bad_fraction <= 1:
            raise InputError(
                f"`max_bad_fraction` must lie in [0, 1]; got {self.max_bad_fraction}."
            )
        if self.min_rating is not None and not math.isfinite(self.min_rating):
            raise InputError(f"`min_rating` must be finite; got {self.min_rating}.")


class IngestFlags(JobFlags):
    """Flags of ingest."""

    options_class = IngestOptions

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        add_flags(parser, IngestOptions)


def run(
    options: IngestOptions, pipeline_options: PipelineOptions | None = None
) -> Manifest:
    """Writes a data set.

    Args:
        options: Options of the job.
        pipeline_options: Beam's options; None to run in this process.
    Returns:
        The manifest of the data set.
    Raises:
        InputError: If the input or an option does not fit, or too many rows cannot be
            read. Nothing is left behind.
    """
    local_path("input", options.input)
    target = local_path("output", options.output)
    if not options.overwrite:
        refuse_existing(target)
    raw = open_input(
        options.input,
        options.format,
        AskedColumns(
            options.user_column,
            options.item_column,
            options.rating_column,
            options.timestamp_column,
        ),
    )
    if options.min_rating is not None and raw.columns.rating is None:
        raise InputError(
            f"`--min_rating` must go with a rating column; `{options.input}` has none. "
            "Name it with --rating_column, or leave --min_rating out."
        )
    num_shards = options.num_shards or max(4, math.ceil(raw.num_bytes / _SHARD_BYTES))
    with staged_folder(target, overwrite=options.overwrite) as folder:
        paths = DatasetFolder(folder)
        paths.interactions.mkdir()
        paths.rejected.mkdir()
        plan = _plan(raw, options, num_shards, folder)
        run_pipeline(
            lambda pipeline: _build(pipeline, plan),
            pipeline_options,
            without_beam=lambda: ingest_without_beam(plan),
            folder=folder,
        )
        report = take_report(folder)
        _check(report, paths, options.max_bad_fraction)
        if not any(paths.rejected.iterdir()):
            pq.write_table(
                REJECTED_SCHEMA.empty_table(), paths.rejected / shard_name(0)
            )
        return seal(
            folder,
            "dataset",
            options=promised_options(options) | {"num_shards": num_shards},
            counts=_counts(report, paths),
            inputs=report.checksums,
        )


def _plan(
    raw: RawInput, options: IngestOptions, num_shards: int, folder: Path
) -> IngestPlan:
    return IngestPlan(
        files=raw.files,
        units=raw.units,
        schema=clean_schema(
            rating=raw.columns.rating is not None,
            timestamp=raw.columns.timestamp is not None,
        ),
        folder=folder,
        num_shards=num_shards,
        min_rating=options.min_rating,
        min_user_count=options.min_user_count,
        min_item_count=options.min_item_count,
        repeats=options.repeats,
        row_group_size=options.row_group_size,
    )


def _build(pipeline: object, plan: IngestPlan) -> None:
    _ = pipeline | "Ingest" >> Ingest(plan) | WriteReport(plan.folder)


def _check(report: Report, paths: DatasetFolder, max_bad_fraction: float) -> None:
    """Raises InputError if too many rows are bad or none is left."""
    rows = report.counts.get("rows_read", 0)
    bad = report.counts.get("rows_rejected", 0)
    if not rows:
        raise InputError(
            "`--input` must have at least one row; all its files are empty. Check the "
            "path and --format."
        )
    if bad > max_bad_fraction * rows:
        raise InputError(
            f"At most {max_bad_fraction:.2%} of rows must be unreadable; got {bad:,} "
            f"of {rows:,}: {_first_rejected(paths.rejected)}. Mend the input (times "
            "are seconds since 1970), name other columns, or raise --max_bad_fraction."
        )
    if not report.counts.get("interactions", 0):
        raise InputError(
            f"At least one row must pass the filters; all {rows:,} were dropped. Lower "
            "--min_rating, --min_item_count or --min_user_count."
        )


def _first_rejected(folder: Path) -> str:
    found = pa.concat_tables(
        pq.read_table(path).slice(0, _SHOWN_ROWS)
        for path in sorted(folder.glob("*.parquet"))
    )
    return "; ".join(
        f"{row['source']} row {row['row']}: {row['reason']} in {row['text'][:60]!r}"
        for row in found.slice(0, _SHOWN_ROWS).to_pylist()
    )


def _counts(report: Report, paths: DatasetFolder) -> dict[str, int]:
    # The unknown user and item are in the vocabularies and are not counted.
    vocabularies = {
        "users": pq.read_metadata(paths.users).num_rows - 1,
        "items": pq.read_metadata(paths.items).num_rows - 1,
    }
    return dict(report.counts) | vocabularies


JOB = Job(
    name="ingest",
    summary="Reads raw interactions and writes a data set: rows checked and filtered, "
    "ids numbered, users cut into shards.",
    flags=IngestFlags,
    run=run,
)


def main() -> int:
    """Runs the command."""
    return JOB.main()


if __name__ == "__main__":
    sys.exit(main())
