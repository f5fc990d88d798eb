"""Rules that draw rows: at random, under intervention, marked, by item popularity.

References: Zheng et al. (DICE), WWW 2021, sections 4.1.1 and 4.5, and Zhao et al.
(DCCL), WWW 2023, section 3.3.
Deviations: DICE does not say where the rows come from when the share of intervened
training data changes. Here validation and test stay the same rows whatever the share:
fewer rows are a random part of those of the usual split, and the others are left out;
more rows are the next in the order of the weighted draw, and leave `train`. DCCL does
not say how large its resampled test sets are: here all rows are kept of the group,
popular or unpopular, of which the test set has too few.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfcausal.schema.dataset import (
    TEST,
    TRAIN,
    TRAIN_INTERVENED,
    VALIDATION,
    popular_test_part,
)
from tfcausal.stats.selection import Bools, Int64s, Keys
from tfcausal.stats.split_rules import Deal, Found, RowBlock, Rule, Selection, Tally
from tfcausal.stats.splitting import (
    capped_weights,
    part_keys,
    pool_keys,
    resampling_keys,
)


@dataclass(frozen=True)
class _SelectParts(Selection):
    """Thresholds among part keys, of all rows or of those of a pool.

    Attributes:
        seed: Seed of all draws.
        ends: The ranks.
        in_pool: Whether only rows up to the first threshold of the first step's pool
            keys take part.
    """

    seed: int
    ends: tuple[int, ...]
    in_pool: bool = False

    def keys(self, block: RowBlock, found: Found) -> Keys:
        keys = _part_keys(self.seed, block)
        if not self.in_pool:
            return keys
        return keys.at(found[0][0].among(_pool_keys(self.seed, block)))

    def ranks(self, found: Found) -> Sequence[int]:
        return self.ends


def _part_keys(seed: int, block: RowBlock) -> Keys:
    return Keys(part_keys(block.words(seed)), block.numbers)


@dataclass(frozen=True)
class RandomRows(Rule):
    """Exact shares of all rows, drawn at random.

    Attributes:
        seed: Seed of all draws.
        deal: The parts.
    """

    seed: int
    deal: Deal

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts."""
        return self.deal.parts

    @property
    def steps(self) -> tuple[Selection, ...]:
        """Finds where each part ends."""
        return (_SelectParts(self.seed, self.deal.ends),)

    def members(self, block: RowBlock, found: Found) -> dict[str, Bools]:
        """Returns by part [n] whether each row belongs to it."""
        return self.deal.members(_part_keys(self.seed, block), found[0])


@dataclass(frozen=True)
class _SelectPool(Selection):
    seed: int
    ends: tuple[int, ...]

    def keys(self, block: RowBlock, found: Found) -> Keys:
        return _pool_keys(self.seed, block)

    def ranks(self, found: Found) -> Sequence[int]:
        return self.ends


def _pool_keys(seed: int, block: RowBlock) -> Keys:
    if block.item_values is None:
        raise RuntimeError("rows drawn by weight need the weights of their items")
    return Keys(pool_keys(block.words(seed), block.item_values), block.numbers)


@dataclass(frozen=True)
class IntervenedRows(Rule):
    """A pool drawn as if all items were exposed alike, dealt out; the rest is train.

    Attributes:
        seed: Seed of all draws.
        cap_percentile: See `capped_weights`.
        pool_rows: Rows of the pool.
        deal: The parts of the pool.
        training_rows: Rows of train_intervened; None for what `deal` gives it.
    """

    seed: int
    cap_percentile: float
    pool_rows: int
    deal: Deal
    training_rows: int | None = None

    uses_item_values = True

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts."""
        training = (TRAIN_INTERVENED,) if self._wanted else ()
        held = (name for name in self.deal.parts if name != TRAIN_INTERVENED)
        return (*training, *held, TRAIN)

    @property
    def _dealt(self) -> int:
        """Rows of the pool that are dealt to train_intervened."""
        ends = dict(zip(self.deal.parts, self.deal.ends, strict=True))
        return ends.get(TRAIN_INTERVENED, 0)

    @property
    def _wanted(self) -> int:
        return self._dealt if self.training_rows is None else self.training_rows

    @property
    def steps(self) -> tuple[Selection, ...]:
        """Finds the pool and the rows that follow it, then where its parts end."""
        more = max(self._wanted - self._dealt, 0)
        kept = min(self._wanted, self._dealt)
        return (
            _SelectPool(self.seed, (self.pool_rows, self.pool_rows + more)),
            _SelectParts(self.seed, (kept, *self.deal.ends), in_pool=True),
        )

    def item_values(self, counts: Int64s) -> npt.NDArray[np.float64]:
        """Returns [num_items] the weight of a row of each item."""
        return capped_weights(counts, self.cap_percentile)

    def members(self, block: RowBlock, found: Found) -> dict[str, Bools]:
        """Returns by part [n] whether each row belongs to it."""
        (pool, wide_pool), (kept, *ends) = found
        by_pool, by_part = _pool_keys(self.seed, block), _part_keys(self.seed, block)
        in_pool, drawn = pool.among(by_pool), wide_pool.among(by_pool)
        dealt = self.deal.members(by_part, ends)
        members = {name: in_pool & rows for name, rows in dealt.items()}
        members[TRAIN_INTERVENED] = (in_pool & kept.among(by_part)) | (drawn & ~in_pool)
        members[TRAIN] = ~drawn
        return {name: members[name] for name in self.parts}


@dataclass(frozen=True)
class MarkedRows(Rule):
    """Rows that the log marks as intervened, dealt out at random; the rest is train.

    For logs in which some rows come of a random policy, and say so: the test is then an
    intervention that took place, not one that a draw of rows stands for.

    Attributes:
        seed: Seed of all draws.
        column: The column of the data set that is not 0 in these rows.
        shares: The shares of these rows that become POOL_PARTS.
    """

    seed: int
    column: str
    shares: tuple[float, ...]

    @property
    def marked_by(self) -> str:
        """The column."""
        return self.column

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts."""
        return (*self.deal(0).parts, TRAIN)

    @property
    def steps(self) -> tuple[Tally | Selection, ...]:
        """Counts the rows, then finds where their parts end."""
        return (_CountMarked(), _SelectMarked(self))

    def deal(self, num_marked: int) -> Deal:
        """Returns the parts of so many marked rows."""
        return Deal.of_shares(POOL_PARTS, num_marked, self.shares)

    def members(self, block: RowBlock, found: Found) -> dict[str, Bools]:
        """Returns by part [n] whether each row belongs to it."""
        marked = _marked(block)
        keys = _part_keys(self.seed, block)
        dealt = self.deal(int(found[0])).members(keys, found[1])
        members = {name: marked & rows for name, rows in dealt.items()}
        return members | {TRAIN: ~marked}


def _marked(block: RowBlock) -> Bools:
    if block.marked is None:
        raise RuntimeError("a split by a mark needs the column that marks rows")
    return block.marked


class _CountMarked(Tally):
    def count(self, block: RowBlock, found: Found) -> Int64s:
        return np.asarray(_marked(block).sum(), np.int64)


@dataclass(frozen=True)
class _SelectMarked(Selection):
    rule: MarkedRows

    def keys(self, block: RowBlock, found: Found) -> Keys:
        return _part_keys(self.rule.seed, block).at(_marked(block))

    def ranks(self, found: Found) -> Sequence[int]:
        return self.rule.deal(int(found[0])).ends


def popular_items(counts: Int64s, percentile: float) -> Bools:
    """Returns which items are popular (DCCL, section 3.3).

    Args:
        counts: [num_items] interactions of each item in the whole data set.
        percentile: In [0, 100].
    Returns:
        [num_items] whether an item has more interactions than this percentile (linear
        interpolation) of the items that have any.
    """
    popular: Bools = counts > np.percentile(counts[counts > 0], percentile)
    return popular


def rows_for_share(share: float, popular: int, unpopular: int) -> tuple[int, int]:
    """Returns the largest numbers of rows that have a share of popular ones.

    Args:
        share: In (0, 1).
        popular: Rows on popular items that there are.
        unpopular: The others.
    Returns:
        The numbers of popular and of unpopular rows to keep: all of one of the groups,
        and of the other as many as the share asks for, rounded.
    """
    if popular >= share * (popular + unpopular):
        wanted = int(np.floor(unpopular * share / (1 - share) + 0.5))
        return min(wanted, popular), unpopular
    wanted = int(np.floor(popular * (1 - share) / share + 0.5))
    return popular, min(wanted, unpopular)


@dataclass(frozen=True)
class PopularShares(Rule):
    """Random parts, and test sets with given shares of rows on popular items.

    The sets are resampled from the part `test`, and rows that a smaller share of
    popular rows keeps are also kept by a larger one, as far as all unpopular rows are.

    Attributes:
        base: The parts, `test` among them.
        percentile: See `popular_items`.
        shares: The shares, each a whole number of percent.
    """

    base: RandomRows
    percentile: float
    shares: tuple[float, ...]

    uses_item_values = True

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts, the resampled test sets last."""
        return (*self.base.parts, *map(popular_test_part, self.shares))

    @property
    def steps(self) -> tuple[Tally | Selection, ...]:
        """Finds where parts end, the test rows of each kind, how many to keep."""
        return (*self.base.steps, _CountTest(self), _SelectForShares(self))

    def item_values(self, counts: Int64s) -> Bools:
        """Returns [num_items] whether an item is popular."""
        return popular_items(counts, self.percentile)

    def keys(self, block: RowBlock) -> Keys:
        """Returns the keys by which rows are kept, all unpopular ones first."""
        keys = resampling_keys(block.words(self.base.seed), _popular(block))
        return Keys(keys, block.numbers)

    def members(self, block: RowBlock, found: Found) -> dict[str, Bools]:
        """Returns by part [n] whether each row belongs to it."""
        members = self.base.members(block, found)
        keys, popular = self.keys(block), _popular(block)
        for number, share in enumerate(self.shares):
            unpopular_end, popular_end = found[2][2 * number : 2 * number + 2]
            kept = np.where(popular, popular_end.among(keys), unpopular_end.among(keys))
            members[popular_test_part(share)] = members[TEST] & kept
        return members


def _popular(block: RowBlock) -> Bools:
    if block.item_values is None:
        raise RuntimeError("resampled rows need to know which items are popular")
    return block.item_values


@dataclass(frozen=True)
class _CountTest(Tally):
    rule: PopularShares

    def count(self, block: RowBlock, found: Found) -> Int64s:
        test = self.rule.base.members(block, found)[TEST]
        popular = int((test & _popular(block)).sum())
        return np.asarray([popular, int(test.sum()) - popular], np.int64)


@dataclass(frozen=True)
class _SelectForShares(Selection):
    rule: PopularShares

    def keys(self, block: RowBlock, found: Found) -> Keys:
        test = self.rule.base.members(block, found)[TEST]
        return self.rule.keys(block).at(test)

    def ranks(self, found: Found) -> Sequence[int]:
        popular, unpopular = (int(number) for number in found[1])
        ranks = []
        for share in self.rule.shares:
            kept_popular, kept_unpopular = rows_for_share(share, popular, unpopular)
            ranks += [kept_unpopular, unpopular + kept_popular]
        return ranks


RANDOM_PARTS = (TRAIN, VALIDATION, TEST)
"""The parts of a split by shares, in the order of the shares."""
POOL_PARTS = (TRAIN_INTERVENED, VALIDATION, TEST)
"""The parts of an intervened pool, in the order of the shares."""
