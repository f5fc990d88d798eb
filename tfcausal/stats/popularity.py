"""How often each item was met: counts that add up, and what is told by them alone."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.columns import (
    UNKNOWN_INDEX,
    normalised_popularity_schema,
    popularity_schema,
)
from tfcausal.stats.logarithm import log

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


@dataclass
class ItemCounts:
    """Interactions of each item, added up block by block.

    Attributes:
        counts: [num_items] int64, changed in place by `add`.
    """

    counts: Int64s

    @classmethod
    def zeros(cls, num_items: int) -> "ItemCounts":
        """Counts nothing yet; `num_items` includes the unknown item."""
        return cls(np.zeros(num_items, np.int64))

    def add(self, items: Int32s) -> "ItemCounts":
        """Counts a block of item indices.

        Args:
            items: [n] int32 in [0, num_items).
        Returns:
            This object.
        Raises:
            InputError: If an index is not of the vocabulary.
        """
        require_items(items, len(self.counts))
        # Unlike np.bincount, this costs nothing for items that the block lacks.
        np.add.at(self.counts, items, 1)
        return self

    def merge(self, other: "ItemCounts") -> "ItemCounts":
        """Adds another block's counts to these and returns this object."""
        self.counts += other.counts
        return self


def require_items(items: Int32s, num_items: int) -> None:
    """Raises InputError unless all indices are rows of a vocabulary.

    Args:
        items: [n] item indices.
        num_items: Rows of the vocabulary.
    """
    if len(items) and not 0 <= items.min() <= items.max() < num_items:
        wrong = items.max() if items.max() >= num_items else items.min()
        raise InputError(
            f"Item indices must be below {num_items}, the rows of the vocabulary, and "
            f"not below 0; got {int(wrong)}. Ingest and split again."
        )


def popularity_ranks(counts: Int64s) -> Int32s:
    """Returns each item's place from 0 by falling count.

    Args:
        counts: [num_items] interactions of each item.
    Returns:
        [num_items] int32; ties go to the smaller index, the unknown item comes last.
    """
    # The unknown item comes last, behind items that nobody met.
    sinking = -counts.astype(np.int64)
    sinking[UNKNOWN_INDEX] = 1
    rank = np.empty(len(counts), np.int32)
    rank[np.argsort(sinking, kind="stable")] = np.arange(len(counts), dtype=np.int32)
    return rank


def popularity_table(observed: Int64s, intervened: Int64s | None) -> pa.Table:
    """Makes the table of item popularity.

    Args:
        observed: [num_items] counts in the biased training part.
        intervened: [num_items] counts in the intervened training part, if there is one.
    Returns:
        A table of `columns.popularity_schema`.
    Raises:
        InputError: If nothing was counted.
    """
    if not observed.sum():
        raise InputError(
            "Popularity must count at least one interaction; the part `train` has "
            "none. Split again with a larger share for it."
        )
    return pa.table(
        {
            columns.ITEM: np.arange(len(observed), dtype=np.int32),
            columns.POPULARITY: observed.astype(np.int64),
            columns.POPULARITY_INTERVENED: (
                np.zeros(len(observed), np.int64)
                if intervened is None
                else intervened.astype(np.int64)
            ),
            columns.POPULARITY_RANK: popularity_ranks(observed),
        },
        schema=popularity_schema(),
    )


def normalised_table(
    counts: Int64s, num_groups: int, decayed: Float64s | None = None
) -> pa.Table:
    """Makes the table of popularity in comparable forms.

    Args:
        counts: [num_items] interactions of each item, at least one in all.
        num_groups: Groups of about equally many interactions; 3 for head, middle, tail.
        decayed: [num_items] counts of which older ones weigh less, where wanted.
    Returns:
        A table of `columns.normalised_popularity_schema`.
    """
    known = np.sort(counts[UNKNOWN_INDEX + 1 :])
    percentile = 100.0 * np.searchsorted(known, counts, "right") / len(known)
    percentile[UNKNOWN_INDEX] = 0.0
    content = {
        columns.ITEM: np.arange(len(counts), dtype=np.int32),
        columns.POPULARITY_SHARE: counts / counts.sum(),
        columns.POPULARITY_MIN_MAX: min_max(smoothed_share(counts[None]))[0],
        columns.POPULARITY_PERCENTILE: percentile,
        columns.POPULARITY_GROUP: popularity_groups(counts, num_groups),
    }
    if decayed is not None:
        content[columns.POPULARITY_DECAYED] = decayed
    schema = normalised_popularity_schema(decayed=decayed is not None)
    return pa.table(content, schema=schema)


def popularity_groups(counts: Int64s, num_groups: int) -> Int32s:
    """Groups items by popularity so that groups have about equally many interactions.

    An item belongs to the group in which the interactions of all more popular items
    end: group g begins at the first item that has g / num_groups of all before it.

    Args:
        counts: [num_items] interactions of each item, at least one in all.
        num_groups: Number of groups.
    Returns:
        [num_items] int32, 0 for the most popular items; items that nobody met, and the
        unknown one, are in the last group.
    """
    order = np.argsort(popularity_ranks(counts))
    ordered = counts[order]
    before = np.cumsum(ordered) - ordered
    group = np.empty(len(counts), np.int32)
    group[order] = np.minimum(before * num_groups // counts.sum(), num_groups - 1)
    return group


def smoothed_share(counts: Int64s) -> Float64s:
    """Returns each item's share of the interactions of its slot, one added to each.

    Formula: m = (count + 1) / (sum of counts + number of items)
    Reference: Zhang et al., Causal Intervention for Leveraging Popularity Bias in
    Recommendation (PDA), SIGIR 2021, and the authors' pop_pre.py.

    Args:
        counts: [num_slots, num_items] interactions; the unknown item is not counted
            among the items.
    Returns:
        [num_slots, num_items] float64.
    """
    num_known = counts.shape[1] - 1
    totals = counts[:, UNKNOWN_INDEX + 1 :].sum(axis=1, keepdims=True)
    shares: Float64s = (counts + 1) / (totals + num_known)
    return shares


def min_max(values: Float64s) -> Float64s:
    """Maps each slot's values linearly to [0, 1], over the known items.

    Args:
        values: [num_slots, num_items] float64.
    Returns:
        [num_slots, num_items] float64; all 1 in a slot whose items are all alike, so
        that a power of them changes no score. The unknown item has 0.
    """
    known = values[:, UNKNOWN_INDEX + 1 :]
    least = known.min(axis=1, keepdims=True)
    span = known.max(axis=1, keepdims=True) - least
    alike = span == 0
    scaled: Float64s = np.where(
        alike, 1.0, (values - least) / np.where(alike, 1.0, span)
    )
    scaled[:, UNKNOWN_INDEX] = 0.0
    return scaled


def entropy(counts: Int64s) -> float:
    """Returns the entropy of the distribution of interactions over items, in nats.

    Reference: Zheng et al., DICE, WWW 2021, Table 1, which does not say its base.

    Args:
        counts: [num_items] interactions of each item, at least one in all.
    """
    sizes, times = np.unique(counts[counts > 0], return_counts=True)
    shares = sizes / sizes.dot(times)
    return math.fsum((-times * shares * log(shares)).tolist())
