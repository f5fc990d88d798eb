"""The transforms of recommend: each block of users against all shards of items.

blocks of users, shard of items after shard -> RecommendBlock -> files of lists

Nothing is shuffled: a worker reads the shards of items one after the other and keeps
the k best of each user so far. Reading them is little beside the products with them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_jobs.runtime.report import Report, counted_report
from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.dataset import shard_name
from tfcausal.schema.exported import VectorsFolder
from tfcausal.schema.paths import on_local_disk
from tfcausal.stats import nearest
from tfcausal.stats.nearest import Items, Lists, Pairs, Queries

_NAMESPACE = "recommend"
_FIRST_ITEM = columns.UNKNOWN_INDEX + 1


@dataclass(frozen=True)
class RecommendPlan:
    """What a worker needs to know.

    Attributes:
        vectors: What embed wrote.
        folder: The folder that is being written.
        num_users: Users of the catalogue.
        num_items: Items of the catalogue.
        block_rows: Users or items in a file.
        files_at_once: Files of items that are held at once.
        causes: Ordered, name of the cause to its coordinates.
        weights: Cause to weight; the others keep 1.
        k: Length of the lists.
        include_seen: Whether lists may hold what the user has seen.
        asked: File of the ids of users to answer, or None for all.
        index: Folder of a ScaNN index, or None for exact search.
    """

    vectors: VectorsFolder
    folder: Path
    num_users: int
    num_items: int
    block_rows: int
    files_at_once: int
    causes: Mapping[str, slice]
    weights: Mapping[str, float]
    k: int
    include_seen: bool
    asked: Path | None
    index: Path | None

    @property
    def depth(self) -> int:
        """Places of a list that can be filled at all."""
        return min(self.k, self.num_items)

    @property
    def user_blocks(self) -> int:
        """Number of files of users."""
        return math.ceil(self.num_users / self.block_rows)

    @property
    def item_files(self) -> range:
        """Numbers of the files of items."""
        return range(math.ceil(self.num_items / self.block_rows))

    def units(self) -> range:
        """Returns the numbers of the pieces of work: the blocks of users.

        After them comes who is asked for and in none of them.
        """
        return range(self.user_blocks + (self.asked is not None))

    def item_column(self, name: str, files: Sequence[int]) -> pa.ChunkedArray:
        """Reads a column of some files of items."""
        paths = [self.vectors.items / shard_name(number) for number in files]
        tables = [pq.read_table(path, columns=[name]) for path in paths]
        return pa.concat_tables(tables)[name]


def read_ids(path: Path) -> pa.Array:
    """Returns the distinct ids of a file, one a line; empty lines are none."""
    lines = (line.removesuffix("\r") for line in path.read_text("utf-8").split("\n"))
    return pa.array([line for line in lines if line], pa.string()).unique()


class RecommendBlock(beam.DoFn):
    """From the number of a block of users to a file of their lists."""

    def __init__(self, plan: RecommendPlan) -> None:
        """Keeps the plan."""
        self._plan = plan
        self._lists: _ListMaker | None = None

    def setup(self) -> None:
        """Opens the index, if there is one; what else is needed is read when it is."""
        self._lists = _ListMaker(self._plan)

    def teardown(self) -> None:
        """Lets go of what was read."""
        self._lists = None

    def process(self, unit: int) -> Iterator[Report]:
        """Recommends, writes and reports."""
        assert self._lists is not None
        try:
            table = self._lists.of_unit(unit)
        except InputError as error:
            yield Report(failures=(str(error),))
            return
        if len(table):
            path = self._plan.folder / shard_name(unit)
            pq.write_table(table, path, row_group_size=len(table))
        # The sum of no rows is null.
        known = pc.sum(table[columns.KNOWN_USER]).as_py() or 0
        places = pc.sum(pc.list_value_length(table[columns.ITEM_ID])).as_py() or 0
        yield counted_report(
            _NAMESPACE,
            {
                "users": len(table),
                "unknown_users": len(table) - known,
                "recommended": places,
            },
        )


class _ListMaker:
    """What a worker holds: items, their ids, and who is asked for."""

    def __init__(self, plan: RecommendPlan) -> None:
        self._plan = plan
        self._searcher: Any = None
        if plan.index is not None:
            from tfcausal.serving.index_files import load_index

            with on_local_disk(plan.index) as folder:
                self._searcher = load_index(folder).base.searcher

    def of_unit(self, unit: int) -> pa.Table:
        """Returns the lists of a block of users, or of those who are in none."""
        if unit < self._plan.user_blocks:
            return self._of_block(unit)
        return self._of_strangers()

    def _of_block(self, unit: int) -> pa.Table:
        plan = self._plan
        users = pq.read_table(plan.vectors.users / shard_name(unit))
        if self._asked is not None:
            users = users.filter(pc.is_in(users[columns.USER_ID], self._asked))
        known = users[columns.KNOWN_USER].to_numpy()
        lists = Lists.empty(len(users), plan.depth, len(plan.causes))
        lists.put(known, self._of_known(users.filter(pa.array(known))))
        if not known.all():
            lists.put(~known, self._popular)
        return self._as_table(users[columns.USER_ID], known, lists)

    def _of_strangers(self) -> pa.Table:
        """Returns the popular items for everyone asked for whom the model never saw."""
        left = self._asked
        for unit in range(self._plan.user_blocks):
            path = self._plan.vectors.users / shard_name(unit)
            ids = pq.read_table(path, columns=[columns.USER_ID])[columns.USER_ID]
            left = left.filter(pc.invert(pc.is_in(left, ids)))
        lists = Lists.empty(len(left), self._plan.depth, len(self._plan.causes))
        lists.put(slice(None), self._popular)
        return self._as_table(left, np.zeros(len(left), bool), lists)

    def _of_known(self, users: pa.Table) -> Lists:
        plan = self._plan
        vectors = users[columns.EMBEDDING].combine_chunks()
        num_queries, dim = vectors.type.list_size, vectors.type.value_type.list_size
        shape = (len(users), num_queries, dim)
        flat = vectors.flatten().flatten().to_numpy().reshape(shape)
        queries = Queries.of(flat, plan.causes, plan.weights)
        hidden = Pairs.none() if plan.include_seen else _seen(users)
        lists = Lists.empty(len(users), plan.depth, len(plan.causes))
        for items in self._shards():
            if not nearest.scores_are_finite(queries, nearest.longest(items.vectors)):
                raise InputError(
                    "Scores must stay finite; lower the weights of causes, or train "
                    "again with a smaller learning_rate."
                )
            if self._searcher is None:
                lists = nearest.with_items(lists, queries, items, hidden)
            else:
                lists = self._through_index(queries, items, hidden)
        return lists

    def _through_index(self, queries: Queries, items: Items, hidden: Pairs) -> Lists:
        """Returns the best of what the index finds, scored exactly.

        As many more are fetched as are hidden. Whose leaves hold fewer than k others,
        for them all leaves are searched.
        """
        num_users, num_queries, _ = queries.vectors.shape
        num_hidden = np.bincount(hidden.users, minlength=num_users)
        wanted = np.minimum(self._plan.depth, self._plan.num_items - num_hidden)
        lists = Lists.empty(num_users, self._plan.depth, queries.num_causes)
        # In powers of two, as all queries of a call get equally many.
        depths = 1 << np.ceil(np.log2(wanted + num_hidden)).astype(np.int64)
        for everywhere in (False, True):
            short = lists.filled.sum(axis=1) < wanted
            for depth in np.unique(depths[short]).tolist():
                chosen = np.flatnonzero(short & (depths == depth))
                asked = queries.at(chosen)
                rows, scores = self._searcher.nearest(
                    asked.vectors.reshape(len(chosen) * num_queries, -1),
                    min(depth, self._plan.num_items),
                    everywhere=everywhere,
                )
                owners, places = np.nonzero(np.isfinite(scores))
                found = Pairs(owners // num_queries, rows[owners, places] + items.first)
                lists.put(
                    chosen,
                    nearest.of_candidates(
                        asked, self._plan.depth, items, found, hidden.chosen(chosen)
                    ),
                )
        return lists

    def _shards(self) -> Iterator[Items]:
        plan = self._plan
        files = plan.item_files
        # What an index finds is scored with the vector of any item.
        if plan.index is not None or plan.files_at_once >= len(files):
            yield self._all_items
            return
        for first in files[:: plan.files_at_once]:
            yield self._read_items(files[first : first + plan.files_at_once])

    def _read_items(self, files: Sequence[int]) -> Items:
        plan = self._plan
        vectors = plan.item_column(columns.EMBEDDING, files).combine_chunks()
        flat = vectors.flatten().to_numpy()
        first = _FIRST_ITEM + files[0] * plan.block_rows
        return Items(first, flat.reshape(len(vectors), -1))

    @cached_property
    def _all_items(self) -> Items:
        return self._read_items(self._plan.item_files)

    @cached_property
    def _item_ids(self) -> pa.Array:
        plan = self._plan
        return plan.item_column(columns.ITEM_ID, plan.item_files).combine_chunks()

    @cached_property
    def _asked(self) -> Any:
        return None if self._plan.asked is None else read_ids(self._plan.asked)

    @cached_property
    def _popular(self) -> Lists:
        """One list, of the most popular items; its scores are their popularity."""
        plan = self._plan
        counts = plan.item_column(columns.POPULARITY, plan.item_files).to_numpy()
        found = nearest.with_items(
            Lists.empty(1, plan.depth, 1),
            Queries.of(np.ones((1, 1, 1), np.float32), {"popularity": slice(0, 1)}),
            Items(_FIRST_ITEM, counts.astype(np.float32)[:, None]),
            Pairs.none(),
        )
        no_terms = np.zeros((1, plan.depth, len(plan.causes)), np.float32)
        return Lists(found.items, found.scores, no_terms)

    def _as_table(self, ids: Any, known: Any, lists: Lists) -> pa.Table:
        filled = lists.filled
        ends = np.concatenate([[0], np.cumsum(filled.sum(axis=1))]).astype(np.int32)

        def in_lists(values: Any) -> pa.Array:
            return pa.ListArray.from_arrays(ends, pa.array(values))

        terms = (
            lists.terms[filled, number] for number in range(len(self._plan.causes))
        )
        return pa.table(
            [
                ids,
                known,
                in_lists(self._item_ids.take(lists.items[filled] - _FIRST_ITEM)),
                in_lists(lists.scores[filled]),
                *(in_lists(term) for term in terms),
            ],
            schema=columns.recommendations_schema(self._plan.causes),
        )


def _seen(users: pa.Table) -> Pairs:
    """Returns what the users have seen, who are counted from 0."""
    seen = users[columns.SEEN].combine_chunks()
    lengths = seen.value_lengths().to_numpy()
    owners = np.repeat(np.arange(len(users)), lengths)
    return Pairs(owners, seen.flatten().to_numpy().astype(np.int64))
