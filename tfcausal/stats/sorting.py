"""Stable orders of small whole numbers, several times as fast as numpy's own."""

from typing import Any

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]

_SHORT = 1 << 16


def stable_order(codes: npt.NDArray[Any]) -> Int64s:
    """Returns what np.argsort(codes, kind="stable") does.

    Numbers of 16 bits numpy sorts by counting. Larger ones are put into one word with
    their place: words sort several times as fast as places do by looking words up.

    Args:
        codes: [n] integers in [0, 2 ** 31).
    Returns:
        [n] int64 places.
    """
    if not len(codes):
        return np.empty(0, np.int64)
    if codes.max() < _SHORT:
        return np.argsort(codes.astype(np.uint16), kind="stable")
    bits = (len(codes) - 1).bit_length()
    words = codes.astype(np.int64) << bits | np.arange(len(codes))
    words.sort()
    return words & ((1 << bits) - 1)
