"""The transforms of split: find thresholds by counting, then write each shard's parts.

Every stage reads the shards again instead of keeping keys: a key is a pure function of
its row, and reading two columns is cheaper than a shuffle of all rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.runtime.dataset_input import read_counts
from beam_jobs.runtime.pipeline import call
from beam_jobs.runtime.report import Report, counted_report
from tfcausal.schema import columns
from tfcausal.schema.dataset import DatasetFolder, shard_name
from tfcausal.stats.selection import LEVELS, Keys, Targets, Threshold, thresholds
from tfcausal.stats.splitting import capped_weights, part_keys, pool_keys, row_words

_NAMESPACE = "split"
_SHARD_BITS = 40


@dataclass(frozen=True)
class SplitPlan:
    """What the transforms need to know.

    Attributes:
        dataset: The data set.
        seed: Seed of all draws.
        cap_percentile: See `capped_weights`.
        pool_rows: Rows of the intervened pool; None for a split without one.
        parts: Names of the parts that the pool (or all rows) is cut into.
        part_ends: Where each of them ends, in rows.
        rest: Name of the part of the rows outside the pool; None without a pool.
    """

    dataset: DatasetFolder
    seed: int
    cap_percentile: float
    pool_rows: int | None
    parts: tuple[str, ...]
    part_ends: tuple[int, ...]
    rest: str | None


class _KeyReader:
    """Reads shards and gives the keys by which their rows are selected."""

    def __init__(self, plan: SplitPlan) -> None:
        self._plan = plan
        self._weights: npt.NDArray[np.float64] | None = None

    def load(self) -> None:
        """Reads the weights of the items; to be called once on a worker."""
        if self._plan.pool_rows is not None:
            counts = read_counts(self._plan.dataset.items)
            self._weights = capped_weights(counts, self._plan.cap_percentile)

    def words(self, table: pa.Table) -> npt.NDArray[np.uint64]:
        met = (
            table[columns.OCCURRENCE].to_numpy()
            if columns.OCCURRENCE in table.column_names
            else None
        )
        users, items = (table[name].to_numpy() for name in (columns.USER, columns.ITEM))
        return row_words(self._plan.seed, users, items, met)

    def pool(self, table: pa.Table, first_row: int) -> Keys:
        """Returns the keys that select the pool."""
        if self._weights is None:
            raise RuntimeError("a split without a pool has no weights")
        weights = self._weights[table[columns.ITEM].to_numpy()]
        return Keys(pool_keys(self.words(table), weights), _rows(first_row, table))

    def part(self, table: pa.Table, first_row: int) -> Keys:
        """Returns the keys that cut the pool, or all rows, into parts."""
        return Keys(part_keys(self.words(table)), _rows(first_row, table))

    def batches(self, shard: int) -> Iterator[tuple[pa.Table, int]]:
        """Yields a shard's row groups, only the columns that keys need."""
        first_row = shard << _SHARD_BITS
        with pq.ParquetFile(
            self._plan.dataset.interactions / shard_name(shard)
        ) as file:
            wanted = {columns.USER, columns.ITEM, columns.OCCURRENCE}
            names = [name for name in file.schema_arrow.names if name in wanted]
            for group in range(file.metadata.num_row_groups):
                table = file.read_row_group(group, columns=names)
                yield table, first_row
                first_row += len(table)


def _rows(first_row: int, table: pa.Table) -> npt.NDArray[np.int64]:
    return first_row + np.arange(len(table), dtype=np.int64)


class _SelectionDoFn(beam.DoFn):
    """Base of the stages of a selection, by pool keys or, within it, by part keys."""

    def __init__(self, plan: SplitPlan, *, of_pool: bool) -> None:
        self._reader = _KeyReader(plan)
        self._of_pool = of_pool

    def setup(self) -> None:
        self._reader.load()

    def keys(self, shard: int, pool: Threshold | None) -> Iterator[Keys]:
        """Yields the keys of a shard's rows that take part in the selection."""
        for table, first_row in self._reader.batches(shard):
            if self._of_pool:
                yield self._reader.pool(table, first_row)
                continue
            found = self._reader.part(table, first_row)
            if pool is not None:
                found = found.at(pool.among(self._reader.pool(table, first_row)))
            yield found


class _CountDigits(_SelectionDoFn):
    def process(
        self, shard: int, pool: Threshold | None, targets: Targets
    ) -> Iterator[npt.NDArray[np.int64]]:
        counts: npt.NDArray[np.int64] | None = None
        for found in self.keys(shard, pool):
            more = targets.count(found.keys)
            counts = more if counts is None else counts + more
        if counts is not None:
            yield counts


class _Gather(_SelectionDoFn):
    def process(
        self, shard: int, pool: Threshold | None, targets: Targets
    ) -> Iterator[Keys]:
        for found in self.keys(shard, pool):
            yield found.at(targets.matching(found.keys))


class SumArrays(beam.CombineFn):
    """Adds numpy arrays of one shape up; gives None where there is none."""

    def create_accumulator(self) -> npt.NDArray[np.int64] | None:
        """Returns no array."""
        return None

    def add_input(
        self, total: npt.NDArray[np.int64] | None, array: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Adds one."""
        return array if total is None else total + array

    def merge_accumulators(
        self, totals: Iterable[npt.NDArray[np.int64] | None]
    ) -> npt.NDArray[np.int64] | None:
        """Adds all."""
        found = [total for total in totals if total is not None]
        return sum(found[1:], start=found[0]) if found else None

    def extract_output(
        self, total: npt.NDArray[np.int64] | None
    ) -> npt.NDArray[np.int64] | None:
        """Returns the sum."""
        return total


def _narrow(counts: npt.NDArray[np.int64], targets: Targets) -> Targets:
    return targets.narrowed(counts)


class SelectSmallest(beam.PTransform):
    """Finds the thresholds of some ranks among the keys of all shards.

    Shard numbers in; one list of thresholds out, in the order of the ranks.
    """

    def __init__(
        self,
        plan: SplitPlan,
        ranks: Sequence[int],
        pool: beam.PCollection | None = None,
        *,
        of_pool: bool,
    ) -> None:
        """Keeps what to select.

        Args:
            plan: The plan.
            ranks: How many rows lie up to each threshold.
            pool: The pool's threshold, where only its rows take part.
            of_pool: Whether the keys are those that select the pool.
        """
        super().__init__()
        self._plan = plan
        self._ranks = tuple(ranks)
        self._pool = pool
        self._of_pool = of_pool

    def without_beam(
        self, num_shards: int, pool: Threshold | None = None
    ) -> list[Threshold]:
        """Does what `expand` does, shard after shard."""
        shards = range(num_shards)
        targets = Targets.of_ranks(self._ranks)
        for _ in range(LEVELS):
            count = _CountDigits(self._plan, of_pool=self._of_pool)
            total = SumArrays().merge_accumulators(call(count, shards, pool, targets))
            assert total is not None, "a data set has rows"
            targets = _narrow(total, targets)
        gather = _Gather(self._plan, of_pool=self._of_pool)
        return thresholds(list(call(gather, shards, pool, targets)), targets)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        """Counts LEVELS digits, then gathers and compares what is left."""
        pool = None if self._pool is None else beam.pvalue.AsSingleton(self._pool)
        targets: Any = Targets.of_ranks(self._ranks)
        for level in range(LEVELS):
            narrowed = (
                shards
                | f"CountDigit{level}"
                >> beam.ParDo(
                    _CountDigits(self._plan, of_pool=self._of_pool), pool, targets
                )
                | f"SumDigit{level}"
                >> beam.CombineGlobally(SumArrays()).without_defaults()
                | f"NarrowDigit{level}" >> beam.Map(_narrow, targets)
            )
            targets = beam.pvalue.AsSingleton(narrowed)
        return (
            shards
            | "Gather"
            >> beam.ParDo(
                _Gather(self._plan, of_pool=self._of_pool),
                pool,
                targets,
            )
            | "Together" >> beam.combiners.ToList()
            | "Thresholds" >> beam.Map(thresholds, targets)
        )


class _WriteParts(beam.DoFn):
    def __init__(self, plan: SplitPlan, folder: Path, row_group_size: int) -> None:
        self._plan = plan
        self._reader = _KeyReader(plan)
        self._folder = folder
        self._row_group_size = row_group_size

    def setup(self) -> None:
        self._reader.load()

    def process(
        self, shard: int, pool: Threshold | None, ends: list[Threshold]
    ) -> Iterator[Any]:
        plan = self._plan
        table = pq.read_table(plan.dataset.interactions / shard_name(shard))
        first_row = shard << _SHARD_BITS
        by_part = self._reader.part(table, first_row)
        place = np.zeros(len(table), np.int64)
        for end in ends[:-1]:
            place += ~end.among(by_part)
        names = list(plan.parts)
        if plan.rest is not None and pool is not None:
            chosen = pool.among(self._reader.pool(table, first_row))
            place = np.where(chosen, place, len(names))
            names.append(plan.rest)
        for number, name in enumerate(names):
            rows = table.filter(pa.array(place == number))
            path = self._folder / name / shard_name(shard)
            pq.write_table(rows, path, row_group_size=self._row_group_size)
            yield counted_report(_NAMESPACE, {name: len(rows)})


def _only(found: list[Threshold]) -> Threshold:
    (threshold,) = found
    return threshold


class Split(beam.PTransform):
    """Writes the parts of a split; gives the reports."""

    def __init__(
        self, plan: SplitPlan, folder: Path, num_shards: int, row_group_size: int
    ) -> None:
        """Keeps what to do.

        Args:
            plan: The plan.
            folder: The folder that is being written; the parts' folders exist.
            num_shards: Number of shards.
            row_group_size: Rows in a Parquet row group.
        """
        super().__init__()
        self._plan = plan
        self._folder = folder
        self._num_shards = num_shards
        self._row_group_size = row_group_size

    def without_beam(self) -> Iterator[Report]:
        """Does what `expand` does, shard after shard."""
        plan = self._plan
        pool = None
        if plan.pool_rows is not None:
            select = SelectSmallest(plan, [plan.pool_rows], of_pool=True)
            pool = _only(select.without_beam(self._num_shards))
        select = SelectSmallest(plan, plan.part_ends, of_pool=False)
        ends = select.without_beam(self._num_shards, pool)
        write = _WriteParts(plan, self._folder, self._row_group_size)
        yield from call(write, range(self._num_shards), pool, ends)

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Selects the pool, cuts it into parts, writes."""
        plan = self._plan
        shards = pipeline | "Shards" >> beam.Create(range(self._num_shards))
        pool = None
        if plan.pool_rows is not None:
            pool = (
                shards
                | "SelectPool" >> SelectSmallest(plan, [plan.pool_rows], of_pool=True)
                | "PoolThreshold" >> beam.Map(_only)
            )
        ends = shards | "SelectParts" >> SelectSmallest(
            plan, plan.part_ends, pool, of_pool=False
        )
        return shards | "WriteParts" >> beam.ParDo(
            _WriteParts(plan, self._folder, self._row_group_size),
            None if pool is None else beam.pvalue.AsSingleton(pool),
            beam.pvalue.AsSingleton(ends),
        )
