"""Counting rows of Parquet files: one dense array a worker, row groups in between.

Several counts may share a reading: each says which `columns` it needs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.runtime.dataset_input import SplitDataset
from beam_jobs.runtime.report import Report
from tfcausal.schema import columns
from tfcausal.schema.dataset import shard_name
from tfcausal.stats.discretisation import ValueCounts
from tfcausal.stats.popularity import Int64s, ItemCounts
from tfcausal.stats.slots import SlotCounts, TimeCounts


def part_paths(dataset: SplitDataset, part: str) -> tuple[Path, ...]:
    """Returns the files of a part, in the order of shards."""
    folder = dataset.folder.part(part)
    return tuple(folder / shard_name(shard) for shard in range(dataset.num_shards))


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

    columns: tuple[str, ...] = (columns.ITEM,)

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


class CountPositives(CountItems):
    """Counts the rows whose label is 1, by item."""

    def __init__(self, num_items: int, label: str) -> None:
        """Keeps the size of the item vocabulary and the name of the label."""
        super().__init__(num_items)
        self._label = label
        self.columns = (columns.ITEM, label)

    def add_input(self, counts: ItemCounts, batch: pa.RecordBatch) -> ItemCounts:
        """Counts a block."""
        chosen = _positives(batch, self._label)
        return counts.add(batch.column(columns.ITEM).to_numpy()[chosen])


class CountSlots(beam.CombineFn):
    """Counts items in each time slot into one array."""

    columns = (columns.ITEM, columns.TIMESTAMP)

    def __init__(self, num_items: int, begins: tuple[int, ...]) -> None:
        """Keeps the size of the item vocabulary and where each slot begins."""
        self._num_items = num_items
        self._begins = begins

    def create_accumulator(self) -> SlotCounts:
        """Returns counts of nothing."""
        return SlotCounts.zeros(self._begins, self._num_items)

    def add_input(self, counts: SlotCounts, batch: pa.RecordBatch) -> SlotCounts:
        """Counts a block."""
        return counts.add(
            batch.column(columns.ITEM).to_numpy(),
            batch.column(columns.TIMESTAMP).to_numpy(),
        )

    def merge_accumulators(self, accumulators: Iterable[SlotCounts]) -> SlotCounts:
        """Adds all up."""
        total = self.create_accumulator()
        for counts in accumulators:
            total.merge(counts)
        return total

    def extract_output(self, counts: SlotCounts) -> Int64s:
        """Returns [num_slots, num_items] int64."""
        return counts.counts


class CountTimes(beam.CombineFn):
    """Counts rows by time, in bins of equal length."""

    columns = (columns.TIMESTAMP,)

    def __init__(self, first: int, last: int) -> None:
        """Keeps the span of time."""
        self._first, self._last = first, last

    def create_accumulator(self) -> TimeCounts:
        """Returns counts of nothing."""
        return TimeCounts.zeros(self._first, self._last)

    def add_input(self, counts: TimeCounts, batch: pa.RecordBatch) -> TimeCounts:
        """Counts a block."""
        return counts.add(batch.column(columns.TIMESTAMP).to_numpy())

    def merge_accumulators(self, accumulators: Iterable[TimeCounts]) -> TimeCounts:
        """Adds all up."""
        total = self.create_accumulator()
        for counts in accumulators:
            total.merge(counts)
        return total

    def extract_output(self, counts: TimeCounts) -> Int64s:
        """Returns [num_bins] int64."""
        return counts.counts


class CountValues(beam.CombineFn):
    """Counts rows by the value of a column."""

    def __init__(self, column: str, label: str | None) -> None:
        """Keeps the names of the column and of a label, if there is one."""
        self._column, self._label = column, label
        self.columns = (column,) if label is None else (column, label)

    def create_accumulator(self) -> ValueCounts:
        """Returns counts of nothing."""
        return ValueCounts.nothing()

    def add_input(self, found: ValueCounts, batch: pa.RecordBatch) -> ValueCounts:
        """Counts a block."""
        values = batch.column(self._column).to_numpy().astype(np.float64)
        positives = (
            None
            if self._label is None
            else _positives(batch, self._label).astype(np.int64)
        )
        ones = np.ones(len(values), np.int64)
        return found.merge(ValueCounts.of(values, ones, positives))

    def merge_accumulators(self, accumulators: Iterable[ValueCounts]) -> ValueCounts:
        """Adds all up."""
        total = self.create_accumulator()
        for found in accumulators:
            total = total.merge(found)
        return total

    def extract_output(self, found: ValueCounts) -> npt.NDArray[np.void]:
        """Returns the records of `ValueCounts.to_records`."""
        return found.to_records()


def _positives(batch: pa.RecordBatch, label: str) -> npt.NDArray[np.bool_]:
    positives: npt.NDArray[np.bool_] = batch.column(label).to_numpy() == 1
    return positives


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


@dataclass(frozen=True)
class Count:
    """Something to count in the rows of a part.

    Attributes:
        name: What it is called; no two of a run have one name.
        part: The part of the split.
        paths: Its files.
        combine: One of the CombineFns above.
    """

    name: str
    part: str
    paths: tuple[Path, ...]
    combine: Any


class CountRows(beam.PTransform):
    """Counts several things, reading each part once, and keeps them in a folder."""

    def __init__(self, counts: Sequence[Count], folder: Path) -> None:
        """Keeps what to count, and the folder where `read_counted` finds it."""
        super().__init__()
        self._by_part = {
            part: [count for count in counts if count.part == part]
            for part in sorted({count.part for count in counts})
        }
        self._folder = folder

    def without_beam(self) -> Iterator[Report]:
        """Does what `expand` does, one row group at a time."""
        for counts in self._by_part.values():
            totals = [count.combine.create_accumulator() for count in counts]
            for batch in read_without_beam(counts[0].paths, _columns_of(counts)):
                totals = [
                    count.combine.add_input(total, batch)
                    for count, total in zip(counts, totals, strict=True)
                ]
            for count, total in zip(counts, totals, strict=True):
                found = count.combine.extract_output(total)
                yield _keep(found, count.name, self._folder)

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Reads, counts and keeps; gives reports."""
        reports = []
        for part, counts in self._by_part.items():
            batches = pipeline | f"Read/{part}" >> ReadRowGroups(
                counts[0].paths, _columns_of(counts)
            )
            reports += [
                batches
                | f"Count/{count.name}" >> beam.CombineGlobally(count.combine)
                | f"Keep/{count.name}" >> beam.Map(_keep, count.name, self._folder)
                for count in counts
            ]
        return reports | "CountReports" >> beam.Flatten(pipeline=pipeline.pipeline)


def read_counted(folder: Path, name: str) -> npt.NDArray[Any]:
    """Returns what `CountRows` counted under a name."""
    path = folder / f".{name}.npy"
    with path.open("rb") as stream:
        found: npt.NDArray[Any] = np.load(stream, allow_pickle=False)
    return found


def _columns_of(counts: Sequence[Count]) -> list[str]:
    return sorted({name for count in counts for name in count.combine.columns})


def _keep(found: npt.NDArray[Any], name: str, folder: Path) -> Report:
    with (folder / f".{name}.npy").open("wb") as stream:
        np.save(stream, found, allow_pickle=False)
    return Report()
