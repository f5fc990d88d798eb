"""What a method may know of all rows that it learns from, beside its batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow.parquet as pq

from tfcausal.data.histories import read_histories
from tfcausal.data.interactions import (
    CheckedDataset,
    Interactions,
    part_files,
    read_part,
    read_popularity,
)
from tfcausal.errors import InputError, unknown_name
from tfcausal.schema import columns
from tfcausal.schema.dataset import TRAIN_INTERVENED
from tfcausal.schema.manifest import read_manifest
from tfcausal.stats.negatives import Int32s, Int64s
from tfcausal.stats.popularity import Float64s
from tfcausal.stats.slots import slots_of

INTERVENED = "intervened"
"""Row fact: 1 for a row of the intervened part of training, 0 for another."""
SLOT = "slot"
"""Row fact: number of the time slot that a row's timestamp lies in."""
ROW_FACTS = (INTERVENED, SLOT)


@dataclass(frozen=True)
class SlotPopularity:
    """Popularity in time slots, as beam_jobs.popularity counted it.

    Attributes:
        slots: [num_slots, num_items] float64 in [0, 1], min-max within each slot.
        following: [num_items] float64 in [0, 1], predicted for the slot that follows.
    """

    slots: Float64s
    following: Float64s


@dataclass(frozen=True)
class TrainWindow:
    """The training rows as a whole; what is large is read only when it is asked for.

    Attributes:
        popularity: [num_items] int64 interactions of each item in `train`.
        drawn: [num_items] int64 rows of each item that batches are drawn from, which
            are those of `train_intervened` too.
        read_rows: Reads the rows of some parts, users and items, such as for a graph.
        read_slots: Reads the popularity in time slots.
        read_histories: Reads each user's last items, so many; see `histories`.
    """

    popularity: Int64s
    drawn: Int64s
    read_rows: Callable[[Sequence[str]], Interactions]
    read_slots: Callable[[], SlotPopularity]
    read_histories: Callable[[int], Int32s]

    @classmethod
    def of(cls, dataset: CheckedDataset) -> "TrainWindow":
        """Describes the training parts of a data set.

        Raises:
            InputError: If popularity is missing or of another split.
        """
        return cls(
            read_popularity(dataset),
            read_popularity(dataset, intervened=True),
            lambda parts: read_part(dataset.folder, dataset.parts(parts)),
            lambda: _read_slots(dataset),
            # They are asked for at each validation.
            lru_cache(1)(lambda max_length: read_histories(dataset, max_length)),
        )


def read_fact(dataset: CheckedDataset, parts: Sequence[str], name: str) -> Int32s:
    """Reads a fact of each row of some parts.

    Args:
        dataset: A data set whose popularity is counted.
        parts: The parts of its split.
        name: One of ROW_FACTS.
    Returns:
        [n] int32, in the order of `read_part`.
    Raises:
        InputError: If the fact is unknown, or the data set does not have it.
    """
    if name not in ROW_FACTS:
        raise unknown_name("row fact", name, ROW_FACTS)
    begins = slot_begins(dataset) if name == SLOT else ()
    found = []
    for files in part_files(dataset.folder, parts):
        for part, path in files:
            if name == INTERVENED:
                rows = pq.read_metadata(path).num_rows
                found.append(np.full(rows, part == TRAIN_INTERVENED, np.int32))
            else:
                times = pq.read_table(path, columns=[columns.TIMESTAMP])
                seconds = times[columns.TIMESTAMP].to_numpy()
                # A row of the intervened part may lie before the first slot.
                slots = slots_of(np.maximum(seconds, begins[0]), begins)
                found.append(slots.astype(np.int32))
    return np.concatenate(found)


def slot_begins(dataset: CheckedDataset) -> tuple[int, ...]:
    """Returns the first second of each time slot that popularity was counted in.

    Raises:
        InputError: If it was counted without slots.
    """
    folder = dataset.folder.popularity
    slots = read_manifest(folder, kind="popularity").details.get("slots")
    if not slots:
        raise InputError(
            f"`{folder}` must have time slots; it has none. Ingest with timestamps and "
            "run beam_jobs.popularity with --num_slots."
        )
    return tuple(slots["begins"])


def _read_slots(dataset: CheckedDataset) -> SlotPopularity:
    num_slots = len(slot_begins(dataset))
    table = pq.read_table(dataset.folder.popularity / "popularity_by_slot.parquet")
    lists = table[columns.POPULARITY_MIN_MAX_BY_SLOT].combine_chunks()
    return SlotPopularity(
        lists.flatten().to_numpy().reshape(-1, num_slots).T,
        table[columns.POPULARITY_NEXT_SLOT].to_numpy(),
    )
