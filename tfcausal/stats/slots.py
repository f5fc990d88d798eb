"""Popularity by time slot, as PD and PDA need it, and what the next slot will have.

Reference: Zhang et al., Causal Intervention for Leveraging Popularity Bias in
Recommendation (PDA), SIGIR 2021, and the authors' pop_pre.py. They cut all time into
ten slots of equal length, of which the last is for validation and test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pyarrow as pa

from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.stats.popularity import (
    Float64s,
    Int32s,
    Int64s,
    min_max,
    require_items,
    smoothed_share,
)

EQUAL_TIME = "equal_time"
EQUAL_ROWS = "equal_rows"
SLOT_RULES = (EQUAL_TIME, EQUAL_ROWS)

_LEAST_POPULARITY = 1e-9


def equal_time_begins(first: int, last: int, num_slots: int) -> tuple[int, ...]:
    """Cuts a span of time into slots of equal length.

    Args:
        first: The first second, or day, that is cut.
        last: The last one.
        num_slots: Number of slots.
    Returns:
        The first second, or day, of each slot.
    Raises:
        InputError: If a slot would be empty.
    """
    span = last - first + 1
    if num_slots > span:
        raise _too_many(num_slots)
    return tuple(first + span * slot // num_slots for slot in range(num_slots))


def equal_rows_begins(
    counts: Int64s, num_slots: int, first: int = 0, width: int = 1
) -> tuple[int, ...]:
    """Cuts a span of time into slots of about equally many rows.

    Slot k begins at the first bin that has k / num_slots of all rows before it.

    Args:
        counts: [num_bins] rows of each of successive bins of equal length.
        num_slots: Number of slots.
        first: Where the first bin begins.
        width: Length of a bin.
    Returns:
        Where each slot begins.
    Raises:
        InputError: If a slot would be empty.
    """
    if num_slots > len(counts):
        raise _too_many(num_slots)
    before = np.cumsum(counts) - counts
    wanted = [-(-int(counts.sum()) * slot // num_slots) for slot in range(num_slots)]
    places = np.searchsorted(before, wanted, "left")
    begins = tuple(first + width * place for place in places.tolist())
    if any(begin >= end for begin, end in pairwise(begins)):
        raise _too_many(num_slots)
    return begins


def _too_many(num_slots: int) -> InputError:
    return InputError(
        f"`num_slots` must leave no slot empty; {num_slots} are too many for the times "
        "of the training rows. Choose fewer, or 0 for none."
    )


def slots_of(times: Int64s, begins: Sequence[int]) -> Int64s:
    """Returns the slot of each row.

    Args:
        times: [n] seconds, or days, none before the first slot.
        begins: Where each slot begins, ascending.
    Returns:
        [n] int64 in [0, num_slots).
    """
    return np.searchsorted(np.asarray(begins, np.int64), times, "right") - 1


@dataclass
class SlotCounts:
    """Interactions of each item in each slot, added up block by block.

    Attributes:
        begins: The first second of each slot, ascending.
        counts: [num_slots, num_items] int64, changed in place by `add`.
    """

    begins: tuple[int, ...]
    counts: Int64s

    @classmethod
    def zeros(cls, begins: tuple[int, ...], num_items: int) -> "SlotCounts":
        """Counts nothing yet; `num_items` includes the unknown item."""
        return cls(begins, np.zeros((len(begins), num_items), np.int64))

    def add(self, items: Int32s, timestamps: Int64s) -> "SlotCounts":
        """Counts a block of rows.

        Args:
            items: [n] int32 in [0, num_items).
            timestamps: [n] seconds, none before the first slot.
        Returns:
            This object.
        Raises:
            InputError: If an index is not of the vocabulary.
        """
        num_items = self.counts.shape[1]
        require_items(items, num_items)
        cells = slots_of(timestamps, self.begins) * num_items + items
        np.add.at(self.counts.reshape(-1), cells, 1)
        return self

    def merge(self, other: "SlotCounts") -> "SlotCounts":
        """Adds another block's counts to these and returns this object."""
        self.counts += other.counts
        return self


@dataclass
class TimeCounts:
    """Rows by time, in bins of equal length, added up block by block.

    Attributes:
        first: Where the first bin begins, in seconds.
        width: Seconds of a bin.
        counts: [num_bins] int64, changed in place by `add`.
    """

    MAX_BINS: ClassVar[int] = 1 << 20

    first: int
    width: int
    counts: Int64s

    @classmethod
    def zeros(cls, first: int, last: int) -> "TimeCounts":
        """Counts nothing yet between two times; bins are a millionth of it, or 1 s."""
        span = last - first + 1
        width = -(-span // cls.MAX_BINS)
        return cls(first, width, np.zeros(-(-span // width), np.int64))

    def add(self, timestamps: Int64s) -> "TimeCounts":
        """Counts a block of times, none outside the span, and returns this object."""
        np.add.at(self.counts, (timestamps - self.first) // self.width, 1)
        return self

    def merge(self, other: "TimeCounts") -> "TimeCounts":
        """Adds another block's counts to these and returns this object."""
        self.counts += other.counts
        return self


def next_slot(popularity: Float64s, trend: float) -> Float64s:
    """Predicts the popularity of the slot that follows.

    Formula: m_next = m_last + trend * (m_last - m_before), within [1e-9, 1]

    Args:
        popularity: [num_slots, num_items] float64 in [0, 1].
        trend: How much of the last change goes on; 0 for the last slot's popularity.
    Returns:
        [num_items] float64.
    """
    last = popularity[-1]
    before = popularity[-2] if len(popularity) > 1 else last
    predicted: Float64s = np.clip(
        last + trend * (last - before), _LEAST_POPULARITY, 1.0
    )
    return predicted


def slots_table(counts: Int64s, trend: float) -> pa.Table:
    """Makes the table of popularity by slot.

    Args:
        counts: [num_slots, num_items] interactions of each item in each slot.
        trend: As for `next_slot`.
    Returns:
        A table of `columns.popularity_by_slot_schema`.
    """
    num_slots, num_items = counts.shape
    popularity = min_max(smoothed_share(counts))
    lists = [
        pa.FixedSizeListArray.from_arrays(pa.array(values.T.reshape(-1)), num_slots)
        for values in (counts, popularity)
    ]
    return pa.table(
        [
            pa.array(np.arange(num_items, dtype=np.int32)),
            *lists,
            pa.array(next_slot(popularity, trend)),
        ],
        schema=columns.popularity_by_slot_schema(num_slots),
    )
