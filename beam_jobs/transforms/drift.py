"""The transforms of drift: join two vocabularies shard by shard of their ids, twice.

The first pass gives the totals, from which shares and ranks follow; the second adds up
what each id contributes. Each reads the vocabularies again, which is cheaper than to
shuffle them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.runtime.pipeline import call
from beam_jobs.runtime.report import Report, counted_report
from tfcausal.schema.columns import COUNT, UNKNOWN_INDEX
from tfcausal.stats import drift
from tfcausal.stats.arrow_bytes import table_from_bytes, table_to_bytes
from tfcausal.stats.hashing import shards_of


@dataclass(frozen=True)
class DriftPlan:
    """What the transforms need to know.

    Attributes:
        name: "users" or "items".
        before: The earlier vocabulary.
        after: The later vocabulary.
        num_shards: Into how many shards the ids are cut.
        top: How many of the largest shifts are kept.
        folder: The folder that is being written.
    """

    name: str
    before: Path
    after: Path
    num_shards: int
    top: int
    folder: Path


@dataclass(frozen=True)
class ShardShift:
    """What one shard adds, once the totals are known.

    Attributes:
        divergence: Its part of the Jensen-Shannon divergence.
        products: Its part of the covariance of ranks.
        largest: Its largest shifts, as bytes.
    """

    divergence: float
    products: float
    largest: bytes


class _CompareShard(beam.DoFn):
    def __init__(self, plan: DriftPlan) -> None:
        self._plan = plan

    def join(self, shard: int) -> drift.JoinedCounts:
        plan = self._plan
        return drift.JoinedCounts.of(
            _ids_of_shard(plan.before, shard, plan.num_shards),
            _ids_of_shard(plan.after, shard, plan.num_shards),
        )


class _CountShard(_CompareShard):
    def process(self, shard: int) -> Iterator[drift.ShardTotals]:
        yield drift.ShardTotals.of(self.join(shard))


class _ShiftShard(_CompareShard):
    def process(self, shard: int, totals: drift.Totals) -> Iterator[ShardShift]:
        counts = self.join(shard)
        terms = drift.shift_terms(counts, totals)
        largest = drift.largest_shifts(counts, terms, self._plan.top)
        yield ShardShift(
            float(terms.sum()),
            drift.rank_products(counts, totals),
            table_to_bytes(largest),
        )


def _ids_of_shard(vocabulary: Path, shard: int, num_shards: int) -> pa.Table:
    """Reads the ids and counts of one shard, a row group at a time."""
    parts = []
    with pq.ParquetFile(vocabulary) as file:
        first = UNKNOWN_INDEX + 1  # only the first row of the file is the unknown one
        for group in range(file.metadata.num_row_groups):
            table = file.read_row_group(group).slice(first).combine_chunks()
            first = 0
            ids = table[0].combine_chunks()
            counts = table[COUNT].to_numpy()
            chosen = (shards_of(ids, num_shards) == shard) & (counts > 0)
            parts.append(
                drift.counts_table(ids.filter(pa.array(chosen)), counts[chosen])
            )
    return pa.concat_tables(parts)


def _write(shifts: list[ShardShift], totals: drift.Totals, plan: DriftPlan) -> Report:
    figures = drift.summary(
        totals,
        [shift.divergence for shift in shifts],
        [shift.products for shift in shifts],
    )
    tables = [table_from_bytes(shift.largest) for shift in shifts]
    largest = drift.merge_shifts(tables, plan.top)
    metadata = {name: repr(value) for name, value in figures.items()}
    path = plan.folder / f"{plan.name}.parquet"
    pq.write_table(largest.replace_schema_metadata(metadata), path)
    names = ("ids_new", "ids_vanished", "ids_in_both")
    counts = {
        f"{plan.name}_{n.removeprefix('ids_')}": int(figures[n] or 0) for n in names
    }
    return counted_report("drift", counts)


class Drift(beam.PTransform):
    """Compares two vocabularies; writes the largest shifts and gives the reports."""

    def __init__(self, plan: DriftPlan) -> None:
        """Keeps the plan."""
        super().__init__()
        self.plan = plan

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Counts, then compares."""
        plan = self.plan
        shards = pipeline | "Shards" >> beam.Create(range(plan.num_shards))
        totals = (
            shards
            | "CountShard" >> beam.ParDo(_CountShard(plan))
            | "TogetherCounts" >> beam.combiners.ToList()
            | "Totals" >> beam.Map(drift.Totals.of)
        )
        known = beam.pvalue.AsSingleton(totals)
        return (
            shards
            | "ShiftShard" >> beam.ParDo(_ShiftShard(plan), known)
            | "TogetherShifts" >> beam.combiners.ToList()
            | "Write" >> beam.Map(_write, known, plan)
        )

    def without_beam(self) -> Iterator[Report]:
        """Does what `expand` does, shard after shard."""
        plan = self.plan
        shards = range(plan.num_shards)
        totals = drift.Totals.of(list(call(_CountShard(plan), shards)))
        yield _write(list(call(_ShiftShard(plan), shards, totals)), totals, plan)


def read_figures(path: Path) -> dict[str, Any]:
    """Returns the figures that lie with a table of shifts."""
    metadata = pq.read_schema(path).metadata
    return {
        name.decode(): None if value == b"None" else float(value)
        for name, value in metadata.items()
        if not name.startswith(b"ARROW")
    }
