"""Counting items in Parquet files: one dense array a worker, row groups in between."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from tfcausal.schema import columns
from tfcausal.stats.popularity import Int64s, ItemCounts


def read_without_beam(
    paths: Iterable[Path], names: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Yields the row groups of Parquet files, only some columns, without Beam."""
    for path in paths:
        for group in _row_groups(str(path)):
            yield from _read_row_group(group, tuple(names))


class ReadRowGroups(beam.PTransform):
    """Reads some columns of Parquet files, a RecordBatch for each row group."""

    def __init__(self, paths: Sequence[Path], names: Sequence[str]) -> None:
        """Keeps what to read.

        Args:
            paths: The files.
            names: The columns; nothing else is read from disk.
        """
        super().__init__()
        self._paths = tuple(str(path) for path in paths)
        self._names = tuple(names)

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Spreads the row groups over the workers, as paths and numbers."""
        return (
            pipeline
            | "Paths" >> beam.Create(self._paths)
            | "ListRowGroups" >> beam.FlatMap(_row_groups)
            | "SpreadRowGroups" >> beam.Reshuffle()
            | "ReadRowGroup" >> beam.FlatMap(_read_row_group, self._names)
        )


class _RowGroup(NamedTuple):
    path: str
    number: int


def _row_groups(path: str) -> Iterator[_RowGroup]:
    for number in range(pq.read_metadata(path).num_row_groups):
        yield _RowGroup(path, number)


def _read_row_group(
    group: _RowGroup, names: tuple[str, ...]
) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(group.path) as file:
        table = file.read_row_group(group.number, columns=list(names))
    yield from table.combine_chunks().to_batches()


class CountItems(beam.CombineFn):
    """Counts the item column of RecordBatches into one array."""

    def __init__(self, num_items: int) -> None:
        """Keeps the size of the item vocabulary, the unknown item included."""
        self._num_items = num_items

    def create_accumulator(self) -> ItemCounts:
        """Returns counts of nothing."""
        return ItemCounts.zeros(self._num_items)

    def add_input(self, counts: ItemCounts, batch: pa.RecordBatch) -> ItemCounts:
        """Counts a block."""
        return counts.add(batch.column(columns.ITEM).to_numpy())

    def merge_accumulators(self, accumulators: Iterable[ItemCounts]) -> ItemCounts:
        """Adds all up."""
        total = self.create_accumulator()
        for counts in accumulators:
            total.merge(counts)
        return total

    def extract_output(self, counts: ItemCounts) -> Int64s:
        """Returns [num_items] int64."""
        return counts.counts


class CountPopularity(beam.PTransform):
    """From RecordBatches with an item column to one [num_items] int64 array."""

    def __init__(self, num_items: int) -> None:
        """Keeps the size of the item vocabulary, the unknown item included."""
        super().__init__()
        self._num_items = num_items

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Counts."""
        return batches | "CountItems" >> beam.CombineGlobally(
            CountItems(self._num_items)
        )
