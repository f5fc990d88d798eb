"""How far two counts of the same things lie apart, shard by shard of their ids.

Everything adds up over shards in any order: sums of floats are rounded once, at the
end, and ranks come from how often each count occurs. So no one ever holds both
vocabularies.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tfcausal.schema.columns import COUNT
from tfcausal.stats.logarithm import log

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

ID = "id"
BEFORE = "before"
AFTER = "after"
SHIFT = "shift"


@dataclass(frozen=True)
class JoinedCounts:
    """Counts of ids before and after, 0 where an id was not there.

    Attributes:
        ids: [n] string array, ascending.
        before: [n] int64.
        after: [n] int64.
    """

    ids: pa.Array
    before: Int64s
    after: Int64s

    @classmethod
    def of(cls, before: pa.Table, after: pa.Table) -> "JoinedCounts":
        """Joins two tables of `id` and `count` whose ids occur once each."""
        renamed = (
            before.rename_columns([ID, BEFORE]),
            after.rename_columns([ID, AFTER]),
        )
        joined = renamed[0].join(renamed[1], keys=ID, join_type="full outer")
        joined = joined.sort_by(ID).combine_chunks()
        counts = [pc.fill_null(joined[name], 0).to_numpy() for name in (BEFORE, AFTER)]
        return cls(joined[ID].combine_chunks(), *counts)

    @property
    def in_both(self) -> npt.NDArray[np.bool_]:
        """[n] whether an id was there before and after."""
        both: npt.NDArray[np.bool_] = (self.before > 0) & (self.after > 0)
        return both


@dataclass(frozen=True)
class ShardTotals:
    """What one shard adds to the totals.

    Attributes:
        ids: Ids before, after and in both.
        rows: Interactions before and after.
        rows_vanished: Interactions before of ids that are gone after.
        rows_new: Interactions after of ids that were not there before.
        values_before: [a, 2] int64, each count before among the ids in both, and how
            many of them have it.
        values_after: [b, 2] int64, the same after.
    """

    ids: tuple[int, int, int]
    rows: tuple[int, int]
    rows_vanished: int
    rows_new: int
    values_before: Int64s
    values_after: Int64s

    @classmethod
    def of(cls, counts: JoinedCounts) -> "ShardTotals":
        """Counts a shard."""
        before, after, both = counts.before, counts.after, counts.in_both
        return cls(
            ids=(int((before > 0).sum()), int((after > 0).sum()), int(both.sum())),
            rows=(int(before.sum()), int(after.sum())),
            rows_vanished=int(before[~both].sum()),
            rows_new=int(after[~both].sum()),
            values_before=_occurrences(before[both]),
            values_after=_occurrences(after[both]),
        )


@dataclass(frozen=True)
class Totals:
    """The totals of all shards.

    Attributes:
        ids: Ids before, after and in both.
        rows: Interactions before and after.
        rows_vanished: Interactions before of ids that are gone after.
        rows_new: Interactions after of ids that were not there before.
        ranks_before: Counts before among the ids in both, and the rank of each.
        ranks_after: The same after.
    """

    ids: tuple[int, int, int]
    rows: tuple[int, int]
    rows_vanished: int
    rows_new: int
    ranks_before: "Ranks"
    ranks_after: "Ranks"

    @classmethod
    def of(cls, shards: Sequence[ShardTotals]) -> "Totals":
        """Adds shards up, in any order."""
        counted = [
            (*shard.ids, *shard.rows, shard.rows_vanished, shard.rows_new)
            for shard in shards
        ]
        sums = [sum(column) for column in zip(*counted, strict=True)]
        return cls(
            ids=(sums[0], sums[1], sums[2]),
            rows=(sums[3], sums[4]),
            rows_vanished=sums[5],
            rows_new=sums[6],
            ranks_before=Ranks.of([shard.values_before for shard in shards]),
            ranks_after=Ranks.of([shard.values_after for shard in shards]),
        )


@dataclass(frozen=True)
class Ranks:
    """Ranks by count, equal counts sharing the mean of theirs.

    Attributes:
        values: [m] int64 distinct counts, ascending.
        ranks: [m] float64 rank of each, from 0, less the mean of all ranks.
        variance: Sum of the squared ranks over all ids.
    """

    values: Int64s
    ranks: Float64s
    variance: float

    @classmethod
    def of(cls, occurrences: Sequence[Int64s]) -> "Ranks":
        """Ranks by tables of counts and how many ids have them."""
        values, place = np.unique(
            np.concatenate([table[:, 0] for table in occurrences]), return_inverse=True
        )
        weights = np.concatenate([table[:, 1] for table in occurrences])
        ids = np.zeros(len(values), np.int64)
        np.add.at(ids, place, weights)
        # Twice the mean rank is a whole number, so nothing is rounded.
        twice = 2 * (np.cumsum(ids) - ids) + ids - 1
        ranks = (twice - (ids.sum() - 1)) / 2.0
        return cls(values, ranks, math.fsum((ids * ranks * ranks).tolist()))

    def at(self, counts: Int64s) -> Float64s:
        """Returns the rank of each count, which must be among the values."""
        return self.ranks[np.searchsorted(self.values, counts)]


def _occurrences(counts: Int64s) -> Int64s:
    return np.stack(np.unique(counts, return_counts=True), axis=1).astype(np.int64)


def shift_terms(counts: JoinedCounts, totals: Totals) -> Float64s:
    """Returns [n] what each id adds to the Jensen-Shannon divergence, in bits.

    With p the share of an id before, q after and m their mean:
    (p log2(p / m) + q log2(q / m)) / 2. See Lin, Divergence measures based on the
    Shannon entropy, 1991.
    """
    shares = counts.before / totals.rows[0], counts.after / totals.rows[1]
    mean = (shares[0] + shares[1]) / 2
    terms = np.zeros(len(mean), np.float64)
    for share in shares:
        met = share > 0
        terms[met] += share[met] * log(share[met] / mean[met])
    return terms / (2 * math.log(2))


def rank_products(counts: JoinedCounts, totals: Totals) -> float:
    """Returns a shard's part of the covariance of ranks before and after."""
    both = counts.in_both
    products = totals.ranks_before.at(counts.before[both]) * totals.ranks_after.at(
        counts.after[both]
    )
    return math.fsum(products.tolist())


def summary(
    totals: Totals, divergences: Iterable[float], products: Iterable[float]
) -> dict[str, float | int | None]:
    """Returns the figures of a comparison.

    Args:
        totals: Of all shards.
        divergences: Each shard's part of the divergence.
        products: Each shard's `rank_products`.
    Returns:
        `jensen_shannon_distance` in [0, 1], the root of the divergence;
        `rank_correlation`, Spearman's over the ids in both, None where ranks do not
        differ; ids and interactions, new and vanished.
    """
    spread = totals.ranks_before.variance * totals.ranks_after.variance
    ids_before, ids_after, ids_both = totals.ids
    return {
        "jensen_shannon_distance": math.sqrt(max(math.fsum(divergences), 0.0)),
        "rank_correlation": math.fsum(products) / math.sqrt(spread) if spread else None,
        "ids_before": ids_before,
        "ids_after": ids_after,
        "ids_in_both": ids_both,
        "ids_new": ids_after - ids_both,
        "ids_vanished": ids_before - ids_both,
        "share_of_interactions_new": totals.rows_new / totals.rows[1],
        "share_of_interactions_vanished": totals.rows_vanished / totals.rows[0],
    }


def largest_shifts(counts: JoinedCounts, terms: Float64s, top: int) -> pa.Table:
    """Returns the ids that add most to the divergence, at most `top`, largest first.

    Returns:
        Table of id, before, after (int64) and shift (float64); ties by id.
    """
    order = np.argsort(-terms, kind="stable")[:top]
    return pa.table(
        {
            ID: counts.ids.take(pa.array(order)),
            BEFORE: counts.before[order],
            AFTER: counts.after[order],
            SHIFT: terms[order],
        }
    )


def merge_shifts(tables: Sequence[pa.Table], top: int) -> pa.Table:
    """Merges tables of `largest_shifts` into one."""
    joined = pa.concat_tables(tables)
    return joined.sort_by([(SHIFT, "descending"), (ID, "ascending")]).slice(0, top)


def counts_table(ids: pa.Array, counts: Int64s) -> pa.Table:
    """Returns a table of `id` and `count`, as `JoinedCounts.of` takes it."""
    return pa.table({ID: ids, COUNT: counts})
