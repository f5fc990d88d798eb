"""The transforms of recommend: each block of users against all shards of items.

blocks of users, shard of items after shard -> RecommendBlock -> files of lists

Nothing is shuffled: a worker reads the shards of items one after the other and keeps
the k best of each user so far. Reading them is little beside the products with them.
"""

from collections.abc import Iterator, Mapping
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
from beam_jobs.transforms.vectors import CatalogueVectors, in_rows
from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.dataset import shard_name
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
        shards: Files of items that are held at once, in order.
        weights: Cause to weight; the others keep 1.
        k: Length of the lists.
        include_seen: Whether lists may hold what the user has seen.
        asked: File of the ids of users to answer, or None for all.
        indexes: Folder of the ScaNN index of each shard; none for exact search.
    """

    vectors: CatalogueVectors
    folder: Path
    shards: list[range]
    weights: Mapping[str, float]
    k: int
    include_seen: bool
    asked: Path | None
    indexes: list[Path]

    @property
    def depth(self) -> int:
        """Places of a list that can be filled at all."""
        return min(self.k, self.vectors.num_items)

    def units(self) -> range:
        """Returns the numbers of the pieces of work: the files of users.

        After them comes who is asked for and in none of them.
        """
        return range(len(self.vectors.user_files) + (self.asked is not None))


@dataclass(frozen=True)
class _Shard:
    """Items that are held at once, and what finds those of large scores, if anything.

    Attributes:
        items: The items.
        searcher: A ScaNN searcher whose row r is item r of them, or None.
    """

    items: Items
    searcher: Any


def read_asked(path: Path) -> pa.Array:
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
        """Begins anew; what is needed is read when it is."""
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

    def of_unit(self, unit: int) -> pa.Table:
        """Returns the lists of a block of users, or of those who are in none."""
        if unit in self._plan.vectors.user_files:
            return self._of_block(unit)
        return self._of_strangers()

    def _of_block(self, unit: int) -> pa.Table:
        plan = self._plan
        users = plan.vectors.users(unit)
        if self._asked is not None:
            users = users.filter(pc.is_in(users[columns.USER_ID], self._asked))
        known = users[columns.KNOWN_USER].to_numpy()
        lists = Lists.empty(len(users), plan.depth, len(plan.vectors.causes))
        lists.put(known, self._of_known(users.filter(pa.array(known))))
        if not known.all():
            lists.put(~known, self._popular)
        return self._as_table(users[columns.USER_ID], known, lists)

    def _of_strangers(self) -> pa.Table:
        """Returns the popular items for everyone asked for whom the model never saw."""
        left = self._asked
        for file in self._plan.vectors.user_files:
            ids = self._plan.vectors.users(file, [columns.USER_ID])[columns.USER_ID]
            left = left.filter(pc.invert(pc.is_in(left, ids)))
        lists = Lists.empty(len(left), self._plan.depth, len(self._plan.vectors.causes))
        lists.put(slice(None), self._popular)
        return self._as_table(left, np.zeros(len(left), bool), lists)

    def _of_known(self, users: pa.Table) -> Lists:
        plan = self._plan
        vectors = in_rows(users[columns.EMBEDDING])
        queries = Queries.of(vectors, plan.vectors.causes, plan.weights)
        hidden = Pairs.none() if plan.include_seen else _seen(users)
        lists = Lists.empty(len(users), plan.depth, len(plan.vectors.causes))
        for shard in self._shards():
            items = shard.items
            if not nearest.scores_are_finite(queries, nearest.longest(items.vectors)):
                raise InputError(
                    "Scores must stay finite; lower the weights of causes, or train "
                    "again with a smaller learning_rate."
                )
            if shard.searcher is None:
                lists = nearest.with_items(lists, queries, items, hidden)
            else:
                lists = nearest.merged(lists, self._through(shard, queries, hidden))
        return lists

    def _through(self, shard: _Shard, queries: Queries, hidden: Pairs) -> Lists:
        """Returns the best of what the index finds, scored exactly.

        As many more are fetched as are hidden. Whose leaves hold fewer than k others,
        for them all leaves are searched.
        """
        depth, num_items = self._plan.depth, len(shard.items.vectors)
        num_users, num_queries, _ = queries.vectors.shape
        hidden = hidden.of_items(shard.items)
        num_hidden = np.bincount(hidden.users, minlength=num_users)
        wanted = np.minimum(depth, num_items - num_hidden)
        lists = Lists.empty(num_users, depth, queries.num_causes)
        # In powers of two, as all queries of a call get equally many.
        fetched = 1 << np.ceil(np.log2(np.maximum(wanted + num_hidden, 1))).astype(int)
        for everywhere in (False, True):
            short = lists.filled.sum(axis=1) < wanted
            for count in np.unique(fetched[short]).tolist():
                chosen = np.flatnonzero(short & (fetched == count))
                asked = queries.at(chosen)
                rows, scores = shard.searcher.nearest(
                    asked.vectors.reshape(len(chosen) * num_queries, -1),
                    min(count, num_items),
                    everywhere=everywhere,
                )
                owners, places = np.nonzero(np.isfinite(scores))
                found = Pairs(
                    owners // num_queries, rows[owners, places] + shard.items.first
                )
                lists.put(
                    chosen,
                    nearest.of_candidates(
                        asked, depth, shard.items, found, hidden.chosen(chosen)
                    ),
                )
        return lists

    def _shards(self) -> Iterator[_Shard]:
        numbers = range(len(self._plan.shards))
        if len(numbers) == 1:
            yield self._only_shard
            return
        for number in numbers:
            yield self._read_shard(number)

    @cached_property
    def _only_shard(self) -> _Shard:
        return self._read_shard(0)

    def _read_shard(self, number: int) -> _Shard:
        vectors, files = self._plan.vectors, self._plan.shards[number]
        rows = in_rows(vectors.items(files, [columns.EMBEDDING])[columns.EMBEDDING])
        items = Items(_FIRST_ITEM + files[0] * vectors.block_rows, rows)
        if not self._plan.indexes:
            return _Shard(items, None)
        from tfcausal.serving.index_files import load_index

        with on_local_disk(self._plan.indexes[number]) as folder:
            return _Shard(items, load_index(folder).base.searcher)

    @cached_property
    def _item_ids(self) -> pa.Array:
        vectors = self._plan.vectors
        ids = vectors.items(vectors.item_files, [columns.ITEM_ID])
        return ids[columns.ITEM_ID].combine_chunks()

    @cached_property
    def _asked(self) -> Any:
        return None if self._plan.asked is None else read_asked(self._plan.asked)

    @cached_property
    def _popular(self) -> Lists:
        """One list, of the most popular items; its scores are their popularity."""
        plan = self._plan
        table = plan.vectors.items(plan.vectors.item_files, [columns.POPULARITY])
        counts = table[columns.POPULARITY].to_numpy()
        found = nearest.with_items(
            Lists.empty(1, plan.depth, 1),
            Queries.of(np.ones((1, 1, 1), np.float32), {"popularity": slice(0, 1)}),
            Items(_FIRST_ITEM, counts.astype(np.float32)[:, None]),
            Pairs.none(),
        )
        no_terms = np.zeros((1, plan.depth, len(plan.vectors.causes)), np.float32)
        return Lists(found.items, found.scores, no_terms)

    def _as_table(self, ids: Any, known: Any, lists: Lists) -> pa.Table:
        filled = lists.filled
        ends = np.concatenate([[0], np.cumsum(filled.sum(axis=1))]).astype(np.int32)

        def in_lists(values: Any) -> pa.Array:
            return pa.ListArray.from_arrays(ends, pa.array(values))

        terms = (
            lists.terms[filled, number]
            for number in range(len(self._plan.vectors.causes))
        )
        return pa.table(
            [
                ids,
                known,
                in_lists(self._item_ids.take(lists.items[filled] - _FIRST_ITEM)),
                in_lists(lists.scores[filled]),
                *(in_lists(term) for term in terms),
            ],
            schema=columns.recommendations_schema(self._plan.vectors.causes),
        )


def _seen(users: pa.Table) -> Pairs:
    """Returns what the users have seen, who are counted from 0."""
    seen = users[columns.SEEN].combine_chunks()
    lengths = seen.value_lengths().to_numpy()
    owners = np.repeat(np.arange(len(users)), lengths)
    return Pairs(owners, seen.flatten().to_numpy().astype(np.int64))
