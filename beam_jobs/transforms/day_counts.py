"""Counting items by day: blocks of counts by month, a file for each month.

row groups, many at once -> CountDays -> counts by month -> GroupByKey -> WriteMonth
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.runtime.pipeline import call, route
from beam_jobs.runtime.report import REPORTS, Report, counted, failed
from beam_jobs.runtime.spill import Spill, spill_folder
from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.dataset import TRAIN_INTERVENED
from tfcausal.schema.manifest import read_manifest, require_files
from tfcausal.stats.arrow_bytes import table_from_bytes, table_to_bytes
from tfcausal.stats.day_counts import (
    add_day_counts,
    add_named_day_counts,
    count_days,
    month_name,
    month_number,
    months_of,
    of_vocabulary,
    with_ids,
)

DAYS = "days"
"""Folder of the counts by day within a popularity's."""

_NAMESPACE = "popularity"
_COLUMNS = (columns.ITEM, columns.TIMESTAMP)
_ROWS_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class DayPlan:
    """What a worker needs to know.

    Attributes:
        parts: The files of each training part.
        items: The item vocabulary.
        folder: The folder to write, which exists.
        earlier: The same folder of an earlier run, whose counts are added; or None.
    """

    parts: dict[str, tuple[Path, ...]]
    items: Path
    folder: Path
    earlier: Path | None

    def earlier_months(self) -> list[tuple[int, bytes]]:
        """Gives each month of the earlier run an element, so that it has a file."""
        if self.earlier is None:
            return []
        return [(month, b"") for month in months_in(self.earlier)]


def months_in(folder: Path) -> list[int]:
    """Returns the months that a folder of counts has, from January 1970, ascending."""
    return sorted(month_number(path.name) for path in folder.glob("*.parquet"))


def read_months(folder: Path, vocabulary: pa.Array) -> Iterator[pa.Table]:
    """Yields the counts of each month in order, of the vocabulary's items.

    Args:
        folder: The folder that was written.
        vocabulary: String array; its row order is the index.
    """
    for month in months_in(folder):
        table = pq.read_table(
            folder / month_name(month), read_dictionary=[columns.ITEM_ID]
        )
        yield of_vocabulary(table, vocabulary)


class _Rows(NamedTuple):
    """Row groups of a part's file, from `begin` to before `end`."""

    part: str
    path: str
    begin: int
    end: int


def _many_rows(part: str, path: Path) -> Iterator[_Rows]:
    """Cuts a file into row groups that are counted together.

    The more rows, the fewer blocks of counts there are to shuffle.
    """
    metadata = pq.read_metadata(path)
    begin, size = 0, 0
    for group in range(metadata.num_row_groups):
        more = metadata.row_group(group).num_rows
        if begin < group and size + more > _ROWS_AT_ONCE:
            yield _Rows(part, str(path), begin, group)
            begin, size = group, 0
        size += more
    yield _Rows(part, str(path), begin, metadata.num_row_groups)


class _CountDays(beam.DoFn):
    """From row groups to counts by month, as bytes."""

    def process(self, rows: _Rows) -> Iterator[Any]:
        groups = range(rows.begin, rows.end)
        with pq.ParquetFile(rows.path) as file:
            table = file.read_row_groups(groups, columns=list(_COLUMNS))
        try:
            counts = count_days(
                *(table[name].to_numpy() for name in _COLUMNS),
                intervened=rows.part == TRAIN_INTERVENED,
            )
        except InputError as error:
            yield failed(error)
            return
        for month, piece in months_of(counts):
            yield month, table_to_bytes(piece)


class _WriteMonth(beam.DoFn):
    """From a month's blocks to its file, with the counts of an earlier run."""

    def __init__(self, plan: DayPlan) -> None:
        self._plan = plan

    def setup(self) -> None:
        """Reads the vocabulary, once on a worker."""
        ids = pq.read_table(self._plan.items, columns=[columns.ITEM_ID])
        self._vocabulary = ids[columns.ITEM_ID].combine_chunks()

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        month, blocks = element
        tables = [table_from_bytes(block) for block in blocks if block]
        named = columns.day_counts_schema().empty_table()
        if tables:
            named = with_ids(add_day_counts(tables), self._vocabulary)
        name = month_name(month)
        earlier = [
            pq.read_table(folder / name)
            for folder in (self._plan.earlier,)
            if folder is not None and (folder / name).is_file()
        ]
        total = add_named_day_counts([*earlier, named])
        pq.write_table(total, self._plan.folder / name)
        interactions = sum(
            int(total[name].to_numpy().sum())
            for name in (columns.POPULARITY, columns.POPULARITY_INTERVENED)
        )
        yield counted(_NAMESPACE, {"interactions": interactions})


class EarlierDays(NamedTuple):
    """Counts by day of an earlier run.

    Attributes:
        days: Their folder.
        fingerprint: Of the popularity that they belong to.
    """

    days: Path
    fingerprint: str


def open_earlier(root: Path, first_day: np.datetime64) -> EarlierDays:
    """Opens the popularity of an earlier run, to add later days to it.

    Args:
        root: Its folder.
        first_day: The first day of the rows that are to be added.
    Raises:
        InputError: If it is none, has no counts by day, has been changed, or does not
            end before that day.
    """
    manifest = read_manifest(root, kind="popularity")
    folder = root / DAYS
    if not manifest.options.get("by_day"):
        raise InputError(
            f"`{root}` must have counts by day to be added to; it has none. Count "
            "there again with --by_day."
        )
    require_files(manifest, root, below=f"{DAYS}/")
    last = pq.read_table(folder / month_name(months_in(folder)[-1]))
    last_day = last[columns.DAY].to_numpy()[-1]
    if first_day <= last_day:
        raise InputError(
            f"`increment` must end before the first day of this data set, {first_day}; "
            f"`{root}` goes to {last_day}, so rows may count twice. Ingest whole days "
            "that follow it."
        )
    return EarlierDays(folder, manifest.fingerprint)


class CountByDay(beam.PTransform):
    """Writes a file of counts for each month; gives the reports."""

    def __init__(self, plan: DayPlan) -> None:
        """Keeps the plan."""
        super().__init__()
        self._plan = plan

    def without_beam(self) -> Iterator[Report]:
        """Does what `expand` does, one block at a time."""
        with spill_folder(self._plan.folder) as spilled:
            blocks = Spill(spilled / "months")
            for element in self._plan.earlier_months():
                blocks.append(element)
            yield from route(call(_CountDays(), self._units()), blocks.append)
            written = call(_WriteMonth(self._plan), blocks.take())
            yield from route(written, lambda _: None)

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Builds the pipeline described at the top of this file."""
        found = (
            pipeline
            | "ManyRows" >> beam.Create(self._units())
            | "SpreadRows" >> beam.Reshuffle()
            | "CountDays"
            >> beam.ParDo(_CountDays()).with_outputs(REPORTS, main="months")
        )
        earlier = pipeline | "EarlierMonths" >> beam.Create(self._plan.earlier_months())
        written = (
            (earlier, found.months)
            | "AllBlocks" >> beam.Flatten()
            | "GroupByMonth" >> beam.GroupByKey()
            | "WriteMonth"
            >> beam.ParDo(_WriteMonth(self._plan)).with_outputs(REPORTS, main="none")
        )
        return (written[REPORTS], found[REPORTS]) | "DayReports" >> beam.Flatten()

    def _units(self) -> list[_Rows]:
        return [
            rows
            for part, paths in self._plan.parts.items()
            for path in paths
            for rows in _many_rows(part, path)
        ]
