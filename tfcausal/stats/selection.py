"""The r smallest of many 64-bit keys, found by counting, on blocks in any order.

A radix selection: the leading bits of all keys are counted, which tells those of the
keys at the ranks that are asked for; the few keys that share them are compared
themselves. Counts add up, so blocks may be counted anywhere, and no one ever holds all
keys. Rows of equal keys are told apart by their number: a selection is always exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfcausal.stats.mixing import UInt64s
from tfcausal.stats.sorting import distinct

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

DIGIT_BITS = 20
NUM_DIGITS = 1 << DIGIT_BITS
LEVELS = 1
"""Digits that are counted before the keys that are left are gathered: with one, a
millionth of evenly spread keys, or a few thousandths of the bits of floats."""


@dataclass(frozen=True)
class Targets:
    """Where the keys of some ranks are known to lie.

    Attributes:
        level: How many leading digits of each are known.
        prefixes: [num_ranks] uint64, those digits as a number.
        ranks: [num_ranks] int64, rank from 1 among the keys with that prefix.
    """

    level: int
    prefixes: UInt64s
    ranks: Int64s

    @classmethod
    def of_ranks(cls, ranks: Sequence[int]) -> "Targets":
        """Knows nothing yet of the keys of these ranks, counted from 1."""
        return cls(0, np.zeros(len(ranks), np.uint64), np.asarray(ranks, np.int64))

    def count(self, keys: UInt64s) -> Int64s:
        """Counts the next digit of the keys that share a known prefix.

        Args:
            keys: [n] uint64.
        Returns:
            [num_prefixes, NUM_DIGITS] int64, a row for each distinct prefix.
        """
        prefixes = distinct(self.prefixes)
        place, matching = self._places(prefixes, keys)
        shift = np.uint64(64 - DIGIT_BITS * (self.level + 1))
        digits = (keys[matching] >> shift) & np.uint64(NUM_DIGITS - 1)
        cells = place[matching] * NUM_DIGITS + digits.astype(np.int64)
        counts = np.bincount(cells, minlength=len(prefixes) * NUM_DIGITS)
        return counts.reshape(len(prefixes), NUM_DIGITS).astype(np.int64)

    def narrowed(self, counts: Int64s) -> "Targets":
        """Returns the targets with one digit more.

        Args:
            counts: The sum of `count` over all blocks.
        """
        prefixes, row = np.unique(self.prefixes, return_inverse=True)
        before = np.cumsum(counts, axis=1)
        digits = [
            int(np.searchsorted(before[line], rank, "left"))
            for line, rank in zip(row, self.ranks, strict=True)
        ]
        behind = [
            before[line, digit] - counts[line, digit]
            for line, digit in zip(row, digits, strict=True)
        ]
        heads = prefixes[row] << np.uint64(DIGIT_BITS)
        return Targets(
            self.level + 1,
            heads | np.asarray(digits, np.uint64),
            self.ranks - np.asarray(behind, np.int64),
        )

    def matching(self, keys: UInt64s) -> Bools:
        """Returns [n] whether a key has the prefix of one of the targets."""
        _, matching = self._places(distinct(self.prefixes), keys)
        return matching

    def _places(self, prefixes: UInt64s, keys: UInt64s) -> tuple[Int64s, Bools]:
        if self.level == 0:
            return np.zeros(len(keys), np.int64), np.ones(len(keys), bool)
        heads = keys >> np.uint64(64 - DIGIT_BITS * self.level)
        place = np.minimum(np.searchsorted(prefixes, heads), len(prefixes) - 1)
        return place, prefixes[place] == heads


@dataclass(frozen=True)
class Keys:
    """Keys and the numbers of their rows.

    Attributes:
        keys: [n] uint64.
        rows: [n] int64, all different.
    """

    keys: UInt64s
    rows: Int64s

    def at(self, chosen: Bools) -> "Keys":
        """Returns those where `chosen` is true."""
        return Keys(self.keys[chosen], self.rows[chosen])


@dataclass(frozen=True)
class Threshold:
    """The last key that is among the r smallest, and its row.

    Attributes:
        key: The key.
        row: The row's number; of rows with that key, those up to it are among them.
        nothing: True for r = 0, where no row is.
    """

    key: int = 0
    row: int = 0
    nothing: bool = False

    def among(self, found: Keys) -> Bools:
        """Returns [n] whether each row is among the r smallest."""
        if self.nothing:
            return np.zeros(len(found.keys), bool)
        key = np.uint64(self.key)
        tied = (found.keys == key) & (found.rows <= self.row)
        among: Bools = (found.keys < key) | tied
        return among


def thresholds(left: Sequence[Keys], targets: Targets) -> list[Threshold]:
    """Finds the key of each rank among those that are left.

    Args:
        left: All keys that match the targets, in any order and grouping.
        targets: After LEVELS digits.
    Returns:
        A threshold for each rank.
    """
    keys = np.concatenate([np.empty(0, np.uint64), *(block.keys for block in left)])
    rows = np.concatenate([np.empty(0, np.int64), *(block.rows for block in left)])
    order = np.lexsort((rows, keys))
    keys, rows = keys[order], rows[order]
    heads = keys >> np.uint64(64 - DIGIT_BITS * targets.level)
    result = []
    for prefix, rank in zip(targets.prefixes, targets.ranks, strict=True):
        if rank == 0:
            result.append(Threshold(nothing=True))
            continue
        place = int(np.searchsorted(heads, prefix, "left")) + int(rank) - 1
        result.append(Threshold(int(keys[place]), int(rows[place])))
    return result
