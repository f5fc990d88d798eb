"""The transforms of item_concepts: number the values of each concept, count by user.

concepts -> IndexConcept -> files of values and of items
parts and shards, once those files are there -> CountUsers -> files of users
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_jobs.runtime.pipeline import call, route
from beam_jobs.runtime.report import (
    REPORTS,
    Report,
    counted,
    counted_report,
    failed,
)
from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.dataset import ConceptFolder, DatasetFolder, shard_name
from tfcausal.stats.concepts import ConceptRule, MultiHot, ShareOf, user_shares
from tfcausal.stats.graph import Edges

_NAMESPACE = "item_concepts"


@dataclass(frozen=True)
class ConceptPlan:
    """What the transforms need to know.

    Attributes:
        dataset: The data set.
        folder: The folder that is being written; the concepts' folders exist.
        concepts: The columns of features, and which values they have.
        parts: The parts whose users are counted: the name of the result, and the parts
            of the split that it joins.
        share_of: What the shares of users are of.
        num_shards: Shards of users.
        row_group_size: Rows in a Parquet row group.
    """

    dataset: DatasetFolder
    folder: Path
    concepts: tuple[ConceptRule, ...]
    parts: tuple[tuple[str, tuple[str, ...]], ...]
    share_of: ShareOf
    num_shards: int
    row_group_size: int

    def concept(self, name: str) -> ConceptFolder:
        """Returns the folder of a concept."""
        return ConceptFolder(self.folder / name)

    def write(self, rows: pa.Table, path: Path) -> None:
        """Writes a table of a concept."""
        pq.write_table(rows, path, row_group_size=self.row_group_size)


class _IndexConcept(beam.DoFn):
    """From a concept to its files of values and of items; then yields its name."""

    def __init__(self, plan: ConceptPlan) -> None:
        self._plan = plan

    def process(self, rule: ConceptRule) -> Iterator[Any]:
        plan = self._plan
        table = pq.read_table(plan.dataset.item_features, columns=[rule.name])
        try:
            indexed = rule.index(table[rule.name])
        except InputError as error:
            yield failed(error)
            return
        folder = plan.concept(rule.name)
        plan.write(indexed.values, folder.values)
        plan.write(indexed.items.to_table(), folder.items)
        yield counted(
            _NAMESPACE,
            {
                f"{rule.name}_values": len(indexed.values) - 1,
                f"{rule.name}_items": indexed.items.num_described,
            },
        )
        yield rule.name


class _CountUsers(beam.DoFn):
    """From (place in the plan's parts, shard) to a file of users for each concept."""

    def __init__(self, plan: ConceptPlan) -> None:
        self._plan = plan
        self._concepts: dict[str, tuple[MultiHot, int]] = {}

    def process(
        self, unit: tuple[int, int], indexed: Iterable[str]
    ) -> Iterator[Report]:
        plan = self._plan
        if len(list(indexed)) < len(plan.concepts):
            # A concept has failed, and so will the job.
            return
        place, shard = unit
        part, joined = plan.parts[place]
        names = [columns.USER, columns.ITEM]
        rows = pa.concat_tables(
            pq.read_table(plan.dataset.part(name) / shard_name(shard), columns=names)
            for name in joined
        )
        pairs = Edges.of_pairs(*(rows[name].to_numpy() for name in names))
        num_users = int(np.count_nonzero(np.diff(pairs.rows, prepend=-1)))
        counts = {f"users_in_{part}": num_users}
        for rule in plan.concepts:
            items, num_values = self._read(rule.name)
            users = user_shares(pairs, items, num_values, plan.share_of)
            folder = plan.concept(rule.name).users(part)
            plan.write(users, folder / shard_name(shard))
            described = pc.sum(pc.greater(users[columns.DESCRIBED_ITEMS], 0)).as_py()
            # The sum of no rows is null.
            counts[f"{rule.name}_users_in_{part}"] = described or 0
        yield counted_report(_NAMESPACE, counts)

    def _read(self, name: str) -> tuple[MultiHot, int]:
        """Reads a concept's items, once on a worker, and its number of values."""
        if name not in self._concepts:
            folder = self._plan.concept(name)
            self._concepts[name] = (
                MultiHot.from_table(pq.read_table(folder.items)),
                pq.read_metadata(folder.values).num_rows,
            )
        return self._concepts[name]


class BuildConcepts(beam.PTransform):
    """From features of items and parts of a split to concepts; gives the reports."""

    def __init__(self, plan: ConceptPlan) -> None:
        """Keeps the plan."""
        super().__init__()
        self._plan = plan

    def without_beam(self) -> Iterator[Report]:
        """Does what `expand` does, one concept and one shard at a time."""
        plan = self._plan
        indexed: list[str] = []
        yield from route(call(_IndexConcept(plan), plan.concepts), indexed.append)
        yield from call(_CountUsers(plan), self._units(), indexed)

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Builds the pipeline described at the top of this file."""
        plan = self._plan
        indexed = (
            pipeline
            | "Concepts" >> beam.Create(plan.concepts)
            | "IndexConcept"
            >> beam.ParDo(_IndexConcept(plan)).with_outputs(REPORTS, main="names")
        )
        users = (
            pipeline
            | "PartsAndShards" >> beam.Create(self._units())
            | "CountUsers"
            >> beam.ParDo(_CountUsers(plan), beam.pvalue.AsIter(indexed.names))
        )
        return (indexed[REPORTS], users) | "AllReports" >> beam.Flatten()

    def _units(self) -> list[tuple[int, int]]:
        return [
            (place, shard)
            for place in range(len(self._plan.parts))
            for shard in range(self._plan.num_shards)
        ]
