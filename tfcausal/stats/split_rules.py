"""What a rule of a split is: steps that look at all rows, then a part for each row.

A step finds a little that holds for the whole data set, by counts that add up over
blocks or by a selection of the smallest keys. When all steps are done, each block of
rows is dealt out by itself. Neither depends on how rows are cut into blocks.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tfcausal.stats import mixing
from tfcausal.stats.selection import LEVELS, Bools, Int64s, Keys, Threshold
from tfcausal.stats.splitting import part_ends, row_words

Int32s = npt.NDArray[np.int32]


@dataclass(frozen=True)
class RowBlock:
    """Some rows of the data set, in its order.

    Attributes:
        numbers: [n] int64 the rows' numbers, which differ over the whole data set.
        users: [n] int32 user indices.
        items: [n] int32 item indices.
        occurrences: [n] int32, or None where no user meets an item twice.
        timestamps: [n] int64 seconds; None unless the rule asks for them.
        item_values: [n] what `Rule.item_values` says of each row's item; None unless
            the rule asks for it.
        marked: [n] bool whether the column of `Rule.marked_by` is not 0; None unless
            the rule names one.
    """

    numbers: Int64s
    users: Int32s
    items: Int32s
    occurrences: Int32s | None = None
    timestamps: Int64s | None = None
    item_values: npt.NDArray[Any] | None = None
    marked: Bools | None = None

    def __len__(self) -> int:
        return len(self.users)

    def words(self, seed: int) -> mixing.UInt64s:
        """Returns [n] the word from which each row's draws come."""
        return row_words(seed, self.users, self.items, self.occurrences)


Found = Sequence[Any]
"""By earlier step, what it found: thresholds of a selection, or the sum of a tally."""


class Tally(ABC):
    """A step that counts."""

    @abstractmethod
    def count(self, block: RowBlock, found: Found) -> Int64s:
        """Counts a block; counts of one shape, which are added up."""


class Selection(ABC):
    """A step that finds the thresholds of some ranks among keys.

    Attributes:
        levels: Digits to count before keys are gathered; see `selection`.
    """

    levels: ClassVar[int] = LEVELS

    @abstractmethod
    def keys(self, block: RowBlock, found: Found) -> Keys:
        """Returns the keys of a block that take part."""

    @abstractmethod
    def ranks(self, found: Found) -> Sequence[int]:
        """Returns how many keys lie up to each threshold."""


class Rule(ABC):
    """How a data set is split.

    Attributes:
        by_user: Whether a block must hold all rows of its users, in their order.
        uses_timestamps: Whether blocks need timestamps.
        uses_item_values: Whether blocks need `item_values`.
    """

    by_user: ClassVar[bool] = False
    uses_timestamps: ClassVar[bool] = False
    uses_item_values: ClassVar[bool] = False

    @property
    def marked_by(self) -> str | None:
        """The column that marks rows, where the rule needs one."""
        return None

    @property
    @abstractmethod
    def parts(self) -> tuple[str, ...]:
        """The names of the parts."""

    @property
    def steps(self) -> tuple[Tally | Selection, ...]:
        """What must be found first; each step may use what earlier ones found."""
        return ()

    def item_values(self, counts: Int64s) -> npt.NDArray[Any]:
        """Returns [num_items] what the rule wants to know of each item.

        Args:
            counts: [num_items] interactions of each item in the whole data set.
        """
        raise NotImplementedError("this rule asks nothing of items")

    @abstractmethod
    def members(self, block: RowBlock, found: Found) -> dict[str, Bools]:
        """Returns by part [n] whether each row belongs to it.

        Args:
            block: Rows.
            found: What all steps found.
        """


@dataclass(frozen=True)
class Deal:
    """Parts that are dealt out in the order of keys.

    Attributes:
        parts: Their names.
        ends: How many rows lie up to the end of each.
    """

    parts: tuple[str, ...]
    ends: tuple[int, ...]

    @classmethod
    def of_shares(
        cls, parts: Sequence[str], total: int, shares: Sequence[float]
    ) -> "Deal":
        """Deals `total` rows; a share of 0 makes no part."""
        ends = part_ends(total, shares)
        chosen = [place for place, share in enumerate(shares) if share > 0]
        return cls(
            tuple(parts[place] for place in chosen),
            tuple(ends[place] for place in chosen),
        )

    def members(self, keys: Keys, ends: Sequence[Threshold]) -> dict[str, Bools]:
        """Returns by part [n] whether each key belongs to it.

        Args:
            keys: The keys of rows, all of which are dealt out.
            ends: The thresholds of `self.ends`.
        """
        place = np.zeros(len(keys.keys), np.int64)
        for end in ends[:-1]:
            place += ~end.among(keys)
        return {name: place == number for number, name in enumerate(self.parts)}
