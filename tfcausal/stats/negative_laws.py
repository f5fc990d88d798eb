"""The laws of negatives behind one interface: how to draw, and how likely a draw was.

Each law draws from its own words of a row's stream, so that what a positive gets does
not depend on the block it stands in.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tfcausal.stats import mixing
from tfcausal.stats.hard_negatives import HardPools
from tfcausal.stats.logarithm import Float64s, log
from tfcausal.stats.negatives import (
    Catalogue,
    Float32s,
    Int32s,
    Negatives,
    NegativeSampling,
    Pools,
    PopularityMargin,
    Positives,
    Uniform,
    draw_negatives,
    finish_draw,
    own_ranges,
)
from tfcausal.stats.weighted_negatives import ByPopularity, WeightedDraw

LAWS = (PopularityMargin.law, Uniform.law, ByPopularity.law)
AnySampling = NegativeSampling | ByPopularity
"""The laws that draw ahead."""


def law_of(
    sampling: AnySampling, catalogue: Catalogue, positives: Positives, epoch: int
) -> "NegativeDraw":
    """Returns a law, ready to draw.

    Args:
        sampling: The law.
        catalogue: The ranks of the items.
        positives: What each user of the shard has met.
        epoch: Number of the pass over the data, from 0.
    """
    if isinstance(sampling, ByPopularity):
        return WeightedDraw.of(sampling, catalogue, positives)
    pools = sampling.pools(catalogue.popularity, epoch)
    return RangeDraw(pools, catalogue, positives, sampling.num_negatives)


class NegativeDraw(Protocol):
    """A law of negatives, ready to draw for the rows of a shard in one epoch."""

    def draw(self, users: Int32s, items: Int32s, row_keys: mixing.UInt64s) -> Negatives:
        """Draws the negatives of a block of positives.

        Args:
            users: [n] int32 user indices.
            items: [n] int32 item indices of the positives.
            row_keys: [n] uint64 from `mixing.keys` for this seed and epoch.
        """

    def probabilities(
        self, users: Int32s, items: Int32s, candidates: Int32s
    ) -> Float64s:
        """Returns how likely each negative of a positive is to be a given item.

        The probability under the law as it draws, that is given all that the user has
        met: over the items that the user has not met it sums to 1.

        Args:
            users: [n] int32 user indices.
            items: [n] int32 item indices of the positives.
            candidates: [n, k] int32 items that the user of their row has not met; for
                the unknown item the value means nothing.
        Returns:
            [n, k] float64.
        """


def log_q(
    law: NegativeDraw, users: Int32s, items: Int32s, drawn: Negatives
) -> Float32s:
    """Returns the log-probability of each draw, as a correction for sampling needs it.

    It is that of the item under the law conditioned on the user's positives, the law
    by which it was drawn, and not that before they were cut out: for user u, positive i
    and negative j, log P(one negative of (u, i) is j). Where a positive's negatives are
    distinct, that is the probability of each of them by itself.

    Args:
        law: By which they were drawn.
        users: [n] int32 user indices.
        items: [n] int32 item indices of the positives.
        drawn: Their negatives.
    Returns:
        [n, num_negatives] float32 <= 0; 0 for a negative that does not exist.
    """
    exists = drawn.support > 0
    likely = law.probabilities(users, items, drawn.items)
    return np.where(exists, log(np.where(exists, likely, 1.0)), 0.0).astype(np.float32)


@dataclass(frozen=True)
class RangeDraw:
    """Draws from ranges of ranks: the law of PopularityMargin and of Uniform.

    Attributes:
        pools: The pools of each item in this epoch.
        catalogue: The ranks of the items.
        positives: What each user of the shard has met.
        num_negatives: Negatives for each positive.
    """

    pools: Pools
    catalogue: Catalogue
    positives: Positives
    num_negatives: int

    def draw(self, users: Int32s, items: Int32s, row_keys: mixing.UInt64s) -> Negatives:
        """Draws as `draw_negatives` does."""
        return draw_negatives(
            self.pools,
            self.catalogue,
            self.positives,
            users,
            items,
            row_keys,
            self.num_negatives,
        )

    def probabilities(
        self, users: Int32s, items: Int32s, candidates: Int32s
    ) -> Float64s:
        """See NegativeDraw: 1 / size of the pool, half of it where a coin chose it."""
        own = own_ranges(
            self.pools, self.catalogue, self.positives, users, items, self.num_negatives
        )
        ranks = self.catalogue.rank_of[candidates]
        met_below = (
            np.searchsorted(self.positives.rank_keys, own.base[:, None] + ranks)
            - own.start[:, None]
        )
        numbers = ranks - met_below
        up, down = (
            np.where(possible & (size > 0), 1.0 / np.maximum(size, 1), 0.0)[:, None]
            for possible, size in (
                (~own.only_down, own.num_up),
                (~own.only_up, own.num_down),
            )
        )
        up = np.where(numbers < own.num_up[:, None], up, 0.0)
        down = np.where(numbers >= own.down_first[:, None], down, 0.0)
        return (up + down) * np.where(own.mixed, 0.5, 1.0)[:, None]


@dataclass(frozen=True)
class HardDraw:
    """A share of hard negatives, the rest by another law; a NegativeDraw.

    Each negative flips a coin; a hard one is drawn uniformly from its user's pool,
    whatever the others are, so that one may come twice.
    Formula: P(j | u, i) = share * [j in pool of u] / |pool of u| + (1 - share) * base

    Attributes:
        base: The other law.
        pools: The hard negatives of each user of the shard.
        share: Probability that a negative is hard, in (0, 1].
        catalogue: The ranks of the items.
    """

    base: NegativeDraw
    pools: HardPools
    share: float
    catalogue: Catalogue

    def draw(self, users: Int32s, items: Int32s, row_keys: mixing.UInt64s) -> Negatives:
        """See NegativeDraw."""
        drawn = self.base.draw(users, items, row_keys)
        width = drawn.items.shape[1]
        place = self.pools.place(users)
        sizes = self.pools.sizes[place][:, None]
        # The base's words are the first `width`; then a coin and a place for each.
        coins, places = (
            mixing.uniforms(
                mixing.draws(row_keys[:, None], np.arange(width) + first * width)
            )
            for first in (1, 2)
        )
        chosen = np.floor(places * sizes).astype(np.int64)
        hard = (coins < self.share) & (sizes > 0)
        found = self.pools.items[place[:, None], chosen]
        ranks = self.catalogue.rank_of[np.where(hard, found, drawn.items)]
        support = np.where(hard, sizes, drawn.support)
        return finish_draw(self.catalogue, items, ranks, support)

    def probabilities(
        self, users: Int32s, items: Int32s, candidates: Int32s
    ) -> Float64s:
        """See NegativeDraw."""
        place = self.pools.place(users)
        hard = np.where(
            self.pools.contain(place, candidates),
            1.0 / np.maximum(self.pools.sizes[place], 1)[:, None],
            0.0,
        )
        base = self.base.probabilities(users, items, candidates)
        return self.share * hard + (1.0 - self.share) * base
