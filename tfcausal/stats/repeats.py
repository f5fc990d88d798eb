"""What to do when a user meets the same item again."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Repeats = Literal["earliest", "latest", "keep"]
REPEATS: tuple[Repeats, ...] = ("earliest", "latest", "keep")


@dataclass(frozen=True)
class KeptRows:
    """The rows that stay.

    Attributes:
        rows: [m] int64 their numbers, ordered by user, timestamp and position.
        occurrences: [m] int32 how often the user had met the item before; None unless
            repeats are kept.
    """

    rows: Int64s
    occurrences: npt.NDArray[np.int32] | None


def resolve_repeats(
    users: npt.NDArray[Any],
    items: npt.NDArray[Any],
    timestamps: Int64s | None,
    positions: Int64s,
    repeats: Repeats,
) -> KeptRows:
    """Keeps one row of each (user, item), or all of them numbered.

    Args:
        users: [n] integers.
        items: [n] integers.
        timestamps: [n] seconds, or None where time is the order of the input.
        positions: [n] places in the input, all different; they decide equal times.
        repeats: "earliest" or "latest" row of each pair, or "keep" for all.
    Returns:
        The rows that stay; independent of the order in which rows are given.
    """
    times = np.zeros(len(users), np.int64) if timestamps is None else timestamps
    order = np.lexsort((positions, times, items, users))
    new_pair = np.ones(len(order), bool)
    new_pair[1:] = (np.diff(users[order]) != 0) | (np.diff(items[order]) != 0)
    occurrences = None
    if repeats == "keep":
        firsts = np.maximum.accumulate(np.where(new_pair, np.arange(len(order)), 0))
        numbers = np.empty(len(order), np.int32)
        numbers[order] = np.arange(len(order)) - firsts
        kept = order
    elif repeats == "earliest":
        kept = order[new_pair]
    else:
        kept = order[np.append(new_pair[1:], True)[: len(order)]]
    kept = kept[np.lexsort((positions[kept], times[kept], users[kept]))]
    if repeats == "keep":
        occurrences = numbers[kept]
    return KeptRows(kept, occurrences)
