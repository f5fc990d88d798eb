"""The transforms of graph: count degrees, write rows of users, then rows of items.

shards -> CountDegrees -> degrees of all users and of all items
shards -> WriteByUser  -> edges by range of items -> GroupByKey -> WriteByItem

Both read the shards: that is cheaper than keeping their edges for the second pass.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.runtime.pipeline import call, route
from beam_jobs.runtime.report import REPORTS, Report, counted
from beam_jobs.runtime.spill import Spill, spill_folder
from beam_jobs.runtime.sums import SumArrays
from tfcausal.schema import columns
from tfcausal.schema.dataset import DatasetFolder, GraphFolder, shard_name
from tfcausal.stats.arrow_bytes import table_from_bytes, table_to_bytes
from tfcausal.stats.graph import (
    Edges,
    Float32s,
    Int32s,
    Int64s,
    Normalisation,
    adjacency_table,
    balanced_ranges,
    edge_values,
)

_NAMESPACE = "graph"
_USER_DEGREES = "user_degrees"
_PIECE_SCHEMA = pa.schema(
    [
        (columns.ITEM, pa.int32()),
        (columns.USER, pa.int32()),
        (columns.VALUES, pa.float32()),
    ]
)


@dataclass(frozen=True)
class GraphPlan:
    """What the transforms need to know.

    Attributes:
        dataset: The data set.
        parts: The parts whose rows are edges.
        folder: The folder that is being written; its subfolders exist.
        num_shards: Shards of users, and ranges of items.
        num_users: Rows of the user vocabulary.
        num_items: Rows of the item vocabulary.
        normalisation: What an edge's entry is.
        self_loops: Whether every node is its own neighbour too.
        row_group_size: Nodes in a Parquet row group.
    """

    dataset: DatasetFolder
    parts: tuple[str, ...]
    folder: GraphFolder
    num_shards: int
    num_users: int
    num_items: int
    normalisation: Normalisation
    self_loops: bool
    row_group_size: int

    def edges(self, shard: int) -> Edges:
        """Reads the edges of a shard of users."""
        names = [columns.USER, columns.ITEM]
        table = pa.concat_tables(
            pq.read_table(self.dataset.part(part) / shard_name(shard), columns=names)
            for part in self.parts
        )
        return Edges.of_pairs(*(table[name].to_numpy() for name in names))

    def values(self, from_degrees: Int32s, to_degrees: Int32s) -> Float32s:
        """Returns the entries of edges between nodes with so many neighbours."""
        return edge_values(
            from_degrees, to_degrees, self.normalisation, self_loops=self.self_loops
        )

    def write(self, rows: pa.Table, path: Path) -> None:
        """Writes rows of an adjacency."""
        pq.write_table(rows, path, row_group_size=self.row_group_size)


class _CountDegrees(beam.DoFn):
    def __init__(self, plan: GraphPlan) -> None:
        self._plan = plan

    def process(self, shard: int) -> Iterator[Any]:
        edges = self._plan.edges(shard)
        yield np.bincount(edges.columns, minlength=self._plan.num_items)
        users, counts = np.unique(edges.rows, return_counts=True)
        degrees = pa.table({columns.NODE: users, columns.DEGREE: counts})
        yield beam.pvalue.TaggedOutput(_USER_DEGREES, table_to_bytes(degrees))


def _write_item_degrees(counts: Int64s, plan: GraphPlan) -> Int32s:
    degrees = counts.astype(np.int32)
    pq.write_table(pa.table({columns.DEGREE: degrees}), plan.folder.item_degrees)
    return degrees


def _write_user_degrees(shards: Iterable[bytes], plan: GraphPlan) -> Report:
    degrees = np.zeros(plan.num_users, np.int32)
    for content in shards:
        table = table_from_bytes(content)
        degrees[table[columns.NODE].to_numpy()] = table[columns.DEGREE].to_numpy()
    pq.write_table(pa.table({columns.DEGREE: degrees}), plan.folder.user_degrees)
    return Report()


class _WriteByUser(beam.DoFn):
    def __init__(self, plan: GraphPlan) -> None:
        self._plan = plan

    def process(self, shard: int, item_degrees: Int32s) -> Iterator[Any]:
        plan = self._plan
        edges = plan.edges(shard)
        nodes, counts = np.unique(edges.rows, return_counts=True)
        of_user = np.repeat(counts, counts).astype(np.int32)
        of_item = item_degrees[edges.columns]
        values = plan.values(of_user, of_item)
        transposed = plan.values(of_item, of_user)
        plan.write(
            adjacency_table(edges, values), plan.folder.by_user / shard_name(shard)
        )
        order = np.argsort(edges.columns, kind="stable")
        found = (edges.columns[order], edges.rows[order], transposed[order])
        ends = balanced_ranges(item_degrees, plan.num_shards)
        cuts = np.searchsorted(found[0], ends, "left").tolist()
        for number, (begin, end) in enumerate(zip([0, *cuts], cuts, strict=False)):
            if begin < end:
                piece = [pa.array(column[begin:end]) for column in found]
                content = table_to_bytes(pa.table(piece, schema=_PIECE_SCHEMA))
                yield number, content
        yield counted(_NAMESPACE, {"edges": len(values), "users": len(nodes)})


class _WriteByItem(beam.DoFn):
    def __init__(self, plan: GraphPlan) -> None:
        self._plan = plan

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        number, pieces = element
        table = pa.concat_tables([table_from_bytes(piece) for piece in pieces])
        items, users, values = (column.to_numpy() for column in table.columns)
        order = np.lexsort((users, items))
        rows = adjacency_table(Edges(items[order], users[order]), values[order])
        self._plan.write(rows, self._plan.folder.by_item / shard_name(number))
        yield counted(_NAMESPACE, {"items": len(rows)})


class BuildGraph(beam.PTransform):
    """From the parts of a split to the files of a graph; gives the reports."""

    def __init__(self, plan: GraphPlan) -> None:
        """Keeps the plan."""
        super().__init__()
        self._plan = plan

    def without_beam(self) -> Iterator[Report]:
        """Does what `expand` does, one shard at a time."""
        plan = self._plan
        shards = range(plan.num_shards)
        total = np.zeros(plan.num_items, np.int64)
        degrees: list[bytes] = []
        yield from route(
            call(_CountDegrees(plan), shards),
            lambda counts: np.add(total, counts, out=total),
            user_degrees=degrees.append,
        )
        yield _write_user_degrees(degrees, plan)
        item_degrees = _write_item_degrees(total, plan)
        with spill_folder(plan.folder.root) as spilled:
            pieces = Spill(spilled / "ranges")
            for element in self._every_range():
                pieces.append(element)
            written = call(_WriteByUser(plan), shards, item_degrees)
            yield from route(written, pieces.append)
            written = call(_WriteByItem(plan), pieces.take())
            yield from route(written, lambda _: None)

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Builds the pipeline described at the top of this file."""
        plan = self._plan
        shards = pipeline | "Shards" >> beam.Create(range(plan.num_shards))
        counted_degrees = shards | "CountDegrees" >> beam.ParDo(
            _CountDegrees(plan)
        ).with_outputs(_USER_DEGREES, main="items")
        users = (
            counted_degrees[_USER_DEGREES]
            | "DegreesTogether" >> beam.combiners.ToList()
            | "WriteUserDegrees" >> beam.Map(_write_user_degrees, plan)
        )
        items = (
            counted_degrees.items
            | "SumItemDegrees" >> beam.CombineGlobally(SumArrays()).without_defaults()
            | "WriteItemDegrees" >> beam.Map(_write_item_degrees, plan)
        )
        by_user = shards | "WriteByUser" >> beam.ParDo(
            _WriteByUser(plan), beam.pvalue.AsSingleton(items)
        ).with_outputs(REPORTS, main="pieces")
        every_range = pipeline | "EveryRange" >> beam.Create(self._every_range())
        by_item = (
            (by_user.pieces, every_range)
            | "WithEmptyRanges" >> beam.Flatten()
            | "GroupByRange" >> beam.GroupByKey()
            | "WriteByItem"
            >> beam.ParDo(_WriteByItem(plan)).with_outputs(REPORTS, main="none")
        )
        return (users, by_user[REPORTS], by_item[REPORTS]) | "AllReports" >> (
            beam.Flatten()
        )

    def _every_range(self) -> list[tuple[int, bytes]]:
        """Gives each range of items a piece without edges, so that each has a file."""
        empty = table_to_bytes(_PIECE_SCHEMA.empty_table())
        return [(number, empty) for number in range(self._plan.num_shards)]
