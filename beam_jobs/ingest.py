"""Raw interactions into a data set: checked, filtered, ids numbered, cut by user.

Order of the steps: unreadable rows are rejected; ratings below --min_rating are left
out; of repeated (user, item) pairs one stays; then, once and in this order, items with
fewer than --min_item_count interactions are dropped and users with fewer than
--min_user_count of what is left. (DICE's data are made so, in one pass each. An item
may therefore end below its minimum again.) With --min_core both filters are repeated
until nothing changes; --max_items and --max_users come last.
"""

import math
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.runtime.command import Job
from beam_jobs.runtime.flags import JobFlags, add_flags
from beam_jobs.runtime.pipeline import promised_options, run_pipeline, seal
from beam_jobs.runtime.report import Report
from beam_jobs.sources.asked import AskedColumns
from beam_jobs.sources.feature_file import FeatureFile, feature_file
from beam_jobs.sources.forms import FORMATS, RawInput, open_input
from beam_jobs.sources.units import ColumnNames
from beam_jobs.transforms.ingest import (
    Ingest,
    IngestPlan,
    clean_schema,
    ingest_without_beam,
)
from tfcausal.errors import InputError, unknown_name
from tfcausal.schema import columns
from tfcausal.schema.dataset import DatasetFolder, shard_name
from tfcausal.schema.folders import refuse_existing, staged_folder
from tfcausal.schema.manifest import Manifest, read_manifest
from tfcausal.schema.paths import as_path
from tfcausal.stats.cleaning import REJECTED_SCHEMA
from tfcausal.stats.raw_columns import TIMESTAMP_UNITS, TimestampUnit
from tfcausal.stats.repeats import REPEATS, Repeats

_SHARD_BYTES = 1 << 27
_SHOWN_ROWS = 3
_NONE_DROPPED = {"rows_of_rare_items": 0, "rows_of_rare_users": 0}
"""What a manifest says where no filter was asked for."""


@dataclass(frozen=True)
class IngestOptions:
    """Options of ingest.

    Attributes:
        input: A file, a folder or a glob of raw interactions.
        format: How they are written: csv (also .gz, .tsv), parquet, json (an object
            on each line), tfrecord (of tf.train.Example), lines (user item item ...),
            or as published: movielens, netflix, amazon, yelp, checkins (Gowalla),
            coat, kuairec, kuairand, wechat.
        output: The folder of the data set to write.
        user_column: Column of user ids; user_id unless named.
        item_column: Column of item ids; item_id unless named.
        rating_column: Column of ratings; unless named, `rating` where there is one;
            empty for none.
        timestamp_column: Column of times; unless named, `timestamp` where there is
            one; empty for none.
        timestamp_unit: What times count since 1970: s, ms or days; or iso for dates
            such as 2020-01-31 or 2020-01-31T23:59:59Z. By the format unless given.
        label_columns: Columns of feedback to carry along as float32, each with a
            number in every row, such as like,follow. By the format unless given.
        extra_columns: Other columns to carry along: NAME or NAME:float32, with "?"
            behind it where values may be missing, or NAME:int64. By the format unless
            given.
        column_names: Names of the columns of csv without a header, in order.
        min_rating: Leave out ratings below this.
        min_user_count: Drop users with fewer interactions than this.
        min_item_count: Drop items with fewer interactions than this.
        min_core: Drop items and users with fewer interactions than this again and
            again, until none is left; 1 for not at all.
        core_rounds: How often at most. Each costs a pass over all rows.
        max_users: Keep only so many users, the most frequent.
        max_items: Keep only so many items, the most frequent.
        hash_buckets: Hash the ids beyond --max_users and --max_items into so many
            further ones; 0 to drop their interactions.
        repeats: Of a user's repeated interactions with an item, keep the earliest, the
            latest, or (keep) all of them.
        user_features: A table of features of users: csv, parquet, or json and ascii
            as published.
        item_features: The same of items.
        list_columns: Feature columns of several values, such as genres,actors.
        list_separator: What stands between those values.
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
    timestamp_unit: TimestampUnit | None = None
    label_columns: tuple[str, ...] | None = None
    extra_columns: tuple[str, ...] | None = None
    column_names: tuple[str, ...] | None = None
    min_rating: float | None = None
    min_user_count: int = 1
    min_item_count: int = 1
    min_core: int = 1
    core_rounds: int = 20
    max_users: int | None = None
    max_items: int | None = None
    hash_buckets: int = 0
    repeats: Repeats = "earliest"
    user_features: str | None = None
    item_features: str | None = None
    list_columns: tuple[str, ...] = ()
    list_separator: str = "|"
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
        unit = self.timestamp_unit
        if unit is not None and unit not in TIMESTAMP_UNITS:
            raise unknown_name("timestamp_unit", unit, TIMESTAMP_UNITS)
        for name, least in (
            ("min_user_count", 1),
            ("min_item_count", 1),
            ("min_core", 1),
            ("core_rounds", 1),
            ("max_users", 1),
            ("max_items", 1),
            ("hash_buckets", 0),
            ("num_shards", 1),
            ("row_group_size", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"`{name}` must be at least {least}; got {value}.")
        if not 0 <= self.max_bad_fraction <= 1:
            raise InputError(
                f"`max_bad_fraction` must lie in [0, 1]; got {self.max_bad_fraction}."
            )
        if self.min_rating is not None and not math.isfinite(self.min_rating):
            raise InputError(f"`min_rating` must be finite; got {self.min_rating}.")
        if self.hash_buckets and self.max_users is None and self.max_items is None:
            raise InputError(
                "`hash_buckets` must go with `max_users` or `max_items`; got "
                f"{self.hash_buckets} and neither. Without them no id is hashed."
            )
        if not self.list_separator:
            raise InputError("`list_separator` must be one or more characters; got ''.")


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
    target = as_path(options.output)
    if not options.overwrite:
        refuse_existing(target)
    raw = open_input(options.input, options.format, _asked(options))
    if options.min_rating is not None and raw.columns.rating is None:
        raise InputError(
            f"`--min_rating` must go with a rating column; `{options.input}` has none. "
            "Name it with --rating_column, or leave --min_rating out."
        )
    features = _feature_files(options, raw.columns)
    num_shards = options.num_shards or max(4, math.ceil(raw.num_bytes / _SHARD_BYTES))
    if options.max_users is not None and options.hash_buckets % num_shards:
        raise InputError(
            f"`hash_buckets` must be a multiple of the number of shards, {num_shards}, "
            "where users are hashed, so that a bucket of users lies in one shard; got "
            f"{options.hash_buckets}. Change it, or give --num_shards."
        )
    with staged_folder(target, "dataset", overwrite=options.overwrite) as folder:
        paths = DatasetFolder(folder)
        paths.interactions.mkdir()
        paths.rejected.mkdir()
        plan = _plan(raw, features, options, num_shards, folder)
        run_pipeline(
            lambda pipeline: pipeline | "Ingest" >> Ingest(plan),
            pipeline_options,
            without_beam=lambda: ingest_without_beam(plan),
            finish=partial(_finish, options, raw.columns, plan),
            folder=folder,
        )
        return read_manifest(folder, kind="dataset")


def _finish(
    options: IngestOptions, names: ColumnNames, plan: IngestPlan, report: Report
) -> None:
    paths = DatasetFolder(plan.folder)
    _check(report, paths, options.max_bad_fraction)
    if not any(paths.rejected.iterdir()):
        pq.write_table(REJECTED_SCHEMA.empty_table(), paths.rejected / shard_name(0))
    seal(
        plan.folder,
        "dataset",
        options=promised_options(options) | {"num_shards": plan.num_shards},
        counts=_counts(report, paths),
        inputs=report.checksums,
        details=_details(names, options),
    )


def _given(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    # On a command line, `--label_columns=` is one empty name.
    return () if names == ("",) else names


def _asked(options: IngestOptions) -> AskedColumns:
    return AskedColumns(
        options.user_column,
        options.item_column,
        options.rating_column,
        options.timestamp_column,
        options.timestamp_unit,
        _given(options.label_columns),
        _given(options.extra_columns),
        _given(options.column_names),
    )


def _feature_files(
    options: IngestOptions, names: ColumnNames
) -> tuple[FeatureFile, ...]:
    lists = _given(options.list_columns) or ()
    files = tuple(
        feature_file(
            str(as_path(path)),
            id_column,
            own_name,
            lists,
            options.list_separator,
        )
        for path, id_column, own_name in (
            (options.user_features, columns.USER_ID, names.user),
            (options.item_features, columns.ITEM_ID, names.item),
        )
        if path is not None
    )
    for name in lists:
        if not any(name in file.lists for file in files):
            raise InputError(
                f"`list_columns` must be columns of --user_features or --item_features;"
                f" none of them has `{name}`."
            )
    return files


def _details(names: ColumnNames, options: IngestOptions) -> dict[str, Any]:
    by_kind: dict[str, list[str]] = {"label": [], "extra": []}
    for column in names.carried:
        by_kind[column.kind].append(column.name)
    return {
        "label_columns": by_kind["label"],
        "extra_columns": by_kind["extra"],
        "user_buckets": 0 if options.max_users is None else options.hash_buckets,
        "item_buckets": 0 if options.max_items is None else options.hash_buckets,
    }


def _plan(
    raw: RawInput,
    features: tuple[FeatureFile, ...],
    options: IngestOptions,
    num_shards: int,
    folder: Path,
) -> IngestPlan:
    return IngestPlan(
        files=raw.files,
        units=raw.units,
        schema=clean_schema(
            rating=raw.columns.rating is not None,
            timestamp=raw.columns.timestamp is not None,
            carried=raw.columns.carried,
        ),
        folder=folder,
        num_shards=num_shards,
        min_rating=options.min_rating,
        min_user_count=options.min_user_count,
        min_item_count=options.min_item_count,
        min_core=options.min_core,
        core_rounds=options.core_rounds,
        max_users=options.max_users,
        max_items=options.max_items,
        hash_buckets=options.hash_buckets,
        repeats=options.repeats,
        row_group_size=options.row_group_size,
        features=features,
    )


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
            "are seconds since 1970 unless --timestamp_unit says otherwise), name "
            "other columns, or raise --max_bad_fraction."
        )
    if not report.counts.get("interactions", 0):
        raise InputError(
            f"At least one row must pass the filters; all {rows:,} were dropped. Lower "
            "--min_rating, --min_item_count, --min_user_count or --min_core."
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


def _counts(report: Report, paths: DatasetFolder) -> Mapping[str, int]:
    # The unknown user and item are in the vocabularies and are not counted.
    vocabularies = {
        "users": pq.read_metadata(paths.users).num_rows - 1,
        "items": pq.read_metadata(paths.items).num_rows - 1,
    }
    return {**_NONE_DROPPED, **report.counts, **vocabularies}


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
