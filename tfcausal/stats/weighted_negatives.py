"""Negative items drawn in proportion to a power of their popularity, on blocks.

Reference: Mikolov et al., Distributed Representations of Words and Phrases and their
Compositionality, NIPS 2013, section 2.2, where the power is 3/4.

Weights are whole numbers of a fixed point, so that sums of them are exact, and a user's
own items are cut out by subtracting their weights, not by rejection: a draw takes a
fixed number of steps, and its probability is known exactly.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from tfcausal.errors import InputError
from tfcausal.stats import mixing
from tfcausal.stats.exponential import powers
from tfcausal.stats.negatives import (
    Bools,
    Catalogue,
    Int32s,
    Int64s,
    Negatives,
    Positives,
    finish_draw,
    require_negatives,
    unmet_ranks,
)
from tfcausal.stats.own_parts import count_upto

Float64s = npt.NDArray[np.float64]

_WEIGHT_BITS = 52
"""All weights sum to less than 2^52: a uniform of 53 bits reaches each of its units."""


@dataclass(frozen=True)
class ByPopularity:
    """Negatives in proportion to popularity ^ beta, of the items the user has not met.

    Formula: P(j | u) = popularity_j ^ beta / sum over unmet items of the same

    An item without an interaction has weight 0. A user who has met all others takes
    negatives uniformly from the items that are left. The negatives of a positive are
    drawn independently, so that one may come twice.

    Attributes:
        num_negatives: Negatives for each positive.
        beta: The power, >= 0; 0 is uniform over items with an interaction.
    """

    num_negatives: int = 4
    beta: float = 1.0
    law: ClassVar[str] = "popularity"

    def __post_init__(self) -> None:
        require_negatives(self.num_negatives)
        if not (np.isfinite(self.beta) and self.beta >= 0):
            raise InputError(f"`beta` must be finite and >= 0; got {self.beta}.")


@dataclass(frozen=True)
class WeightedDraw:
    """Draws in proportion to weights; a NegativeDraw.

    Attributes:
        catalogue: The ranks of the items.
        positives: What each user of the shard has met.
        num_negatives: Negatives for each positive.
        weights: [num_items - 1] int64 weight of each rank, those of 0 last.
        upto: [num_items - 1] int64, the sum of the weights up to each rank.
        met_upto: [nnz] uint64, the sum of the weights of `positives.rank_keys` before
            each of them, all users' and modulo 2^64.
        unmet_before: [nnz] int64, the weight of what comes before each of them by rank
            and its user has not met.
    """

    catalogue: Catalogue
    positives: Positives
    num_negatives: int
    weights: Int64s
    upto: Int64s
    met_upto: mixing.UInt64s
    unmet_before: Int64s

    @classmethod
    def of(
        cls, law: ByPopularity, catalogue: Catalogue, positives: Positives
    ) -> "WeightedDraw":
        """Weighs the items."""
        weights = _weights(catalogue, law.beta)
        upto = np.cumsum(weights)
        owners, ranks = np.divmod(positives.rank_keys, positives.stride)
        own = weights[ranks].astype(np.uint64)
        # Over a large shard this sum passes 2^64, yet differences within a user hold.
        met_upto = np.concatenate([np.zeros(1, np.uint64), np.cumsum(own)])
        firsts = np.searchsorted(positives.rank_keys, owners * positives.stride, "left")
        met_before = (met_upto[:-1] - met_upto[firsts]).astype(np.int64)
        unmet_before = upto[ranks] - weights[ranks] - met_before
        return cls(
            catalogue,
            positives,
            law.num_negatives,
            weights,
            upto,
            met_upto,
            unmet_before,
        )

    def draw(self, users: Int32s, items: Int32s, row_keys: mixing.UInt64s) -> Negatives:
        """See NegativeDraw."""
        own = self._own(users)
        words = mixing.draws(row_keys[:, None], np.arange(self.num_negatives))
        uniforms = mixing.uniforms(words)
        place = np.floor(uniforms * own.weight[:, None]).astype(np.int64)
        met = count_upto(self.unmet_before, own.start, own.end, place)
        met_weight = (
            self.met_upto[own.start[:, None] + met]
            - (self.met_upto[own.start][:, None])
        )
        ranks = np.searchsorted(self.upto, place + met_weight.astype(np.int64), "right")

        uniform = ~own.weighted
        numbers = np.floor(uniforms[uniform] * own.num_unmet[uniform, None])
        ranks[uniform] = unmet_ranks(
            self.positives,
            own.base[uniform],
            own.start[uniform],
            numbers.astype(np.int64),
        )
        support = np.where(own.weighted, own.num_weighted, own.num_unmet)
        support = np.broadcast_to(support[:, None], ranks.shape)
        return finish_draw(self.catalogue, items, ranks, support)

    def probabilities(
        self, users: Int32s, items: Int32s, candidates: Int32s
    ) -> Float64s:
        """See NegativeDraw."""
        own = self._own(users)
        weights = self.weights[self.catalogue.rank_of[candidates]]
        return np.where(
            own.weighted[:, None],
            weights / np.maximum(own.weight, 1)[:, None],
            1.0 / np.maximum(own.num_unmet, 1)[:, None],
        )

    def _own(self, users: Int32s) -> "_Own":
        base = users.astype(np.int64) * self.positives.stride
        num_ranks = len(self.weights)
        num_weighted = int(np.count_nonzero(self.weights))
        start, weightless, end = (
            np.searchsorted(self.positives.rank_keys, base + rank, "left")
            for rank in (0, num_weighted, num_ranks)
        )
        met = (self.met_upto[end] - self.met_upto[start]).astype(np.int64)
        return _Own(
            base,
            start,
            end,
            weight=self.upto[-1] - met,
            num_weighted=num_weighted - (weightless - start),
            num_unmet=num_ranks - (end - start),
        )


@dataclass(frozen=True)
class _Own:
    """What there is to draw from for some users.

    Attributes:
        base: [n] int64, the key of each user's rank 0.
        start: [n] int64, where each user's keys begin.
        end: [n] int64, where they end.
        weight: [n] int64 weight of all items that the user has not met.
        num_weighted: [n] int64, how many of these have a weight.
        num_unmet: [n] int64, how many there are.
    """

    base: Int64s
    start: Int64s
    end: Int64s
    weight: Int64s
    num_weighted: Int64s
    num_unmet: Int64s

    @property
    def weighted(self) -> Bools:
        """[n] bool, whether any item with a weight is left."""
        return self.num_weighted > 0


def _weights(catalogue: Catalogue, beta: float) -> Int64s:
    falling = catalogue.popularity[catalogue.item_at]
    met = falling[falling > 0].astype(np.float64)
    # Of the largest weight, not of the sum, which would round by the order of adding.
    bits = _WEIGHT_BITS - len(met).bit_length()
    relative = powers(met / met[0], beta)
    weights = np.zeros(len(falling), np.int64)
    weights[: len(met)] = np.maximum(np.floor(np.ldexp(relative, bits)), 1)
    return weights
