"""Negative items drawn by popularity: DICE's PNSM and the uniform law, on blocks.

Reference: Zheng et al., Disentangling User Interest and Conformity for Recommendation
with Causal Embedding (DICE), WWW 2021, section 3.3 (PNSM).
Deviations: as the authors' code, and not as the paper, an item counts as far less
popular when it has less than half of the positive's popularity, unless `down_margin`
gives the paper's m_down. The authors crash or hang on a pool that is empty or too
small; here such a positive takes its negatives from all items the user has not met.

Items stand in the order of falling popularity, so both pools of a positive are ranges
of ranks, and the user's own items are cut out of them by counting, not by rejection:
each draw is exact, uniform and without repeats in a fixed number of steps. The same in
TensorFlow, equal bit for bit, is `tfcausal.samplers.negatives`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from tfcausal.errors import InputError
from tfcausal.stats import mixing
from tfcausal.stats.sorting import distinct

Bools = npt.NDArray[np.bool_]
Int8s = npt.NDArray[np.int8]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]

PURPOSE = "negatives"

CASE_TIE = 0
"""The negative is exactly as popular as the positive: no cause can be told."""
CASE_LESS_POPULAR = 1
"""The negative is less popular: the click may come from conformity (case 1, O_1)."""
CASE_MORE_POPULAR = 2
"""The negative is more popular: the click comes from interest (case 2, O_2)."""


@dataclass(frozen=True)
class PopularityMargin:
    """Popularity based negative sampling with margin (PNSM).

    Symbols: m_up -> margin; m_down -> down_margin; p -> popularity of the positive.

    Attributes:
        num_negatives: Negatives for each positive.
        margin: A more popular negative has a popularity above p + margin. In
            interactions, before decay.
        margin_decay: Factor on the margins after each epoch.
        down_margin: A less popular negative has a popularity below p - down_margin;
            None for below p / 2, the rule of the authors' code.
        min_pool: With fewer items than this in one pool, all negatives come from the
            other.
    """

    num_negatives: int = 4
    margin: float = 40.0
    margin_decay: float = 0.9
    down_margin: float | None = None
    min_pool: int = 40
    law: ClassVar[str] = "popularity_margin"

    def __post_init__(self) -> None:
        require_negatives(self.num_negatives)
        for name in ("margin", "margin_decay", "down_margin"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value >= 0):
                raise InputError(f"`{name}` must be finite and >= 0; got {value}.")
        if self.min_pool < self.num_negatives:
            raise InputError(
                f"`min_pool` must be at least num_negatives={self.num_negatives}; got "
                f"{self.min_pool}. A smaller pool has too few distinct negatives."
            )

    def pools(self, popularity: Int64s, epoch: int) -> "Pools":
        """Returns each positive's two pools in one epoch.

        Args:
            popularity: [num_items] interactions in the train window; [0] is ignored.
            epoch: Number of the pass over the data, from 0.
        """
        decay = self.margin_decay**epoch
        below = (
            popularity / 2.0
            if self.down_margin is None
            else popularity - self.down_margin * decay
        )
        falling = -np.sort(-popularity[1:]).astype(np.float64)
        # Side by side with the sorted popularities negated, so that both are ascending.
        more = np.searchsorted(-falling, -(popularity + self.margin * decay), "left")
        less = np.searchsorted(-falling, -below, "right")
        return Pools(more.astype(np.int64), less.astype(np.int64), self.min_pool)


@dataclass(frozen=True)
class Uniform:
    """Negatives uniform over the items that the user has not met.

    Attributes:
        num_negatives: Negatives for each positive.
    """

    num_negatives: int = 4
    law: ClassVar[str] = "uniform"

    def __post_init__(self) -> None:
        require_negatives(self.num_negatives)

    def pools(self, popularity: Int64s, epoch: int) -> "Pools":
        """Returns one pool of everything; `epoch` plays no part."""
        nothing = np.zeros(len(popularity), np.int64)
        return Pools(nothing, nothing, min_pool=1)


NegativeSampling = PopularityMargin | Uniform
"""The laws that training can draw by itself."""


def require_negatives(num_negatives: int) -> None:
    """Raises InputError unless there is at least one negative for each positive."""
    if num_negatives < 1:
        raise InputError(f"`num_negatives` must be at least 1; got {num_negatives}.")


@dataclass(frozen=True)
class Pools:
    """Ranges of popularity ranks for each item as a positive.

    Attributes:
        up_end: [num_items] int64; ranks [0, up_end) are more popular by the margin.
        down_start: [num_items] int64; ranks [down_start, end) are less popular.
        min_pool: Least size of a pool to be drawn from.
    """

    up_end: Int64s
    down_start: Int64s
    min_pool: int


@dataclass(frozen=True)
class Catalogue:
    """The items by falling popularity; the unknown item has no rank.

    Attributes:
        popularity: [num_items] int64 interactions in the train window.
        item_at: [num_items - 1] int32 item of each rank, rank 0 the most popular,
            ties by smaller index.
        rank_of: [num_items] int64 rank of each item; -1 for the unknown item.
    """

    popularity: Int64s
    item_at: Int32s
    rank_of: Int64s

    @classmethod
    def from_popularity(cls, popularity: Int64s) -> "Catalogue":
        """Ranks the items of a popularity table.

        Raises:
            InputError: If there is no item or nothing was ever interacted with.
        """
        if len(popularity) < 2 or popularity[1:].sum() == 0:
            raise InputError(
                "Popularity must count at least one interaction; all "
                f"{max(len(popularity) - 1, 0)} items have none. Check that the train "
                "part of the split is not empty."
            )
        item_at = np.argsort(-popularity[1:], kind="stable").astype(np.int32) + 1
        rank_of = np.full(len(popularity), -1, np.int64)
        rank_of[item_at] = np.arange(len(item_at))
        return cls(popularity.astype(np.int64), item_at.astype(np.int32), rank_of)


@dataclass(frozen=True)
class Positives:
    """The items each user has met, as ascending keys that one search answers from.

    Attributes:
        stride: Keys of user u lie in [u * stride, (u + 1) * stride).
        rank_keys: [nnz] int64, u * stride + rank of the item.
        gap_keys: [nnz] int64, u * stride + ranks before the item that u has not met.
    """

    stride: int
    rank_keys: Int64s
    gap_keys: Int64s

    @classmethod
    def from_rows(
        cls, users: Int32s, items: Int32s, catalogue: Catalogue
    ) -> "Positives":
        """Collects the positives of a set of rows; repeats count once.

        Args:
            users: [n] user indices.
            items: [n] item indices, none of them the unknown item.
            catalogue: The ranks of the items.
        """
        stride = len(catalogue.item_at) + 1
        wide = users.astype(np.int64)
        rank_keys = distinct(wide * stride + catalogue.rank_of[items])
        owners = rank_keys // stride
        firsts = np.searchsorted(rank_keys, owners * stride, "left")
        own_number = np.arange(len(rank_keys)) - firsts
        return cls(stride, rank_keys, rank_keys - own_number)


@dataclass(frozen=True)
class Negatives:
    """Negatives of a block of positives.

    Attributes:
        items: [n, num_negatives] int32; the unknown item where the user has met all.
        case: [n, num_negatives] int8, one of the CASE_ constants.
        support: [n, num_negatives] int32; 0 marks a negative that does not exist.
            PopularityMargin and Uniform: the draw's probability was 1 / support. Laws
            that weigh items differently: the size of the pool that it came from.
    """

    items: Int32s
    case: Int8s
    support: Int32s

    @classmethod
    def join(cls, blocks: "Sequence[Negatives]") -> "Negatives":
        """Joins blocks, at least one."""
        return cls(
            np.concatenate([block.items for block in blocks]),
            np.concatenate([block.case for block in blocks]),
            np.concatenate([block.support for block in blocks]),
        )

    def at(self, rows: Int64s) -> "Negatives":
        """Returns those of some rows."""
        return Negatives(
            self.items.take(rows, axis=0),
            self.case.take(rows, axis=0),
            self.support.take(rows, axis=0),
        )


@dataclass(frozen=True)
class OwnRanges:
    """The pools of some positives, as ranges among the items their users never met.

    These are numbered from 0 by falling popularity.

    Attributes:
        base: [n] int64, the key of each user's rank 0.
        start: [n] int64, where each user's keys begin.
        num_up: [n] int64; numbers [0, num_up) are more popular by the margin.
        down_first: [n] int64; numbers from this on are less popular.
        num_down: [n] int64, how many are.
        only_up: [n] bool, whether all negatives come from the first.
        only_down: [n] bool, whether all come from the second.
    """

    base: Int64s
    start: Int64s
    num_up: Int64s
    down_first: Int64s
    num_down: Int64s
    only_up: Bools
    only_down: Bools

    @property
    def mixed(self) -> Bools:
        """[n] bool, whether a coin chooses the pool."""
        return ~(self.only_down | self.only_up)


def own_ranges(
    pools: Pools,
    catalogue: Catalogue,
    positives: Positives,
    users: Int32s,
    items: Int32s,
    num_negatives: int,
) -> OwnRanges:
    """Cuts what users have met out of the pools; arguments as in `draw_negatives`."""
    num_ranks = len(catalogue.item_at)
    base = users.astype(np.int64) * positives.stride
    up_end, down_start = pools.up_end[items], pools.down_start[items]

    def met_before(ranks: Int64s | int) -> Int64s:
        return np.searchsorted(positives.rank_keys, base + ranks, "left")

    start = met_before(0)
    degree = met_before(num_ranks) - start
    down_first = down_start - (met_before(down_start) - start)
    num_up = up_end - (met_before(up_end) - start)
    num_unmet = num_ranks - degree
    num_down = num_unmet - down_first

    only_down = num_up < pools.min_pool
    only_up = ~only_down & (num_down < pools.min_pool)
    too_few = np.where(only_up, num_up, num_down) < num_negatives
    return OwnRanges(
        base,
        start,
        num_up,
        down_first=np.where(too_few, 0, down_first),
        num_down=np.where(too_few, num_unmet, num_down),
        only_up=only_up & ~too_few,
        only_down=only_down | too_few,
    )


def draw_negatives(
    pools: Pools,
    catalogue: Catalogue,
    positives: Positives,
    users: Int32s,
    items: Int32s,
    row_keys: mixing.UInt64s,
    num_negatives: int,
) -> Negatives:
    """Draws the negatives of a block of positives.

    With min_pool items or more in both pools each negative flips a fair coin between
    them; otherwise all come from the larger pool. Within one positive they are
    distinct, uniform in their pool, and never an item that the user has met.

    Args:
        pools: The pools of each item in this epoch.
        catalogue: The ranks of the items.
        positives: What each user in the block has met.
        users: [n] int32 user indices.
        items: [n] int32 item indices of the positives.
        row_keys: [n] uint64 from `mixing.keys` for this seed and epoch.
        num_negatives: Negatives for each positive.
    Returns:
        The negatives.
    """
    own = own_ranges(pools, catalogue, positives, users, items, num_negatives)
    only_up, mixed, down_first = own.only_up, own.mixed, own.down_first
    unmet: list[Int64s] = []
    support: list[Int64s] = []
    drawn: list[Int64s] = []
    for draw in range(num_negatives):
        words = mixing.draws(row_keys, np.asarray([draw]))
        up = only_up | (mixed & ((words & np.uint64(1)) == 1))
        size = np.where(up, own.num_up, own.num_down)
        same_pool = [(number < down_first) == up for number in drawn]
        free = size - sum(same.astype(np.int64) for same in same_pool)
        number = np.where(up, 0, down_first) + np.floor(
            mixing.uniforms(words) * free
        ).astype(np.int64)
        for earlier, same in zip(drawn, same_pool, strict=True):
            number = number + (same & (number >= earlier))
        unmet.append(number)
        support.append(np.where(free > 0, size * np.where(mixed, 2, 1), 0))
        drawn = _insert(drawn, number)

    return finish_draw(
        catalogue,
        items,
        unmet_ranks(positives, own.base, own.start, np.stack(unmet, axis=1)),
        np.stack(support, axis=1),
    )


def unmet_ranks(
    positives: Positives, base: Int64s, start: Int64s, numbers: Int64s
) -> Int64s:
    """Returns the ranks of items that are known by their number among the unmet ones.

    Args:
        positives: What each user has met.
        base: [n] int64, the key of each user's rank 0.
        start: [n] int64, where each user's keys begin.
        numbers: [n, k] int64, by falling popularity, from 0.
    """
    behind = np.searchsorted(positives.gap_keys, base[:, None] + numbers, "right")
    ranks: Int64s = numbers + (behind - start[:, None])
    return ranks


def finish_draw(
    catalogue: Catalogue, items: Int32s, ranks: Int64s, support: Int64s
) -> Negatives:
    """Turns ranks into items, and tells which cause each can teach.

    Args:
        catalogue: The ranks of the items.
        items: [n] int32 item indices of the positives.
        ranks: [n, k] int64; where support is 0, anything.
        support: [n, k] int64, as in Negatives.
    """
    exists = support > 0
    negatives = np.where(exists, catalogue.item_at[np.where(exists, ranks, 0)], 0)
    gap = catalogue.popularity[negatives] - catalogue.popularity[items][:, None]
    case = np.where(gap > 0, CASE_MORE_POPULAR, np.where(gap < 0, CASE_LESS_POPULAR, 0))
    case = np.where(exists, case, CASE_TIE).astype(np.int8)
    return Negatives(negatives.astype(np.int32), case, support.astype(np.int32))


def _insert(ascending: list[Int64s], number: Int64s) -> list[Int64s]:
    """Inserts a column into columns that ascend in each row."""
    result = []
    for other in ascending:
        result.append(np.minimum(other, number))
        number = np.maximum(other, number)
    return [*result, number]
