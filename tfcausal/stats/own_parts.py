"""Searching in each user's own part of an array, for many users at once."""

from typing import Any

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]


def count_upto(
    ascending: npt.NDArray[Any],
    start: Int64s,
    end: Int64s,
    bounds: npt.NDArray[Any],
) -> Int64s:
    """Counts what is at most a bound in a part of an array.

    A search by halving of all parts at once, as many steps as the longest needs. It
    needs no key that is ascending over all parts, for which 64 bits may be too few.

    Args:
        ascending: [m] values, ascending within each part; m >= 1.
        start: [n] int64, where each part begins.
        end: [n] int64, where it ends.
        bounds: [n, k] of the type of the values.
    Returns:
        [n, k] int64, how many values in [start, end) are at most the bound.
    """
    longest = int((end - start).max(initial=0))
    first, end = start[:, None], end[:, None]
    position = np.broadcast_to(first, bounds.shape)
    for power in reversed(range(longest.bit_length())):
        behind = position + (1 << power)
        within = behind <= end
        last = ascending[np.where(within, behind, end) - 1]
        position = np.where(within & (last <= bounds), behind, position)
    return position - first
