"""The transforms of ingest: read and cut by user, filter, number, write.

units -> ReadUnits -> rows by shard -> GroupByKey -> JoinShards
      -> count items -> DropRare -> count users and items -> vocabularies
      -> WriteShards
"""

import dataclasses
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_jobs.runtime.pipeline import call, route
from beam_jobs.runtime.report import REPORTS, Report, counted, failed
from beam_jobs.sources.forms import read_unit
from beam_jobs.sources.units import InputFile, SourceUnit
from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.dataset import DatasetFolder, shard_name
from tfcausal.schema.manifest import file_checksum
from tfcausal.stats import vocabulary
from tfcausal.stats.arrow_bytes import table_from_bytes, table_to_bytes
from tfcausal.stats.cleaning import POSITION, REJECTED_SCHEMA, clean
from tfcausal.stats.repeats import Repeats
from tfcausal.stats.shard_rows import (
    at_least,
    cut_by_user,
    drop_rare,
    ids_of,
    index_rows,
    join_blocks,
)

_NAMESPACE = "ingest"
_REJECTED = "rejected"
_ITEM_COUNTS = "item_counts"
_USER_COUNTS = "user_counts"

ShardBytes = tuple[int, bytes]


def clean_schema(*, rating: bool, timestamp: bool) -> pa.Schema:
    """Returns the schema of clean rows."""
    text = pa.dictionary(pa.int32(), pa.string())
    fields = [(columns.USER_ID, text), (columns.ITEM_ID, text)]
    fields += [(columns.RATING, pa.float32())] if rating else []
    fields += [(columns.TIMESTAMP, pa.int64())] if timestamp else []
    return pa.schema([*fields, (POSITION, pa.int64())])


class ReadUnits(beam.DoFn):
    """Reads and cleans a piece of the input, and cuts it by user."""

    def __init__(self, num_shards: int, min_rating: float | None) -> None:
        """Keeps the options."""
        self._num_shards = num_shards
        self._min_rating = min_rating

    def process(self, unit: SourceUnit) -> Iterator[Any]:
        """Yields (shard, clean rows); rejected rows and counts as tagged output."""
        try:
            yield from self._read(unit)
        except InputError as error:
            yield failed(error)

    def _read(self, unit: SourceUnit) -> Iterator[Any]:
        for block in read_unit(unit):
            cleaned = clean(block.raw, unit.file.name)
            rejected = pa.concat_tables([block.rejected, cleaned.rejected])
            if len(rejected):
                shard = unit.file.number % self._num_shards
                content = table_to_bytes(rejected)
                yield beam.pvalue.TaggedOutput(_REJECTED, (shard, content))
            rows = at_least(cleaned.rows, self._min_rating)
            for shard, part in cut_by_user(rows, self._num_shards).items():
                yield shard, table_to_bytes(part)
            reasons = rejected["reason"].value_counts().to_pylist()
            yield counted(
                _NAMESPACE,
                {
                    "rows_read": len(cleaned.rows) + len(rejected),
                    "rows_rejected": len(rejected),
                    "rows_below_min_rating": len(cleaned.rows) - len(rows),
                    "lines_without_items": block.blank,
                }
                | {f"rejected/{row['values']}": row["counts"] for row in reasons},
            )


class _JoinShards(beam.DoFn):
    def __init__(self, repeats: Repeats) -> None:
        self._repeats = repeats

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        shard, blocks = element
        tables = [table_from_bytes(block) for block in blocks]
        rows = join_blocks(tables, self._repeats)
        _, items = ids_of(rows)
        yield shard, table_to_bytes(rows)
        counts = table_to_bytes(vocabulary.count_ids(items))
        yield beam.pvalue.TaggedOutput(_ITEM_COUNTS, counts)
        repeated = sum(map(len, tables)) - len(rows)
        yield counted(_NAMESPACE, {"rows_repeated": repeated})


class _DropRare(beam.DoFn):
    def __init__(self, min_item_count: int, min_user_count: int) -> None:
        self._min_item_count = min_item_count
        self._min_user_count = min_user_count

    def process(self, element: ShardBytes, item_counts: bytes) -> Iterator[Any]:
        shard, content = element
        wanted = None
        if self._min_item_count > 1:
            counts = table_from_bytes(item_counts)
            wanted = vocabulary.frequent(counts, self._min_item_count)
        rows, dropped = drop_rare(
            table_from_bytes(content), wanted, self._min_user_count
        )
        users, items = ids_of(rows)
        yield shard, table_to_bytes(rows)
        for tag, ids in ((_USER_COUNTS, users), (_ITEM_COUNTS, items)):
            counts = table_to_bytes(vocabulary.count_ids(ids))
            yield beam.pvalue.TaggedOutput(tag, counts)
        yield counted(
            _NAMESPACE, {f"rows_of_{name}s": rows for name, rows in dropped.items()}
        )


class MergeIdCounts(beam.CombineFn):
    """Adds counts of ids up, tables as bytes in and out."""

    _AT_ONCE = 16

    def create_accumulator(self) -> list[bytes]:
        """Returns no tables."""
        return []

    def add_input(self, tables: list[bytes], table: bytes) -> list[bytes]:
        """Adds a table, and merges when there are many."""
        tables.append(table)
        return tables if len(tables) < self._AT_ONCE else self.compact(tables)

    def merge_accumulators(self, accumulators: Iterable[list[bytes]]) -> list[bytes]:
        """Joins accumulators."""
        return self.compact([table for tables in accumulators for table in tables])

    def compact(self, tables: list[bytes]) -> list[bytes]:
        """Merges all tables into one."""
        return [self.extract_output(tables)]

    def extract_output(self, tables: list[bytes]) -> bytes:
        """Returns the sums."""
        merged = vocabulary.merge_counts([table_from_bytes(table) for table in tables])
        return table_to_bytes(merged)


def _make_vocabulary(counts: bytes, path: Path, id_column: str) -> bytes:
    table = vocabulary.order_vocabulary(table_from_bytes(counts), id_column)
    pq.write_table(table, path)
    return table_to_bytes(table.select([id_column]))


class _WriteShards(beam.DoFn):
    def __init__(self, folder: Path, row_group_size: int) -> None:
        self._folder = folder
        self._row_group_size = row_group_size

    def process(self, element: ShardBytes, users: bytes, items: bytes) -> Iterator[Any]:
        shard, content = element
        rows = index_rows(
            table_from_bytes(content),
            table_from_bytes(users)[columns.USER_ID].combine_chunks(),
            table_from_bytes(items)[columns.ITEM_ID].combine_chunks(),
        )
        path = self._folder / shard_name(shard)
        pq.write_table(rows, path, row_group_size=self._row_group_size)
        yield counted(_NAMESPACE, {"interactions": len(rows)})


class _WriteRejected(beam.DoFn):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[None]:
        shard, blocks = element
        table = pa.concat_tables([table_from_bytes(block) for block in blocks])
        keys = [(name, "ascending") for name in REJECTED_SCHEMA.names]
        ordered = table.take(pc.sort_indices(table, sort_keys=keys))
        pq.write_table(ordered, self._folder / shard_name(shard))
        yield from ()


def _checksum(file: InputFile) -> Report:
    return Report(checksums={file.name: file_checksum(Path(file.path))})


@dataclasses.dataclass(frozen=True)
class IngestPlan:
    """What the transforms need to know.

    Attributes:
        files: The input's files.
        units: The pieces of work.
        schema: Schema of clean rows.
        folder: The folder that is being written; its subfolders exist.
        num_shards: Number of shards.
        min_rating: Least rating to keep; None for all.
        min_user_count: Least interactions of a user.
        min_item_count: Least interactions of an item.
        repeats: What becomes of repeated interactions.
        row_group_size: Rows in a Parquet row group.
    """

    files: tuple[InputFile, ...]
    units: tuple[SourceUnit, ...]
    schema: pa.Schema
    folder: Path
    num_shards: int
    min_rating: float | None
    min_user_count: int
    min_item_count: int
    repeats: Repeats
    row_group_size: int


class Ingest(beam.PTransform):
    """From pieces of the input to the files of a data set; gives the reports."""

    def __init__(self, plan: IngestPlan) -> None:
        """Keeps the plan."""
        super().__init__()
        self._plan = plan

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Builds the pipeline described at the top of this file."""
        plan = self._plan
        folder = DatasetFolder(plan.folder)
        read = (
            pipeline
            | "Units" >> beam.Create(plan.units)
            | "ReadUnits"
            >> beam.ParDo(ReadUnits(plan.num_shards, plan.min_rating)).with_outputs(
                _REJECTED, REPORTS, main="rows"
            )
        )
        joined = (
            (read.rows, self._every_shard(pipeline))
            | "WithEmptyShards" >> beam.Flatten()
            | "GroupByShard" >> beam.GroupByKey()
            | "JoinShards"
            >> beam.ParDo(_JoinShards(plan.repeats)).with_outputs(
                _ITEM_COUNTS, REPORTS, main="rows"
            )
        )
        all_items = (
            joined[_ITEM_COUNTS]
            | "CountAllItems"
            >> beam.CombineGlobally(MergeIdCounts()).without_defaults()
        )
        kept = joined.rows | "DropRare" >> beam.ParDo(
            _DropRare(plan.min_item_count, plan.min_user_count),
            beam.pvalue.AsSingleton(all_items),
        ).with_outputs(_USER_COUNTS, _ITEM_COUNTS, REPORTS, main="rows")
        users, items = (
            kept[tag]
            | f"Count{label}"
            >> beam.CombineGlobally(MergeIdCounts()).without_defaults()
            | f"Number{label}" >> beam.Map(_make_vocabulary, path, id_column)
            for tag, label, path, id_column in (
                (_USER_COUNTS, "Users", folder.users, columns.USER_ID),
                (_ITEM_COUNTS, "Items", folder.items, columns.ITEM_ID),
            )
        )
        written = kept.rows | "WriteShards" >> beam.ParDo(
            _WriteShards(folder.interactions, plan.row_group_size),
            beam.pvalue.AsSingleton(users),
            beam.pvalue.AsSingleton(items),
        ).with_outputs(REPORTS, main="none")
        _ = (
            read[_REJECTED]
            | "GroupRejected" >> beam.GroupByKey()
            | "WriteRejected" >> beam.ParDo(_WriteRejected(folder.rejected))
        )
        checksums = (
            pipeline
            | "Files" >> beam.Create(plan.files)
            | "Checksums" >> beam.Map(_checksum)
        )
        reports = (read[REPORTS], joined[REPORTS], kept[REPORTS], written[REPORTS])
        return (*reports, checksums) | "AllReports" >> beam.Flatten()

    def _every_shard(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Gives each shard a block without rows, so that each gets its file."""
        return pipeline | "EveryShard" >> beam.Create(_every_shard(self._plan))


def _every_shard(plan: IngestPlan) -> list[ShardBytes]:
    empty = table_to_bytes(plan.schema.empty_table())
    return [(shard, empty) for shard in range(plan.num_shards)]


class _Spill:
    """Blocks of bytes by shard, on disk until their shard is asked for."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder

    def append(self, element: ShardBytes) -> None:
        shard, block = element
        with (self._folder / str(shard)).open("ab") as stream:
            stream.write(len(block).to_bytes(8, "little") + block)

    def take(self) -> Iterator[tuple[int, list[bytes]]]:
        for path in sorted(self._folder.iterdir(), key=lambda path: int(path.name)):
            blocks = []
            with path.open("rb") as stream:
                while size := stream.read(8):
                    blocks.append(stream.read(int.from_bytes(size, "little")))
            path.unlink()
            yield int(path.name), blocks

    def take_one_each(self) -> Iterator[ShardBytes]:
        for shard, (block,) in self.take():
            yield shard, block


class _IdCounts:
    """Counts of ids, added up as they come."""

    def __init__(self) -> None:
        self._merge = MergeIdCounts()
        self._tables = self._merge.create_accumulator()

    def add(self, table: bytes) -> None:
        self._tables = self._merge.add_input(self._tables, table)

    def total(self) -> bytes:
        return self._merge.extract_output(self._tables)


def ingest_without_beam(plan: IngestPlan) -> Iterator[Report]:
    """Does what `Ingest` does, one piece and one shard at a time, without Beam.

    Args:
        plan: The plan.
    Yields:
        The reports.
    """
    folder = DatasetFolder(plan.folder)
    spilled = plan.folder / ".spilled"
    spilled.mkdir()
    read, joined, kept, rejected = (
        _Spill(spilled / name) for name in ("read", "joined", "kept", "rejected")
    )
    all_items, users, items = (_IdCounts() for _ in range(3))
    for element in _every_shard(plan):
        read.append(element)
    yield from route(
        call(ReadUnits(plan.num_shards, plan.min_rating), plan.units),
        read.append,
        rejected=rejected.append,
    )
    yield from route(
        call(_JoinShards(plan.repeats), read.take()),
        joined.append,
        item_counts=all_items.add,
    )
    yield from route(
        call(
            _DropRare(plan.min_item_count, plan.min_user_count),
            joined.take_one_each(),
            all_items.total(),
        ),
        kept.append,
        user_counts=users.add,
        item_counts=items.add,
    )
    user_ids = _make_vocabulary(users.total(), folder.users, columns.USER_ID)
    item_ids = _make_vocabulary(items.total(), folder.items, columns.ITEM_ID)
    write = _WriteShards(folder.interactions, plan.row_group_size)
    yield from route(
        call(write, kept.take_one_each(), user_ids, item_ids), lambda _: None
    )
    for _ in call(_WriteRejected(folder.rejected), rejected.take()):
        pass
    shutil.rmtree(spilled)
    yield from map(_checksum, plan.files)
