"""What to do when a user meets the same item again."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tfcausal.stats.sorting import repeated, stable_order

Int64s = npt.NDArray[np.int64]
Repeats = Literal["earliest", "latest", "keep"]
REPEATS: tuple[Repeats, ...] = ("earliest", "latest", "keep")


@dataclass(frozen=True)
class KeptRows:
    """The rows that stay.

    Attributes:
        rows: [m] int64 their numbers, ordered by user and timestamp, equal times as
            they were given.
        occurrences: [m] int32 how often the user had met the item before; None unless
            repeats are kept.
    """

    rows: Int64s
    occurrences: npt.NDArray[np.int32] | None


def resolve_repeats(
    users: npt.NDArray[Any],
    items: npt.NDArray[Any],
    timestamps: Int64s | None,
    repeats: Repeats,
) -> KeptRows:
    """Keeps one row of each (user, item), or all of them numbered.

    Args:
        users: [n] integers in [0, 2 ** 31), in the order of the input.
        items: [n] integers in [0, 2 ** 31).
        timestamps: [n] seconds >= 0, or None where time is the order of the input,
            which also decides equal times.
        repeats: "earliest" or "latest" row of each pair, or "keep" for all.
    Returns:
        The rows that stay.
    """
    order = _by_user_and_time(users, timestamps)
    pairs = users[order] * (items.max(initial=0) + np.int64(1)) + items[order]
    # Almost all pairs occur once, and only the others need a look.
    again, follows = repeated(pairs)
    if repeats == "keep":
        occurrences = np.zeros(len(order), np.int32)
        place = np.arange(len(again))
        firsts = np.where(follows, 0, place)
        occurrences[again] = place - np.maximum.accumulate(firsts)
        return KeptRows(order, occurrences)
    dropped = again[follows] if repeats == "earliest" else again[:-1][follows[1:]]
    kept = np.ones(len(order), bool)
    kept[dropped] = False
    return KeptRows(order[kept], None)


def _by_user_and_time(users: npt.NDArray[Any], timestamps: Int64s | None) -> Int64s:
    """Returns [n] the rows' numbers, ordered by user and timestamp."""
    if timestamps is None or not (timestamps[1:] < timestamps[:-1]).any():
        return stable_order(users)
    by_time = stable_order(timestamps - timestamps.min())
    by_user: Int64s = by_time[stable_order(users[by_time])]
    return by_user
