"""What to do when a user meets the same item again."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tfcausal.stats.sorting import stable_order

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
        users: [n] integers in [0, 2 ** 31).
        items: [n] integers in [0, 2 ** 31).
        timestamps: [n] seconds, or None where time is the order of the input.
        positions: [n] places in the input, all different; they decide equal times.
        repeats: "earliest" or "latest" row of each pair, or "keep" for all.
    Returns:
        The rows that stay; independent of the order in which rows are given.
    """
    order = _by_user_and_time(users, timestamps, positions)
    pairs = users[order].astype(np.int64) << 32 | items[order]
    again = _met_again(pairs)
    # Almost all pairs occur once; only the others are sorted by pair.
    by_pair = again[np.argsort(pairs[again], kind="stable")]
    same = np.diff(pairs[by_pair]) == 0
    if repeats == "keep":
        occurrences = np.zeros(len(order), np.int32)
        place = np.arange(len(by_pair))
        firsts = np.where(np.append(False, same)[: len(place)], 0, place)
        occurrences[by_pair] = place - np.maximum.accumulate(firsts)
        return KeptRows(order, occurrences)
    dropped = by_pair[1:][same] if repeats == "earliest" else by_pair[:-1][same]
    kept = np.ones(len(order), bool)
    kept[dropped] = False
    return KeptRows(order[kept], None)


def _by_user_and_time(
    users: npt.NDArray[Any], timestamps: Int64s | None, positions: Int64s
) -> Int64s:
    """Returns [n] the rows' numbers, ordered by user, timestamp and position."""
    order = np.argsort(positions)
    if timestamps is not None:
        order = order[np.argsort(timestamps[order], kind="stable")]
    by_user: Int64s = order[stable_order(users[order])]
    return by_user


def _met_again(pairs: Int64s) -> Int64s:
    """Returns the places of the pairs that occur more than once, ascending."""
    ascending = np.sort(pairs)
    repeated = np.unique(ascending[1:][np.diff(ascending) == 0])
    if not len(repeated):
        return np.empty(0, np.int64)
    near = np.minimum(np.searchsorted(repeated, pairs), len(repeated) - 1)
    return np.flatnonzero(repeated[near] == pairs)
