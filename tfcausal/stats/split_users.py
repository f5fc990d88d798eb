"""Rules that hold whole users out, with part of their rows folded in.

References: Liang et al., Variational autoencoders for collaborative filtering, WWW
2018, whose protocol MacridVAE and CaD-VAE follow; Zhang et al. (CauseRec), SIGIR 2021,
section 4.1, and Cen et al. (ComiRec), KDD 2020.
Deviations: ComiRec folds in nothing of a user with one row; here a held-out user has
always one row at least that is folded in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tfcausal.schema.dataset import FOLD_IN_PARTS, TEST, TRAIN, VALIDATION
from tfcausal.stats.selection import Bools, Int64s, Keys
from tfcausal.stats.sorting import distinct
from tfcausal.stats.split_rules import Found, RowBlock, Rule, Selection, Tally
from tfcausal.stats.split_times import places_in_history
from tfcausal.stats.splitting import fold_in_keys, user_words


def random_fold_in_sizes(sizes: Int64s, share: float) -> Int64s:
    """Returns how many rows are folded in where they are drawn at random.

    Args:
        sizes: [n] rows of each user, at least 1.
        share: In (0, 1).
    Returns:
        [n] sizes without floor((1 - share) sizes), which are the targets.
    """
    targets = _floor((1 - share) * sizes)
    return np.asarray(sizes - targets, np.int64)


def earliest_fold_in_sizes(sizes: Int64s, share: float) -> Int64s:
    """Returns how many rows are folded in where they are a user's earliest.

    Args:
        sizes: [n] rows of each user, at least 1.
        share: In (0, 1).
    Returns:
        [n] floor(share sizes), but at least 1.
    """
    return np.maximum(_floor(share * sizes), 1)


def _floor(numbers: npt.NDArray[Any]) -> Int64s:
    # A share of a whole number of rows may lie a rounding error below the whole number.
    whole: Int64s = np.floor(numbers + 1e-9).astype(np.int64)
    return whole


@dataclass(frozen=True)
class HeldOutUsers(Rule):
    """All rows of most users are train; of the others some are folded in.

    Attributes:
        seed: Seed of all draws.
        num_validation: Users held out for validation.
        num_test: Users held out for test.
        fold_in: Share of a held-out user's rows that is folded in.
        fold_in_rows: Whether those are drawn at "random" or are the "earliest".
        only_items_of_train: Number of items, the unknown one included, where the
            held-out users' rows of items without a row in train are left out; None
            where they are kept.
    """

    seed: int
    num_validation: int
    num_test: int
    fold_in: float
    fold_in_rows: Literal["random", "earliest"]
    only_items_of_train: int | None = None

    by_user = True

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts."""
        sizes = {VALIDATION: self.num_validation, TEST: self.num_test}
        held = [name for name, size in sizes.items() if size]
        return (TRAIN, *(part for name in held for part in (FOLD_IN_PARTS[name], name)))

    @property
    def steps(self) -> tuple[Tally | Selection, ...]:
        """Finds the users of each part, and the items of train where they matter."""
        select = _SelectUsers(self)
        if self.only_items_of_train is None:
            return (select,)
        return (select, _CountItemsOfTrain(self, self.only_items_of_train))

    def users_of(self, users: npt.NDArray[np.int32], found: Found) -> dict[str, Bools]:
        """Returns by train, validation and test [n] whether a user belongs to it."""
        keys = user_keys(self.seed, users)
        in_validation, held = (end.among(keys) for end in found[0])
        return {TRAIN: ~held, VALIDATION: in_validation, TEST: held & ~in_validation}

    def members(self, block: RowBlock, found: Found) -> dict[str, Bools]:
        """Returns by part [n] whether each row belongs to it."""
        by_user = self.users_of(block.users, found)
        used = np.ones(len(block), bool)
        if self.only_items_of_train is not None:
            used = by_user[TRAIN] | (found[1][block.items] > 0)
        folded = np.zeros(len(block), bool)
        folded[used] = self._folded(block, used)
        members = {TRAIN: by_user[TRAIN]}
        for name, fold_in in FOLD_IN_PARTS.items():
            members[name] = by_user[name] & used & ~folded
            members[fold_in] = by_user[name] & folded
        return {name: members[name] for name in self.parts}

    def _folded(self, block: RowBlock, used: Bools) -> Bools:
        users = block.users[used]
        places, sizes = places_in_history(users)
        if self.fold_in_rows == "earliest":
            return places < earliest_fold_in_sizes(sizes, self.fold_in)
        order = np.lexsort((fold_in_keys(block.words(self.seed)[used]), users))
        drawn = np.empty_like(places)
        drawn[order] = places
        return drawn < random_fold_in_sizes(sizes, self.fold_in)


def user_keys(seed: int, users: npt.NDArray[np.int32]) -> Keys:
    """Returns the keys by which users are drawn, one for each of `users`."""
    return Keys(user_words(seed, users), users.astype(np.int64))


@dataclass(frozen=True)
class _SelectUsers(Selection):
    rule: HeldOutUsers

    def keys(self, block: RowBlock, found: Found) -> Keys:
        return user_keys(self.rule.seed, distinct(block.users))

    def ranks(self, found: Found) -> Sequence[int]:
        validation = self.rule.num_validation
        return validation, validation + self.rule.num_test


@dataclass(frozen=True)
class _CountItemsOfTrain(Tally):
    rule: HeldOutUsers
    num_items: int

    def count(self, block: RowBlock, found: Found) -> Int64s:
        train = self.rule.users_of(block.users, found)[TRAIN]
        return np.bincount(block.items[train], minlength=self.num_items)
