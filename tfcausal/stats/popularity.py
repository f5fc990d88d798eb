"""How often each item was met: counts that add up, and the table made of them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.columns import UNKNOWN_INDEX, popularity_schema

Int64s = npt.NDArray[np.int64]


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

    def add(self, items: npt.NDArray[np.int32]) -> "ItemCounts":
        """Counts a block of item indices.

        Args:
            items: [n] int32 in [0, num_items).
        Returns:
            This object.
        Raises:
            InputError: If an index is not of the vocabulary.
        """
        if len(items):
            found = np.bincount(items, minlength=len(self.counts))
            if len(found) > len(self.counts):
                raise InputError(
                    f"Item indices must be below {len(self.counts)}, the rows of "
                    f"the vocabulary; got {int(items.max())}. Ingest and split again."
                )
            self.counts += found
        return self

    def merge(self, other: "ItemCounts") -> "ItemCounts":
        """Adds another block's counts to these and returns this object."""
        self.counts += other.counts
        return self


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
    # The unknown item comes last, behind items that nobody met.
    sinking = -observed.astype(np.int64)
    sinking[UNKNOWN_INDEX] = 1
    rank = np.empty(len(observed), np.int32)
    rank[np.argsort(sinking, kind="stable")] = np.arange(len(observed), dtype=np.int32)
    return pa.table(
        {
            columns.ITEM: np.arange(len(observed), dtype=np.int32),
            columns.POPULARITY: observed.astype(np.int64),
            columns.POPULARITY_INTERVENED: (
                np.zeros(len(observed), np.int64)
                if intervened is None
                else intervened.astype(np.int64)
            ),
            columns.POPULARITY_RANK: rank,
        },
        schema=popularity_schema(),
    )
