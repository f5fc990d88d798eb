"""The items that a model takes for a user's next, though the user has not met them.

Scores are products of vectors rounded to whole numbers, small enough that their sums
are whole numbers of 53 bits: then every order of adding gives the same score, and the
same items are the best whatever the machine, the number of threads and the block.
"""

from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.stats.logarithm import Float64s
from tfcausal.stats.negatives import Bools, Float32s, Int32s, Int64s
from tfcausal.stats.own_parts import count_upto
from tfcausal.stats.sorting import distinct

_QUERIES_AT_ONCE = 1 << 10
_ITEMS_AT_ONCE = 1 << 12
_EXACT_BITS = 53


@dataclass(frozen=True)
class HardPools:
    """The hard negatives of some users.

    Attributes:
        users: [num_users] int32, ascending.
        items: [num_users, pool_size] int32, ascending in the first `sizes` places; what
            comes after them means nothing.
        sizes: [num_users] int64; fewer than pool_size where a user has met nearly all.
    """

    users: Int32s
    items: Int32s
    sizes: Int64s

    def place(self, users: Int32s) -> Int64s:
        """Returns the row of each of these users, all of whom have one."""
        return np.searchsorted(self.users, users)

    def contain(self, place: Int64s, candidates: Int32s) -> Bools:
        """Returns whether items are among the hard negatives of users.

        Args:
            place: [n] int64 rows of the users.
            candidates: [n, k] int32 items.
        """
        start = place * self.items.shape[1]
        flat = self.items.ravel()
        upto = count_upto(flat, start, start + self.sizes[place], candidates)
        last = flat[np.maximum(start[:, None] + upto - 1, 0)]
        contained: Bools = (upto > 0) & (last == candidates)
        return contained


def mine_pools(
    queries: Float32s,
    candidates: Float32s,
    users: Int32s,
    items: Int32s,
    pool_size: int,
) -> HardPools:
    """Finds the items of highest score that each user has not met.

    Formula: score(u, i) = max over q of <queries[u, q], candidates[i]>
    Of items of equal score those of smaller index come first. Vectors are rounded to
    about 23 bits of the largest coordinate, of the user and of all items.

    Args:
        queries: [num_users, num_queries, dim] float32, by user index; mapped files do.
        candidates: [num_items, dim] float32, by item index; mapped files do. The
            unknown item is no negative.
        users: [n] int32 user indices of the rows of a shard.
        items: [n] int32, what each met.
        pool_size: Items for each user.
    Returns:
        The pools of these users.
    Cost: O(users * items * dim) time; memory for a block of users and items.
    """
    size = min(pool_size, len(candidates) - 1)
    by_user = np.lexsort((items, users))
    met_users, met_items = users[by_user], items[by_user]
    pool_users = distinct(met_users)
    rounding = _Rounding.of(candidates)
    step = max(_QUERIES_AT_ONCE // queries.shape[1], 1)
    blocks = [(np.empty((0, size), np.int32), np.empty(0, np.int64))]
    for begin in range(0, len(pool_users), step):
        chosen = pool_users[begin : begin + step]
        first, end = np.searchsorted(met_users, [chosen[0], chosen[-1] + 1])
        blocks.append(
            _best_unmet(
                rounding.queries(queries[chosen]),
                candidates,
                rounding,
                np.searchsorted(chosen, met_users[first:end]),
                met_items[first:end],
                size,
            )
        )
    return HardPools(
        pool_users,
        np.concatenate([found for found, _ in blocks]),
        np.concatenate([sizes for _, sizes in blocks]),
    )


@dataclass(frozen=True)
class _Rounding:
    """To how many bits vectors are rounded.

    Attributes:
        bits: Of the largest coordinate: dim products of two such numbers sum to at
            most 2^53.
        exponent: No coordinate of an item is larger than 2^exponent.
    """

    bits: int
    exponent: int

    @classmethod
    def of(cls, candidates: Float32s) -> "_Rounding":
        """Reads the largest coordinate off the items' vectors."""
        num_items, dim = candidates.shape
        largest = max(
            float(np.abs(candidates[begin : begin + _ITEMS_AT_ONCE]).max())
            for begin in range(0, num_items, _ITEMS_AT_ONCE)
        )
        bits = (_EXACT_BITS - (dim - 1).bit_length()) // 2
        return cls(bits, int(np.frexp(largest)[1]))

    def candidates(self, vectors: Float32s) -> Float64s:
        """Rounds vectors of items, all on one scale."""
        return _rounded(vectors, np.asarray(self.bits - self.exponent))

    def queries(self, vectors: Float32s) -> Float64s:
        """Rounds vectors of users, [n, num_queries, dim].

        Each user has a scale of its own, for it does not change the order of its items.
        """
        largest = np.abs(vectors).max(axis=(1, 2), keepdims=True)
        return _rounded(vectors, self.bits - np.frexp(largest)[1])


def _rounded(vectors: Float32s, shifts: npt.NDArray[Any]) -> Float64s:
    # A product with a power of two is exact.
    rounded: Float64s = np.rint(vectors.astype(np.float64) * np.ldexp(1.0, shifts))
    return rounded


def _best_unmet(
    queries: Float64s,
    candidates: Float32s,
    rounding: _Rounding,
    met_rows: Int64s,
    met_items: Int32s,
    size: int,
) -> tuple[Int32s, Int64s]:
    """Returns the items of highest score, [n, size], and how many are unmet, [n]."""
    num_rows, num_queries, dim = queries.shape
    by_item = np.argsort(met_items, kind="stable")
    met_rows, met_items = met_rows[by_item], met_items[by_item]
    flat = queries.reshape(-1, dim)
    best = np.empty((num_rows, 0), np.float64)
    found = np.empty((num_rows, 0), np.int32)
    first = UNKNOWN_INDEX + 1
    for begin in range(first, len(candidates), _ITEMS_AT_ONCE):
        end = min(begin + _ITEMS_AT_ONCE, len(candidates))
        products = flat @ rounding.candidates(candidates[begin:end]).T
        of_queries = products.reshape(num_rows, num_queries, -1)
        scores = reduce(np.maximum, np.moveaxis(of_queries, 1, 0))
        within = slice(*np.searchsorted(met_items, [begin, end]))
        scores[met_rows[within], met_items[within] - begin] = -np.inf
        # Items found before have smaller indices and so stand before these.
        scores = np.concatenate([best, scores], axis=1)
        numbers = np.broadcast_to(
            np.arange(begin, end, dtype=np.int32), (num_rows, end - begin)
        )
        numbers = np.concatenate([found, numbers], axis=1)
        chosen = _largest(scores, min(size, scores.shape[1]))
        best = np.take_along_axis(scores, chosen, axis=1)
        found = np.take_along_axis(numbers, chosen, axis=1)
    unmet = np.isfinite(best)
    unmet_first = np.argsort(~unmet, axis=1, kind="stable")
    return np.take_along_axis(found, unmet_first, axis=1), unmet.sum(axis=1)


def _largest(scores: Float64s, size: int) -> Int64s:
    """Returns [n, size] the columns of the largest scores, ascending.

    Of equal scores the first are taken, which a sort or a selection by place does not
    promise.
    """
    num_rows, num_columns = scores.shape
    last = np.partition(scores, num_columns - size, axis=1)[:, [num_columns - size]]
    chosen = scores >= last
    ties = chosen.sum(axis=1) > size
    if ties.any():
        above, tied = scores[ties] > last[ties], scores[ties] == last[ties]
        left = size - above.sum(axis=1, keepdims=True)
        chosen[ties] = above | (tied & (np.cumsum(tied, axis=1) <= left))
    columns: Int64s = np.flatnonzero(chosen).reshape(num_rows, size) % num_columns
    return columns
