"""The k items of largest inner product for a block of users, the same bytes anywhere.

How a product of float32 matrices is rounded is up to the library, its threads and the
cut into blocks. So it only finds candidates here: all items that its rounding could
have kept out of the k best. Their scores are then added up in float64, coordinate by
coordinate, and rounded once. A list thus depends on the vectors and on what is hidden,
and on nothing else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

LARGEST_SCORE = float(np.finfo(np.float32).max) / 2
"""Bound on scores: within it no product or partial sum leaves float32."""
NOTHING = 0
"""In place of an item where a list has ended; index 0 is nobody's."""

_TILE_QUERIES, _TILE_ITEMS = 512, 1 << 15
_LARGEST_GROUP = 16
_CHUNK = 1 << 15


class Pairs(NamedTuple):
    """Users of a block, each with an item.

    Attributes:
        users: [n] int64 places in the block, ascending.
        items: [n] int64 indices.
    """

    users: Int64s
    items: Int64s

    @classmethod
    def none(cls) -> Self:
        """Returns no pairs."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))

    def chosen(self, users: Int64s) -> "Pairs":
        """Returns the pairs of some users, ascending, who are counted anew."""
        places = np.searchsorted(users, self.users)
        inside = places < len(users)
        inside[inside] = users[places[inside]] == self.users[inside]
        return Pairs(places[inside], self.items[inside])

    def of_users(self, chosen: slice) -> "Pairs":
        """Returns the pairs of successive users, who are counted from the first."""
        ends = np.searchsorted(self.users, (chosen.start, chosen.stop))
        return Pairs(self.users[slice(*ends)] - chosen.start, self.items[slice(*ends)])

    def of_items(self, items: "Items") -> "Pairs":
        """Returns the pairs whose item is one of these."""
        places = self.items - items.first
        inside = (places >= 0) & (places < len(items.vectors))
        return Pairs(self.users[inside], self.items[inside])


@dataclass(frozen=True)
class Items:
    """Successive items.

    Attributes:
        first: Index of the first.
        vectors: [num_items, dim] float32, finite.
    """

    first: int
    vectors: Float32s


@dataclass(frozen=True)
class Queries:
    """What a block of users asks with; a user's score is that of the best query.

    Attributes:
        vectors: [num_users, num_queries, dim] float32.
        cause_of: [dim] int64, the number of the cause that each coordinate belongs to.
        num_causes: Number of causes.
    """

    vectors: Float32s
    cause_of: Int64s
    num_causes: int

    @classmethod
    def of(
        cls,
        vectors: Float32s,
        causes: Mapping[str, slice],
        weights: Mapping[str, float] | None = None,
    ) -> Self:
        """Intervenes: scales each cause's coordinates; do(conformity = 0) is weight 0.

        Args:
            vectors: [num_users, num_queries, dim] float32.
            causes: Ordered, name of the cause to its coordinates.
            weights: Cause to weight; causes that are not named keep weight 1.
        """
        cause_of = np.zeros(vectors.shape[2], np.int64)
        scale = np.ones(vectors.shape[2], np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            for number, (cause, part) in enumerate(causes.items()):
                cause_of[part] = number
                scale[part] = (weights or {}).get(cause, 1.0)
            return cls(vectors * scale, cause_of, len(causes))

    def at(self, chosen: slice | Int64s) -> "Queries":
        """Returns those of some users."""
        return Queries(self.vectors[chosen], self.cause_of, self.num_causes)

    def without_silent(self, items: Items) -> "tuple[Queries, Items]":
        """Leaves out the coordinates in which all queries are 0, of the items too."""
        heard = self.vectors.any(axis=(0, 1))
        if heard.all():
            return self, items
        fewer = Queries(
            np.ascontiguousarray(self.vectors[:, :, heard]),
            self.cause_of[heard],
            self.num_causes,
        )
        return fewer, Items(items.first, np.ascontiguousarray(items.vectors[:, heard]))


@dataclass(frozen=True)
class Lists:
    """The best items of each user of a block, equal scores in the order of items.

    Attributes:
        items: [num_users, k] int64 indices; NOTHING past the end of a list.
        scores: [num_users, k] float32; -inf past the end.
        terms: [num_users, k, num_causes] float32, each cause's term of the score.
    """

    items: Int64s
    scores: Float32s
    terms: Float32s

    @classmethod
    def empty(cls, num_users: int, k: int, num_causes: int) -> Self:
        """Returns lists without items."""
        return cls(
            np.full((num_users, k), NOTHING, np.int64),
            np.full((num_users, k), -np.inf, np.float32),
            np.zeros((num_users, k, num_causes), np.float32),
        )

    @property
    def filled(self) -> Bools:
        """[num_users, k] whether there is an item in a place."""
        filled: Bools = self.items != NOTHING
        return filled

    def at(self, chosen: slice | Int64s) -> "Lists":
        """Returns the lists of some users."""
        return Lists(self.items[chosen], self.scores[chosen], self.terms[chosen])

    def put(self, chosen: slice | Int64s | Bools, lists: "Lists") -> None:
        """Replaces the lists of some users."""
        self.items[chosen] = lists.items
        self.scores[chosen] = lists.scores
        self.terms[chosen] = lists.terms


def longest(vectors: npt.NDArray[Any]) -> float:
    """Returns the largest Euclidean norm along the last axis, 0 without vectors."""
    return float(_lengths(vectors).max(initial=0.0))


def scores_are_finite(queries: Queries, longest_item: float) -> bool:
    """Returns whether no score can leave float32, by Cauchy and Schwarz."""
    # So put that a norm which is not a number is refused as well.
    return longest(queries.vectors) * longest_item <= LARGEST_SCORE


def with_items(lists: Lists, queries: Queries, items: Items, hidden: Pairs) -> Lists:
    """Returns the k best of the items and of those that are in the lists already.

    Items may come in any cut and order; the lists at the end are the same.

    Args:
        lists: Of the users, from other items.
        queries: Of the users; `scores_are_finite` holds.
        items: Some more items, none of them in a list.
        hidden: Which items which users must not get, whatever the scores.
    Returns:
        Lists as long as the given ones.
    Cost:
        A matrix product, in tiles of 64 MiB, and a pass over its result for the maxima
        of groups of items: at most k groups, and what rounding adds, hold candidates.
    """
    queries, items = queries.without_silent(items)
    best = Lists.empty(*lists.terms.shape)
    slack = _slack(queries.vectors, items.vectors)
    num_queries = queries.vectors.shape[1]
    size = max(_TILE_QUERIES // num_queries, 1)
    # One for all tiles: to have new memory mapped takes longer than to fill it.
    products = np.empty(
        size * num_queries * min(_TILE_ITEMS, len(items.vectors)), np.float32
    )
    for users in _cuts(len(queries.vectors), size):
        tile = _of_users(
            lists.at(users),
            queries.at(users),
            items,
            hidden.of_users(users),
            slack[users],
            products,
        )
        best.put(users, tile)
    return best


def of_candidates(
    queries: Queries, k: int, items: Items, candidates: Pairs, hidden: Pairs
) -> Lists:
    """Returns the k best of each user's candidates.

    Args:
        queries: Of the users.
        k: Length of the lists.
        items: What the candidates are among.
        candidates: Users and items, in any order; repeats count once.
        hidden: Which items which users must not get.
    """
    rows = candidates.items - items.first
    codes, kept = np.unique(
        candidates.users * len(items.vectors) + rows, return_index=True
    )
    shown = ~np.isin(
        codes, hidden.users * len(items.vectors) + hidden.items - items.first
    )
    kept = kept[shown]
    lists = Lists.empty(len(queries.vectors), k, queries.num_causes)
    return _with_rows(lists, queries, items, candidates.users[kept], rows[kept])


def merged(lists: Lists, others: Lists) -> Lists:
    """Returns the k best of what is in two lists of each user, which share no item."""
    items = np.concatenate([lists.items, others.items], axis=1)
    scores = np.concatenate([lists.scores, others.scores], axis=1)
    terms = np.concatenate([lists.terms, others.terms], axis=1)
    best = np.lexsort((items, -scores), axis=1)[:, : lists.items.shape[1]]
    return Lists(
        np.take_along_axis(items, best, axis=1),
        np.take_along_axis(scores, best, axis=1),
        np.take_along_axis(terms, best[:, :, None], axis=1),
    )


def _of_users(
    lists: Lists,
    queries: Queries,
    items: Items,
    hidden: Pairs,
    slack: Float64s,
    products: Float32s,
) -> Lists:
    vectors = queries.vectors
    order = np.argsort(hidden.items, kind="stable")
    users, columns = hidden.users[order], hidden.items[order] - items.first
    num_users, num_queries, dim = vectors.shape
    flat = vectors.reshape(num_users * num_queries, dim)
    for tile in _cuts(len(items.vectors), _TILE_ITEMS):
        candidates = items.vectors[tile]
        shape = len(flat), len(candidates)
        scores = products[: shape[0] * shape[1]].reshape(shape)
        np.matmul(flat, candidates.T, out=scores)
        if num_queries > 1:
            scores = scores.reshape(num_users, num_queries, -1).max(axis=1)
        inside = slice(*np.searchsorted(columns, (tile.start, tile.stop)))
        scores[users[inside], columns[inside] - tile.start] = -np.inf
        rows, found = _among_best(scores, lists, slack)
        lists = _with_rows(lists, queries, items, rows, found + tile.start)
    return lists


def _slack(queries: Float32s, items: Float32s) -> Float64s:
    """Returns how far two scores may be apart in float32 and yet in wrong order, [n].

    A sum of dim products is off by at most dim roundings of the product of norms, in
    whatever order it is added up, and by what falls below the smallest floats.
    """
    dim = queries.shape[2]
    relative = (dim + 8) * float(np.finfo(np.float32).eps)
    smallest = (dim + 8) * float(np.finfo(np.float32).tiny)
    norms: Float64s = _lengths(queries).max(axis=1) * longest(items)
    slack: Float64s = relative * norms + smallest
    return slack


def _among_best(
    scores: Float32s, lists: Lists, slack: Float64s
) -> tuple[Int64s, Int64s]:
    """Returns rows and columns of all scores that may be among the k best of a row.

    The k-th largest maximum of groups of columns is a bound from below for the k-th
    score, and what is in the lists already is another.
    """
    num_columns, k = scores.shape[1], lists.items.shape[1]
    size = _LARGEST_GROUP
    while size > 1 and num_columns // size < 4 * k:
        size //= 2
    num_groups = num_columns // size
    # Group g is columns g, g + num_groups, ...: so maxima are taken of whole rows.
    grouped = scores[:, : size * num_groups].reshape(len(scores), size, num_groups)
    maxima = np.concatenate(
        [grouped.max(axis=1), scores[:, size * num_groups :]], axis=1
    )
    last = lists.scores[:, -1]
    if maxima.shape[1] >= k:
        last = np.maximum(last, np.partition(maxima, -k, axis=1)[:, -k])
    bound = last - slack
    rows, groups = np.nonzero(maxima >= bound[:, None])
    within = groups < num_groups
    columns = groups[within, None] + np.arange(size) * num_groups
    inside = np.repeat(rows[within], size).reshape(columns.shape)
    found_rows = np.concatenate([inside.ravel(), rows[~within]])
    found = np.concatenate(
        [columns.ravel(), groups[~within] - num_groups + size * num_groups]
    )
    values = scores[found_rows, found]
    chosen = (values >= bound[found_rows]) & (values > -np.inf)
    return found_rows[chosen], found[chosen]


def _with_rows(
    lists: Lists, queries: Queries, items: Items, users: Int64s, rows: Int64s
) -> Lists:
    """Returns the k best of given rows of the items and of those in the lists."""
    if not len(users):
        return lists
    scores, terms = _exact(queries, items.vectors, users, rows)
    touched = np.zeros(len(lists.items), bool)
    touched[users] = True
    old_users, places = np.nonzero(lists.filled & touched[:, None])
    owners = np.concatenate([old_users, users])
    indices = np.concatenate([lists.items[old_users, places], rows + items.first])
    scores = np.concatenate([lists.scores[old_users, places], scores])
    terms = np.concatenate([lists.terms[old_users, places], terms])
    order = np.lexsort((indices, -scores, owners))
    owners = owners[order]
    rank = np.arange(len(owners)) - np.searchsorted(owners, owners)
    kept = rank < lists.items.shape[1]
    order, owners, rank = order[kept], owners[kept], rank[kept]
    best = Lists.empty(*lists.terms.shape)
    best.put(~touched, lists.at(np.flatnonzero(~touched)))
    best.items[owners, rank] = indices[order]
    best.scores[owners, rank] = scores[order]
    best.terms[owners, rank] = terms[order]
    return best


def _exact(
    queries: Queries, items: Float32s, users: Int64s, rows: Int64s
) -> tuple[Float32s, Float32s]:
    """Returns scores and terms of pairs, those of the query that scores best."""
    scores = np.full(len(users), -np.inf, np.float32)
    terms = np.zeros((len(users), queries.num_causes), np.float32)
    # In chunks, as the users' equal scores may make every item a candidate.
    for chunk in _cuts(len(users), _CHUNK):
        item = np.ascontiguousarray(items[rows[chunk]].T, np.float64)
        for number in range(queries.vectors.shape[1]):
            query = np.ascontiguousarray(
                queries.vectors[users[chunk], number].T, np.float64
            )
            parts = np.zeros((queries.num_causes, item.shape[1]))
            # Products of float32 are exact here, so only the order of sums matters.
            for coordinate, cause in enumerate(queries.cause_of.tolist()):
                parts[cause] += query[coordinate] * item[coordinate]
            total = np.zeros(item.shape[1])
            for part in parts:
                total += part
            rounded = total.astype(np.float32)
            better = rounded > scores[chunk]
            scores[chunk][better] = rounded[better]
            terms[chunk][better] = parts.T[better]
    return scores, terms


def _lengths(vectors: npt.NDArray[Any]) -> Float64s:
    squares = np.einsum("...d,...d->...", vectors, vectors, dtype=np.float64)
    lengths: Float64s = np.sqrt(squares)
    return lengths


def _cuts(length: int, size: int) -> Iterator[slice]:
    for begin in range(0, length, size):
        yield slice(begin, min(begin + size, length))
