"""The stages of ingest, each on one piece of the input or one shard of users."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_jobs.runtime.ahead import ahead
from beam_jobs.runtime.report import Report, counted, failed
from beam_jobs.sources.forms import read_unit
from beam_jobs.sources.ranges import RangeRows, placed
from beam_jobs.sources.units import SourceUnit
from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.dataset import shard_name
from tfcausal.schema.interaction_files import write_rows
from tfcausal.stats import vocabulary, vocabulary_cut
from tfcausal.stats.arrow_bytes import table_from_bytes, table_to_bytes
from tfcausal.stats.cleaning import REJECTED_SCHEMA, clean
from tfcausal.stats.repeats import Repeats
from tfcausal.stats.shard_rows import (
    at_least,
    cut_by_user,
    drop_rare,
    ids_of,
    index_rows,
    join_blocks,
    with_place,
)
from tfcausal.stats.vocabulary_cut import cut_rows

_NAMESPACE = "ingest"
REJECTED = "rejected"
ITEM_COUNTS = "item_counts"
USER_COUNTS = "user_counts"
"""Tags of the stages' outputs beside the rows."""

ShardBytes = tuple[int, bytes]


class ReadUnits(beam.DoFn):
    """Reads and cleans a piece of the input, and cuts it by user."""

    def __init__(self, num_shards: int, min_rating: float | None) -> None:
        """Keeps the options."""
        self._num_shards = num_shards
        self._min_rating = min_rating

    def process(
        self, unit: SourceUnit, ranges: Sequence[RangeRows] = ()
    ) -> Iterator[Any]:
        """Yields (shard, clean rows); rejected rows and counts as tagged output."""
        try:
            placed_unit = placed(unit, ranges)
            if placed_unit is not None:
                yield from self._read(placed_unit)
        except InputError as error:
            yield failed(error)

    def _read(self, unit: SourceUnit) -> Iterator[Any]:
        for block in ahead(read_unit(unit)):
            cleaned = clean(block.raw, unit.file.name)
            rejected = pa.concat_tables([block.rejected, cleaned.rejected])
            if len(rejected):
                shard = unit.file.number % self._num_shards
                content = table_to_bytes(rejected)
                yield beam.pvalue.TaggedOutput(REJECTED, (shard, content))
            rows = at_least(cleaned.rows, self._min_rating)
            for shard, part in cut_by_user(rows, self._num_shards).items():
                placed_part = with_place(part, int(block.raw.positions[0]))
                yield shard, table_to_bytes(placed_part)
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


class JoinShards(beam.DoFn):
    """Joins the blocks of a shard and settles repeated interactions."""

    def __init__(self, repeats: Repeats, *, count_users: bool = True) -> None:
        """Keeps which row of a (user, item) pair stays, and what is counted."""
        self._repeats = repeats
        self.counts = _counts_asked(count_users)

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        """Yields (shard, rows); counts of its ids as tagged output."""
        shard, blocks = element
        tables = [table_from_bytes(block) for block in blocks]
        rows = join_blocks(tables, self._repeats)
        yield shard, table_to_bytes(rows)
        yield from _id_counts(rows, self.counts)
        repeated = sum(map(len, tables)) - len(rows)
        yield counted(_NAMESPACE, {"rows_repeated": repeated})


class DropRare(beam.DoFn):
    """Drops a shard's rows of rare items, then those of users with too few left."""

    sides = (ITEM_COUNTS,)

    def __init__(
        self, min_item_count: int, min_user_count: int, *, count_users: bool = True
    ) -> None:
        """Keeps the options; users are counted where a later stage asks for them."""
        self._min_item_count = min_item_count
        self._min_user_count = min_user_count
        self.counts = _counts_asked(count_users)

    def process(self, element: ShardBytes, item_counts: bytes) -> Iterator[Any]:
        """Yields (shard, rows); counts of its users and items as tagged output."""
        shard, content = element
        wanted = None
        if self._min_item_count > 1:
            counts = table_from_bytes(item_counts)
            wanted = vocabulary.frequent(counts, self._min_item_count)
        rows, dropped = drop_rare(
            table_from_bytes(content), wanted, self._min_user_count
        )
        yield shard, table_to_bytes(rows)
        yield from _id_counts(rows, self.counts)
        yield counted(
            _NAMESPACE, {f"rows_of_{name}s": rows for name, rows in dropped.items()}
        )


class CutVocabularies(beam.DoFn):
    """Hashes or drops a shard's rows of users and items beyond the vocabularies."""

    sides = counts = (USER_COUNTS, ITEM_COUNTS)

    def __init__(
        self,
        max_users: int | None,
        max_items: int | None,
        hash_buckets: int,
        repeats: Repeats,
    ) -> None:
        """Keeps the options."""
        self._max_users = max_users
        self._max_items = max_items
        self._hash_buckets = hash_buckets
        self._repeats = repeats

    def process(
        self, element: ShardBytes, user_counts: bytes, item_counts: bytes
    ) -> Iterator[Any]:
        """Yields (shard, rows); counts of its users and items as tagged output."""
        shard, content = element
        rows, changed = cut_rows(
            table_from_bytes(content),
            _kept(user_counts, self._max_users),
            _kept(item_counts, self._max_items),
            self._hash_buckets,
            self._repeats,
        )
        yield shard, table_to_bytes(rows)
        yield from _id_counts(rows, self.counts)
        yield counted(_NAMESPACE, changed)


def _kept(counts: bytes, maximum: int | None) -> pa.Table | None:
    if maximum is None:
        return None
    return vocabulary_cut.most_frequent(table_from_bytes(counts), maximum)


def _counts_asked(count_users: bool) -> tuple[str, ...]:
    # Users are counted where no later stage drops any.
    return (USER_COUNTS, ITEM_COUNTS) if count_users else (ITEM_COUNTS,)


def _id_counts(rows: pa.Table, tags: Sequence[str]) -> Iterator[Any]:
    ids = dict(zip((USER_COUNTS, ITEM_COUNTS), ids_of(rows), strict=True))
    for tag in tags:
        counts = table_to_bytes(vocabulary.count_ids(ids[tag]))
        yield beam.pvalue.TaggedOutput(tag, counts)


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


class WriteShards(beam.DoFn):
    """Replaces ids by indices and writes a shard."""

    def __init__(self, folder: Path, row_group_size: int) -> None:
        """Keeps where to write."""
        self._folder = folder
        self._row_group_size = row_group_size

    def setup(self) -> None:
        """Starts a thread, in which a shard is written while the next is indexed."""
        self._thread = ThreadPoolExecutor(1)

    def start_bundle(self) -> None:
        """Begins with nothing to wait for."""
        self._writing: Future[None] | None = None

    def process(self, element: ShardBytes, users: bytes, items: bytes) -> Iterator[Any]:
        """Yields reports."""
        shard, content = element
        rows = index_rows(
            table_from_bytes(content),
            table_from_bytes(users)[columns.USER_ID].combine_chunks(),
            table_from_bytes(items)[columns.ITEM_ID].combine_chunks(),
        )
        path = self._folder / shard_name(shard)
        self.finish_bundle()
        self._writing = self._thread.submit(
            write_rows, rows, path, self._row_group_size
        )
        yield counted(_NAMESPACE, {"interactions": len(rows)})

    def finish_bundle(self) -> None:
        """Waits for what is being written, and raises what went wrong."""
        if self._writing is not None:
            self._writing.result()

    def teardown(self) -> None:
        """Ends the thread."""
        self._thread.shutdown()


class WriteRejected(beam.DoFn):
    """Writes the rejected rows of some files, in order."""

    def __init__(self, folder: Path) -> None:
        """Keeps where to write."""
        self._folder = folder

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[Report]:
        """Yields an empty report, which the last stage has to wait for."""
        shard, blocks = element
        table = pa.concat_tables([table_from_bytes(block) for block in blocks])
        keys = [(name, "ascending") for name in REJECTED_SCHEMA.names]
        ordered = table.take(pc.sort_indices(table, sort_keys=keys))
        pq.write_table(ordered, self._folder / shard_name(shard))
        yield Report()
