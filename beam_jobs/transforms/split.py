"""The transforms of split: take a rule's steps over all shards, then write the parts.

Every stage reads the shards again instead of keeping keys: a key is a pure function of
its row, and reading a few columns is cheaper than a shuffle of all rows.
"""

from collections.abc import Iterable, Iterator
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
from beam_jobs.runtime.sums import SumArrays, summed
from tfcausal.schema import columns
from tfcausal.schema.dataset import DatasetFolder, shard_name
from tfcausal.schema.interaction_files import write_rows
from tfcausal.stats.selection import Int64s, Keys, Targets, Threshold, thresholds
from tfcausal.stats.split_rules import Found, RowBlock, Rule, Selection, Tally

LEFT_OUT = "left_out"
"""Name of the count of rows that are in no part."""

_NAMESPACE = "split"
_SHARD_BITS = 40


@dataclass(frozen=True)
class SplitPlan:
    """What the transforms need to know.

    Attributes:
        dataset: The data set.
        num_shards: Number of shards.
        row_group_size: Rows in a Parquet row group.
        rule: Which row belongs where.
        folder: The folder that is being written; the parts' folders exist.
    """

    dataset: DatasetFolder
    num_shards: int
    row_group_size: int
    rule: Rule
    folder: Path


class _BlockReader:
    """Reads shards as the blocks that a rule wants."""

    def __init__(self, plan: SplitPlan) -> None:
        self._plan = plan
        self._item_values: npt.NDArray[Any] | None = None

    def load(self) -> None:
        """Reads what the rule wants to know of items; to be called once on a worker."""
        rule = self._plan.rule
        if rule.uses_item_values:
            self._item_values = rule.item_values(read_counts(self._plan.dataset.items))

    def path(self, shard: int) -> Path:
        return self._plan.dataset.interactions / shard_name(shard)

    def blocks(self, shard: int) -> Iterator[RowBlock]:
        """Yields a shard, only the columns that the rule needs."""
        wanted = {columns.USER, columns.ITEM, columns.OCCURRENCE}
        if self._plan.rule.uses_timestamps:
            wanted.add(columns.TIMESTAMP)
        if self._plan.rule.marked_by is not None:
            wanted.add(self._plan.rule.marked_by)
        with pq.ParquetFile(self.path(shard)) as file:
            names = [name for name in file.schema_arrow.names if name in wanted]
            if self._plan.rule.by_user:
                yield self.block(file.read(columns=names), shard, 0)
                return
            begin = 0
            for group in range(file.metadata.num_row_groups):
                table = file.read_row_group(group, columns=names)
                yield self.block(table, shard, begin)
                begin += len(table)

    def block(self, table: pa.Table, shard: int, begin: int) -> RowBlock:
        """Returns rows of a shard, of which `begin` come before them."""
        items = table[columns.ITEM].to_numpy()
        first = (shard << _SHARD_BITS) + begin
        mark = self._plan.rule.marked_by
        return RowBlock(
            numbers=first + np.arange(len(table), dtype=np.int64),
            users=table[columns.USER].to_numpy(),
            items=items,
            occurrences=_column(table, columns.OCCURRENCE),
            timestamps=_column(table, columns.TIMESTAMP),
            item_values=None if self._item_values is None else self._item_values[items],
            marked=None if mark is None else table[mark].to_numpy() != 0,
        )


def _column(table: pa.Table, name: str) -> npt.NDArray[Any] | None:
    return table[name].to_numpy() if name in table.column_names else None


class _ShardDoFn(beam.DoFn):
    """Base of the stages, each of which reads a shard."""

    def __init__(self, plan: SplitPlan) -> None:
        self.plan = plan
        self.reader = _BlockReader(plan)

    def setup(self) -> None:
        self.reader.load()


class _Count(_ShardDoFn):
    def __init__(self, plan: SplitPlan, step: Tally) -> None:
        super().__init__(plan)
        self._step = step

    def process(self, shard: int, *found: Any) -> Iterator[Int64s]:
        yield from summed(
            self._step.count(block, found) for block in self.reader.blocks(shard)
        )


class _CountDigits(_ShardDoFn):
    def __init__(self, plan: SplitPlan, step: Selection) -> None:
        super().__init__(plan)
        self._step = step

    def process(self, shard: int, targets: Targets, *found: Any) -> Iterator[Int64s]:
        yield from summed(
            targets.count(self._step.keys(block, found).keys)
            for block in self.reader.blocks(shard)
        )


class _Gather(_ShardDoFn):
    def __init__(self, plan: SplitPlan, step: Selection) -> None:
        super().__init__(plan)
        self._step = step

    def process(self, shard: int, targets: Targets, *found: Any) -> Iterator[Keys]:
        for block in self.reader.blocks(shard):
            keys = self._step.keys(block, found)
            yield keys.at(targets.matching(keys.keys))


def _start(_: Any, step: Selection, *found: Any) -> Targets:
    return Targets.of_ranks(step.ranks(found))


def _narrow(counts: Int64s, targets: Targets) -> Targets:
    return targets.narrowed(counts)


class TakeStep(beam.PTransform):
    """Takes one step of a rule over all shards.

    Shard numbers in; what the step found out, as one element: thresholds in the order
    of their ranks, or the sum of a tally.
    """

    def __init__(
        self, plan: SplitPlan, step: Tally | Selection, *found: beam.PCollection
    ) -> None:
        """Keeps what to do.

        Args:
            plan: The plan.
            step: The step.
            *found: What each earlier step found.
        """
        super().__init__()
        self._plan = plan
        self._step = step
        self._found = found

    def without_beam(self, found: Found) -> Int64s | list[Threshold]:
        """Does what `expand` does, shard after shard.

        Args:
            found: What each earlier step found.
        """
        plan, step, shards = self._plan, self._step, range(self._plan.num_shards)
        if isinstance(step, Tally):
            return _total(call(_Count(plan, step), shards, *found))
        targets = _start(None, step, *found)
        for _ in range(step.levels):
            digits = call(_CountDigits(plan, step), shards, targets, *found)
            targets = _narrow(_total(digits), targets)
        left = call(_Gather(plan, step), shards, targets, *found)
        return thresholds(list(left), targets)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        """Adds counts up; or counts digits, then gathers and compares what is left."""
        plan, step = self._plan, self._step
        found = [beam.pvalue.AsSingleton(one) for one in self._found]
        if isinstance(step, Tally):
            counts = shards | "Count" >> beam.ParDo(_Count(plan, step), *found)
            return counts | "Sum" >> _sum()
        start = shards.pipeline | "Start" >> beam.Create([None])
        narrowed = start | "Ranks" >> beam.Map(_start, step, *found)
        for level in range(step.levels):
            targets = beam.pvalue.AsSingleton(narrowed)
            narrowed = (
                shards
                | f"CountDigit{level}"
                >> beam.ParDo(_CountDigits(plan, step), targets, *found)
                | f"SumDigit{level}" >> _sum()
                | f"NarrowDigit{level}" >> beam.Map(_narrow, targets)
            )
        targets = beam.pvalue.AsSingleton(narrowed)
        return (
            shards
            | "Gather" >> beam.ParDo(_Gather(plan, step), targets, *found)
            | "Together" >> beam.combiners.ToList()
            | "Thresholds" >> beam.Map(thresholds, targets)
        )


def _sum() -> beam.PTransform:
    return beam.CombineGlobally(SumArrays()).without_defaults()


def _total(arrays: Iterable[Int64s]) -> Int64s:
    (total,) = summed(arrays)
    return total


class _WriteParts(_ShardDoFn):
    def process(self, shard: int, *found: Any) -> Iterator[Report]:
        plan = self.plan
        table = pq.read_table(self.reader.path(shard))
        members = plan.rule.members(self.reader.block(table, shard, 0), found)
        for name, chosen in members.items():
            path = plan.folder / name / shard_name(shard)
            rows = table.filter(pa.array(chosen))
            write_rows(rows, path, plan.row_group_size)
            yield counted_report(_NAMESPACE, {name: len(rows)})
        left_out = ~np.logical_or.reduce(list(members.values()))
        yield counted_report(_NAMESPACE, {LEFT_OUT: int(left_out.sum())})


class Split(beam.PTransform):
    """Writes the parts of a split; gives the reports."""

    def __init__(self, plan: SplitPlan) -> None:
        """Keeps what to do."""
        super().__init__()
        self._plan = plan

    def without_beam(self) -> Iterator[Report]:
        """Does what `expand` does, shard after shard."""
        plan = self._plan
        found: list[Any] = []
        for step in plan.rule.steps:
            found.append(TakeStep(plan, step).without_beam(found))
        yield from call(_WriteParts(plan), range(plan.num_shards), *found)

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Takes the rule's steps, writes."""
        plan = self._plan
        shards = pipeline | "Shards" >> beam.Create(range(plan.num_shards))
        found: list[beam.PCollection] = []
        for number, step in enumerate(plan.rule.steps):
            found.append(shards | f"Step{number}" >> TakeStep(plan, step, *found))
        return shards | "WriteParts" >> beam.ParDo(
            _WriteParts(plan), *map(beam.pvalue.AsSingleton, found)
        )
