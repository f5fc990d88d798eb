"""Rules that go by time: the latest rows of all, or the last ones of each user."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tfcausal.schema.dataset import TEST, TRAIN, VALIDATION
from tfcausal.stats.selection import Bools, Int64s, Keys
from tfcausal.stats.split_rules import Deal, Found, Int32s, RowBlock, Rule, Selection
from tfcausal.stats.splitting import time_keys, user_words


@dataclass(frozen=True)
class TimeShares(Rule):
    """Exact shares of all rows, the earliest train, the latest test.

    Rows of one time lie in a random order of their users, and each user's in the data
    set's order: of every user, what is in `train` comes before what is in a later part.

    Attributes:
        seed: Seed of the order of users.
        deal: The parts.
        first: The earliest timestamp of the data set.
        last: The latest.
    """

    seed: int
    deal: Deal
    first: int
    last: int

    uses_timestamps = True

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts."""
        return self.deal.parts

    @property
    def steps(self) -> tuple[Selection, ...]:
        """Finds where each part ends."""
        return (_SelectTimes(self),)

    def keys(self, block: RowBlock) -> Keys:
        """Returns the keys by which rows are ordered."""
        words = user_words(self.seed, block.users)
        keys = time_keys(_timestamps(block), words, self.first, self.last)
        return Keys(keys, block.numbers)

    def members(self, block: RowBlock, found: Found) -> dict[str, Bools]:
        """Returns by part [n] whether each row belongs to it."""
        return self.deal.members(self.keys(block), found[0])


@dataclass(frozen=True)
class _SelectTimes(Selection):
    rule: TimeShares

    # A second digit tells the rows of a busy day apart even where one wrong time
    # stretches the whole span.
    levels: ClassVar[int] = 2

    def keys(self, block: RowBlock, found: Found) -> Keys:
        return self.rule.keys(block)

    def ranks(self, found: Found) -> Sequence[int]:
        return self.rule.deal.ends


def _timestamps(block: RowBlock) -> Int64s:
    if block.timestamps is None:
        raise RuntimeError("a split by time needs timestamps")
    return block.timestamps


@dataclass(frozen=True)
class TimeLimits(Rule):
    """Parts from given times on.

    Attributes:
        begins: By part, after `train`, its first second, increasing.
    """

    begins: tuple[tuple[str, int], ...]

    uses_timestamps = True

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts."""
        return (TRAIN, *(name for name, _ in self.begins))

    def members(self, block: RowBlock, found: Found) -> dict[str, Bools]:
        """Returns by part [n] whether each row belongs to it."""
        begins = np.asarray([begin for _, begin in self.begins], np.int64)
        place = np.searchsorted(begins, _timestamps(block), "right")
        return {name: place == number for number, name in enumerate(self.parts)}


@dataclass(frozen=True)
class LeaveLast(Rule):
    """The last rows of each user are test, those before them validation.

    A user with so few rows that none would be left for training is wholly in train.

    Attributes:
        num_validation: Rows of each user in validation.
        num_test: Rows of each user in test.
    """

    num_validation: int
    num_test: int

    by_user = True

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts."""
        sizes = {TRAIN: 1, VALIDATION: self.num_validation, TEST: self.num_test}
        return tuple(name for name, size in sizes.items() if size)

    def members(self, block: RowBlock, found: Found) -> dict[str, Bools]:
        """Returns by part [n] whether each row belongs to it."""
        places, sizes = places_in_history(block.users)
        held = self.num_validation + self.num_test
        left = np.where(sizes > held, sizes - places, held + 1)
        members = {
            TRAIN: left > held,
            VALIDATION: (left <= held) & (left > self.num_test),
            TEST: left <= self.num_test,
        }
        return {name: members[name] for name in self.parts}


def places_in_history(users: Int32s) -> tuple[Int64s, Int64s]:
    """Returns where each row lies among its user's rows, and how many those are.

    Args:
        users: [n] user indices, ascending, all rows of each user.
    Returns:
        [n] int64 places from 0, and [n] int64 numbers of rows.
    """
    _, first, number, size = np.unique(
        users, return_index=True, return_inverse=True, return_counts=True
    )
    return np.arange(len(users)) - first[number], size[number]
