"""Stable orders of whole numbers, several times as fast as numpy's own."""

from typing import Any

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]

_SHORT = 1 << 16
_WORD_BITS = 63


def stable_order(codes: npt.NDArray[Any]) -> Int64s:
    """Returns what np.argsort(codes, kind="stable") does.

    Numbers of 16 bits numpy sorts by counting. Larger ones are put into one word with
    their place: words sort several times as fast as places do by looking words up.

    Args:
        codes: [n] integers in [0, 2 ** 63).
    Returns:
        [n] int64 places.
    """
    if len(codes) and codes.max() < _SHORT:
        return np.argsort(codes.astype(np.uint16), kind="stable")
    found = _sorted_words(codes)
    if found is None:
        return np.argsort(codes, kind="stable")
    words, bits = found
    return words & ((1 << bits) - 1)


def key_order(keys: UInt64s) -> Int64s:
    """Returns what np.argsort(keys, kind="stable") does, fast for evenly spread keys.

    A key's leading bits and its place are put into one word, as in `stable_order`; the
    few keys that share these bits are then compared as a whole.

    Args:
        keys: [n] uint64, such as `mixing.keys` gives.
    Returns:
        [n] int64 places.
    """
    bits = np.uint64(max(len(keys) - 1, 0).bit_length())
    places = (np.uint64(1) << bits) - np.uint64(1)
    words = keys & ~places
    words |= np.arange(len(keys), dtype=np.uint64)
    words.sort()
    order = (words & places).astype(np.int64)
    heads = words >> bits
    same = heads[1:] == heads[:-1]
    if same.any():
        tied = np.flatnonzero(np.append(False, same) | np.append(same, False))
        rows = order[tied]
        order[tied] = rows[np.lexsort((rows, keys[rows]))]
    return order


def distinct(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns the distinct values of [n] numbers, ascending.

    `numpy.unique` finds them by hashing, which takes some fifty times as long.
    """
    ascending = np.sort(values)
    first = np.append(True, ascending[1:] != ascending[:-1])
    found: npt.NDArray[Any] = ascending[first[: len(ascending)]]
    return found


def repeated(codes: npt.NDArray[Any]) -> tuple[Int64s, npt.NDArray[np.bool_]]:
    """Finds the codes that occur more than once.

    Args:
        codes: [n] integers in [0, 2 ** 63).
    Returns:
        [m] int64 their places, those of a code together and ascending; and [m] whether
        the place before is one of the same code.
    """
    found = _sorted_words(codes)
    if found is None:
        places = np.argsort(codes, kind="stable")
        same = np.diff(codes[places]) == 0
        mask = -1
    else:
        places, bits = found
        ascending = places >> bits
        same = ascending[1:] == ascending[:-1]
        mask = (1 << bits) - 1
    follows = np.append(False, same)[: len(codes)]
    again = np.flatnonzero(follows | np.append(same, False)[: len(codes)])
    return places[again] & mask, follows[again]


def _sorted_words(codes: npt.NDArray[Any]) -> tuple[Int64s, int] | None:
    """Returns codes and places in one word each, ascending, and the bits of a place."""
    bits = max(len(codes) - 1, 0).bit_length()
    if int(codes.max(initial=0)).bit_length() + bits > _WORD_BITS:
        return None
    words: Int64s = codes.astype(np.int64) << bits
    words |= np.arange(len(codes))
    words.sort()
    return words, bits
