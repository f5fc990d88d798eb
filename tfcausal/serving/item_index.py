"""One whole state of an index: the items that ScaNN knows, and what has changed since.

A state is never changed. `upserted` and `deleted` make another one of it in little
time: new and changed items lie in a small matrix that is searched exactly, and rows
that ScaNN still has but that no longer count are marked as gone.

One index serves every weight of a cause: weights scale the query, never the items.
"""

import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

import numpy as np

from tfcausal.errors import InputError
from tfcausal.schema.vectors import Float32s
from tfcausal.serving.index_settings import IndexSettings
from tfcausal.serving.scann_searcher import Searcher
from tfcausal.stats.nearest import LARGEST_SCORE, longest
from tfcausal.stats.negatives import Int64s
from tfcausal.stats.selection import Bools

_BLOCK_ROWS = 65_536
_EXAMPLES = 5
_FEW_QUERIES = 4
_NOWHERE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class IndexedItems:
    """What a searcher was built of.

    Attributes:
        searcher: Finds rows.
        items: Item ids by row.
        vectors: [num_items, dim] float32 by row, memory-mapped.
        longest: The largest norm of a vector.
    """

    searcher: Searcher
    items: Sequence[str]
    vectors: Float32s
    longest: float

    @classmethod
    def build(
        cls,
        items: Sequence[str],
        vectors: Float32s,
        settings: IndexSettings | None = None,
    ) -> "IndexedItems":
        """Builds a searcher.

        Args:
            items: Item ids, each once.
            vectors: [num_items, dim] float32, finite, a row for each; kept as they are.
            settings: How to search; None chooses by the number of items.
        Raises:
            InputError: If ids or vectors do not fit.
            ImportError: If ScaNN is not installed.
        """
        require_items(items, vectors)
        if not len(items):
            raise InputError("An index must have at least one item; got none.")
        chosen = settings or IndexSettings.for_items(len(items))
        searcher = Searcher.build(vectors, chosen)
        return cls(searcher, items, vectors, longest(vectors))

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Item id to row."""
        # No dict(zip()), which would hold the interpreter until it is done.
        return {item: row for row, item in enumerate(self.items)}


@dataclass(frozen=True)
class ItemIndex:
    """Finds the items of largest inner product; those excluded are never among them.

    An item has a place: its row, or for what was added the rows' number and its own
    row there.

    Attributes:
        base: What ScaNN searches.
        gone: [rows] bool, which rows of it no longer count.
        added: Items that came or changed since, and their rows in `added_vectors`.
        added_vectors: [num_added, dim] float32.
    """

    base: IndexedItems
    gone: Bools
    added: Mapping[str, int]
    added_vectors: Float32s

    @classmethod
    def of(cls, base: IndexedItems) -> "ItemIndex":
        """Returns a state in which nothing has changed."""
        nothing = np.zeros((0, base.vectors.shape[1]), np.float32)
        return cls(base, np.zeros(len(base.items), bool), {}, nothing)

    def __len__(self) -> int:
        """The number of items."""
        return len(self.base.items) - self.num_gone + len(self.added)

    def __contains__(self, item: object) -> bool:
        """Whether the index has an item of that id."""
        return isinstance(item, str) and self._place(item) is not None

    @property
    def dim(self) -> int:
        """Coordinates of a vector."""
        return int(self.base.vectors.shape[1])

    @property
    def num_changed(self) -> int:
        """Items that were added or replaced, and rows that are gone."""
        return self.num_gone + len(self.added)

    @cached_property
    def num_gone(self) -> int:
        """Rows that no longer count."""
        return int(np.count_nonzero(self.gone))

    @cached_property
    def longest(self) -> float:
        """The largest norm of a vector, gone ones included."""
        return max(self.base.longest, longest(self.added_vectors))

    @cached_property
    def _added_items(self) -> Sequence[str]:
        return list(self.added)

    def search(
        self,
        queries: Float32s,
        k: int,
        excluded: Sequence[Collection[str]] = (),
        allowed: Collection[str] | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Finds the best items of each query.

        As many more are fetched as are excluded. Where the leaves that are looked into
        hold fewer than k others, all leaves are.

        Args:
            queries: [n, dim] float32, finite.
            k: Length of the lists; shorter where there are no more items.
            excluded: Item ids that each query must not get; unknown ones do nothing.
                Empty for none at all.
            allowed: Item ids that lists may hold; unknown ones do nothing. None for
                all. They are compared with each query, exactly: for most of the
                catalogue exclude the others instead.
        Returns:
            For each query its items and scores, best first.
        Raises:
            InputError: If k is below 1, queries do not fit, or scores could leave
                float32.
        """
        if k < 1:
            raise InputError(f"`k` must be at least 1; got {k}.")
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise InputError(
                f"`queries` must be [n, {self.dim}]; got {list(queries.shape)}."
            )
        # So put that a norm which is not a number is refused as well.
        if not longest(queries) * self.longest <= LARGEST_SCORE:
            raise InputError("Scores must stay finite; lower the weights of causes.")
        k = min(k, max(len(self), 1))
        hidden = [self._places(items) for items in excluded or [()] * len(queries)]
        if len(hidden) != len(queries):
            raise InputError(
                f"`excluded` must have an entry for each of {len(queries)} queries; "
                f"got {len(hidden)}."
            )
        if allowed is None:
            places, scores = self.best(queries, k, hidden)
        else:
            places, scores = self._best_of(queries, k, hidden, self._places(allowed))
        return [
            [
                (self._item(place), score)
                for place, score in zip(listed, values, strict=True)
                if place >= 0
            ]
            for listed, values in zip(places.tolist(), scores.tolist(), strict=True)
        ]

    def best(
        self, queries: Float32s, k: int, hidden: Sequence[Int64s] = ()
    ) -> tuple[Int64s, Float32s]:
        """Returns places and scores, best first; -1 and -inf where there are no more.

        Args:
            queries: [n, dim] float32.
            k: Length of the lists.
            hidden: Places that each query must not get; empty for none at all.
        Returns:
            [n, k] int64 and [n, k] float32.
        """
        hidden = hidden or [_NOWHERE] * len(queries)
        places = np.full((len(queries), k), -1, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        # One deep list would make all lists of its batch as deep.
        depths = [(k + len(one)).bit_length() for one in hidden]
        order = sorted(range(len(queries)), key=depths.__getitem__)
        for _, group in groupby(order, key=depths.__getitem__):
            chosen = np.asarray(list(group))
            apart = [hidden[query] for query in chosen.tolist()]
            found = self._best_of_base(queries[chosen], k, apart)
            if self.added:
                found = self._with_added(queries[chosen], k, apart, *found)
            places[chosen], scores[chosen] = found
        return places, scores

    def vectors(self, items: Sequence[str]) -> Float32s:
        """Returns the vectors of items, [n, dim] float32.

        Raises:
            InputError: If the index has not all of them.
        """
        unknown = [item for item in items if item not in self]
        if unknown:
            raise InputError(
                f"`items` must be in the index; unknown: {shown_ids(unknown)}."
            )
        return self._vectors_at(self._places(items))

    def scores(self, queries: Float32s) -> Float32s:
        """Returns exact scores by place, -inf for what is gone: [n, num_places]."""
        of_base = queries @ self.base.vectors.T
        of_base[:, self.gone] = -np.inf
        return np.concatenate([of_base, queries @ self.added_vectors.T], axis=1)

    def upserted(self, items: Sequence[str], vectors: Float32s) -> "ItemIndex":
        """Returns an index that has these items, and no others of their ids.

        Args:
            items: Item ids, each once.
            vectors: [n, dim] float32, finite.
        Raises:
            InputError: If ids or vectors do not fit.
        """
        require_items(items, vectors)
        if vectors.shape[1] != self.dim:
            raise InputError(
                f"`vectors` must have {self.dim} dimensions; got {vectors.shape[1]}."
            )
        rest = self.deleted(items)
        start = len(rest.added)
        return ItemIndex(
            self.base,
            rest.gone,
            {**rest.added, **{item: start + row for row, item in enumerate(items)}},
            np.concatenate([rest.added_vectors, vectors]),
        )

    def deleted(self, items: Iterable[str]) -> "ItemIndex":
        """Returns an index without these items; unknown ids do nothing."""
        leaving = set(items)
        rows = [self.base.rows[item] for item in leaving if item in self.base.rows]
        gone = self.gone.copy()
        gone[rows] = True
        if leaving.isdisjoint(self.added):
            return replace(self, gone=gone)
        staying = [item for item in self.added if item not in leaving]
        return ItemIndex(
            self.base,
            gone,
            {item: row for row, item in enumerate(staying)},
            self.added_vectors[[self.added[item] for item in staying]],
        )

    def folded(self, settings: IndexSettings | None = None) -> IndexedItems:
        """Builds a searcher of all items as they are now.

        Args:
            settings: How to search; None keeps what there is while the number of items
                stays near, and chooses by their number else.
        """
        rows = np.flatnonzero(~self.gone)
        # A file without a name, which ends with the last that uses the array: the
        # system need not hold it in memory.
        with tempfile.TemporaryFile() as file:
            vectors = np.memmap(file, np.float32, "w+", shape=(len(self), self.dim))
        for first in range(0, len(rows), _BLOCK_ROWS):
            block = rows[first : first + _BLOCK_ROWS]
            vectors[first : first + len(block)] = self.base.vectors[block]
        vectors[len(rows) :] = self.added_vectors
        items = [self.base.items[row] for row in rows.tolist()]
        usual = self.base.searcher.settings
        near = len(self) / 2 <= len(self.base.items) <= 2 * len(self)
        return IndexedItems.build(
            [*items, *self.added], vectors, settings or (usual if near else None)
        )

    def onto(self, base: IndexedItems, changed: Iterable[str]) -> "ItemIndex":
        """Returns the same items over another base.

        Args:
            base: What was built of an earlier state.
            changed: All items that were upserted or deleted since that state.
        """
        touched = set(changed)
        kept = [item for item in touched if item in self.added]
        vectors = self.added_vectors[[self.added[item] for item in kept]]
        return ItemIndex.of(base).deleted(touched).upserted(kept, vectors)

    def _best_of_base(
        self, queries: Float32s, k: int, hidden: Sequence[Int64s]
    ) -> tuple[Int64s, Float32s]:
        num_rows = len(self.base.items)
        apart = [places[places < num_rows] for places in hidden]
        left = num_rows - self.num_gone
        wanted = np.asarray([min(k, left - len(rows)) for rows in apart])
        places = np.full((len(queries), k), -1, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        pending = np.flatnonzero(wanted > 0)
        for depth, everywhere in self._depths(k + max(map(len, apart), default=0)):
            if not len(pending):
                break
            rows, found = self.base.searcher.nearest(
                queries[pending], min(depth, num_rows), everywhere=everywhere
            )
            if self.num_gone:
                found[self.gone[rows]] = -np.inf
            for position, query in enumerate(pending.tolist()):
                _hide(rows[position], found[position], apart[query])
            listed = _top(rows, found, k)
            places[pending, : listed[0].shape[1]] = listed[0]
            scores[pending, : listed[1].shape[1]] = listed[1]
            enough = np.isfinite(scores[pending]).sum(axis=1) >= wanted[pending]
            pending = pending[~enough]
        return places, scores

    def _depths(self, wanted: int) -> Iterator[tuple[int, bool]]:
        """Yields how many rows to fetch, and whether of all leaves, until enough."""
        usual = wanted
        if self.num_gone:
            # Rows that are gone are met as often as there are of them, or more often.
            usual += 8 + 2 * wanted * self.num_gone // len(self.base.items)
        yield usual, False
        if self.num_gone:
            yield 4 * usual, False
        yield wanted + self.num_gone, True

    def _with_added(
        self,
        queries: Float32s,
        k: int,
        hidden: Sequence[Int64s],
        places: Int64s,
        scores: Float32s,
    ) -> tuple[Int64s, Float32s]:
        start = len(self.base.items)
        every = start + np.arange(len(self.added))
        found = _products(queries, self.added_vectors)
        for query, apart in enumerate(hidden):
            found[query, apart[apart >= start] - start] = -np.inf
        return _top(
            np.concatenate([places, np.tile(every, (len(queries), 1))], axis=1),
            np.concatenate([scores, found], axis=1),
            k,
        )

    def _best_of(
        self, queries: Float32s, k: int, hidden: Sequence[Int64s], allowed: Int64s
    ) -> tuple[Int64s, Float32s]:
        """Returns what `best` does, of the places that are allowed, exactly."""
        found = queries @ self._vectors_at(allowed).T
        for query, apart in enumerate(hidden):
            _hide(allowed, found[query], apart)
        return _top(np.tile(allowed, (len(queries), 1)), found, k)

    def _vectors_at(self, places: Int64s) -> Float32s:
        start = len(self.base.items)
        found = np.zeros((len(places), self.dim), np.float32)
        added = places >= start
        found[~added] = self.base.vectors[places[~added]]
        found[added] = self.added_vectors[places[added] - start]
        return found

    def _place(self, item: str) -> int | None:
        added = self.added.get(item)
        if added is not None:
            return len(self.base.items) + added
        row = self.base.rows.get(item)
        return None if row is None or self.gone[row] else row

    def _places(self, items: Iterable[str]) -> Int64s:
        """Returns the places of those items that the index has, each once."""
        found = (self._place(item) for item in dict.fromkeys(items))
        return np.asarray([place for place in found if place is not None], np.int64)

    def _item(self, place: int) -> str:
        start = len(self.base.items)
        if place < start:
            return self.base.items[place]
        return self._added_items[place - start]


def _products(queries: Float32s, vectors: Float32s) -> Float32s:
    """Returns inner products, [num_queries, num_vectors] float32."""
    if len(queries) > _FEW_QUERIES:
        return queries @ vectors.T
    # A matrix product would share so little among threads, and one request would wait
    # for threads that others keep busy.
    found: Float32s = np.einsum("qd,vd->qv", queries, vectors)
    return found


def _hide(places: Int64s, scores: Float32s, hidden: Int64s) -> None:
    """Writes -inf to the scores of hidden places."""
    if len(hidden):
        scores[np.isin(places, hidden)] = -np.inf


def _top(places: Int64s, scores: Float32s, k: int) -> tuple[Int64s, Float32s]:
    """Returns the k best of each row, best first, -1 for a score of -inf.

    Args:
        places: [n, width] int64.
        scores: [n, width] float32.
        k: Places to return, or width where that is less.
    """
    if scores.shape[1] > k:
        chosen = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        places = np.take_along_axis(places, chosen, axis=1)
        scores = np.take_along_axis(scores, chosen, axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")
    scores = np.take_along_axis(scores, order, axis=1)
    places = np.take_along_axis(places, order, axis=1)
    return np.where(np.isneginf(scores), -1, places), scores


def require_items(items: Sequence[str], vectors: Float32s) -> None:
    """Raises unless ids and vectors can go into an index.

    Args:
        items: Item ids.
        vectors: Their vectors.
    Raises:
        InputError: If an id is there twice, empty or of several lines, or vectors are
            not [n, dim] float32 and finite.
    """
    if vectors.ndim != 2 or len(vectors) != len(items) or not vectors.shape[1]:
        raise InputError(
            f"`vectors` must be [{len(items)}, dim], a row for each item; got "
            f"{list(vectors.shape)}."
        )
    if vectors.dtype != np.float32:
        raise InputError(f"`vectors` must be float32; got {vectors.dtype}.")
    require_ids(items)
    for first in range(0, len(vectors), _BLOCK_ROWS):
        finite = np.isfinite(vectors[first : first + _BLOCK_ROWS]).all(axis=1)
        if not finite.all():
            bad = items[first + int(np.argmin(finite))]
            raise InputError(
                f"`vectors` must be finite; that of {bad!r} is not. Leave it out, or "
                "train again."
            )


def require_ids(items: Sequence[str]) -> None:
    """Raises InputError if an id is there twice, empty or of several lines."""
    if len(set(items)) < len(items):
        again = [item for item, count in Counter(items).items() if count > 1]
        raise InputError(
            f"`items` must name each item once; twice or more: {shown_ids(again)}."
        )
    wrong = [item for item in items if not item or "\n" in item]
    if wrong:
        raise InputError(
            f"`items` must be ids of one line each; got {shown_ids(map(repr, wrong))}."
        )


def shown_ids(items: Iterable[str]) -> str:
    """Returns the first few ids for a message, each once."""
    distinct = list(dict.fromkeys(items))
    more = len(distinct) - _EXAMPLES
    shown = ", ".join(distinct[:_EXAMPLES])
    return f"{shown} and {more} more" if more > 0 else shown
