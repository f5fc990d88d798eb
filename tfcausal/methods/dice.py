"""DICE: interest and conformity in separate coordinates, learned from their own pairs.

Reference: Zheng, Gao, Li, He, Li, Jin, Disentangling User Interest and Conformity for
Recommendation with Causal Embedding, WWW 2021: score Eq. 3, conformity Eq. 6,
interest Eq. 7, click Eq. 8, total Eq. 10, sampling and curriculum section 3.3.
Deviations: Eq. 6's "-BPR" on the pairs O_2 would be unbounded below as a loss; as in
the authors' code its two scores change places. As there, every term is a mean over all
pairs (the paper writes sums), and a negative counts as far less popular below half of
the positive's popularity. dCor is bounded where theirs gives NaN, and is taken on at
most `discrepancy_rows` of the batch's users and items. Pairs of equal popularity, which
only arise where the sampler falls back, teach the click alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf

from tfcausal.errors import unknown_name
from tfcausal.losses import discrepancy
from tfcausal.losses.pairwise import bpr, masked_bpr, mean_over
from tfcausal.methods.click import ClickMethod
from tfcausal.methods.options import PairLaw, PopularityPairOptions
from tfcausal.methods.registry import register
from tfcausal.methods.towers import Lookup, Towers
from tfcausal.methods.triplets import TripletBatch
from tfcausal.stats.negatives import (
    CASE_LESS_POPULAR,
    CASE_MORE_POPULAR,
    NegativeSampling,
)

NONE = "none"
INTEREST = "interest"
CONFORMITY = "conformity"

_DISCREPANCIES: dict[str, Callable[[Any, Any], Any]] = {
    "dcor": discrepancy.distance_correlation,
    "l1": discrepancy.negative_l1,
    "l2": discrepancy.negative_l2,
}


@dataclass(frozen=True)
class DICEOptions(PopularityPairOptions):
    """Options of DICE.

    Symbols: alpha -> interest_weight and conformity_weight; beta ->
    discrepancy_weight.

    Attributes:
        embedding_dim: Coordinates of each cause; a vector has twice as many.
        learning_rate: Step size of the optimiser at the start.
        num_negatives: Negatives for each positive.
        interest_weight: Weight of the interest term in the first epoch.
        conformity_weight: Weight of the conformity term in the first epoch.
        discrepancy_weight: Weight of the discrepancy.
        discrepancy: "dcor", "l1", "l2", or "none" for no such term.
        discrepancy_rows: At most so many of a batch's users, and of its items, enter
            the discrepancy; dCor's cost grows with the square.
        decay: Factor on both causes' weights and on the margins after each epoch, the
            curriculum; 1 for none.
        negatives: "popularity_margin" for PNSM, or "uniform" over the items that the
            user has not met, the paper's ablation; the cause of a pair then follows
            from which of its two items is the more popular, without a margin.
    """

    embedding_dim: int = 64
    learning_rate: float = 1e-3
    interest_weight: float = 0.1
    conformity_weight: float = 0.1
    discrepancy_weight: float = 0.01
    discrepancy: Literal["dcor", "l1", "l2", "none"] = "dcor"
    discrepancy_rows: int = 512
    negatives: PairLaw = "popularity_margin"

    def __post_init__(self) -> None:
        super().__post_init__()
        known = [*_DISCREPANCIES, NONE]
        if self.discrepancy not in known:
            raise unknown_name("discrepancy", self.discrepancy, known)


@register("dice")
class DICE(ClickMethod):
    """Interest and conformity kept apart by cause-specific pairs."""

    options_class = DICEOptions
    options: DICEOptions

    def cause_dims(self) -> Mapping[str, int]:
        """Returns interest, then conformity."""
        return {
            INTEREST: self.options.embedding_dim,
            CONFORMITY: self.options.embedding_dim,
        }

    def negative_sampling(self) -> NegativeSampling:
        """Returns PNSM, its margin decaying as the weights do, or the uniform law."""
        return self.options.pair_sampling()

    def initial_term_weights(self) -> Mapping[str, float]:
        """Returns the weights of Eq. 10."""
        weights = {
            "click": 1.0,
            "interest": self.options.interest_weight,
            "conformity": self.options.conformity_weight,
        }
        if self.options.discrepancy == NONE:
            return weights
        return weights | {"discrepancy": self.options.discrepancy_weight}

    def term_weight_decays(self) -> Mapping[str, float]:
        """Returns the curriculum: both causes' weights decay, the others stay."""
        return {"interest": self.options.decay, "conformity": self.options.decay}

    def loss_terms(
        self, batch: TripletBatch, towers: Towers
    ) -> Mapping[str, tf.Tensor]:
        """Returns `click`, `interest`, `conformity` and, if any, `discrepancy`."""
        dim = self.options.embedding_dim
        users = towers.users(batch.users)
        items = self.fold_candidates(towers.items(batch.items), batch.items)
        queries = tf.reshape(self.fold_queries(users), (-1, 1, 2, dim))
        candidates = tf.reshape(items, (-1, 1 + self.options.num_negatives, 2, dim))
        scores = tf.reduce_sum(queries * candidates, axis=-1) / self.options.temperature
        interest, conformity = tf.unstack(scores, axis=-1)
        more = tf.equal(batch.case, CASE_MORE_POPULAR)
        less = tf.equal(batch.case, CASE_LESS_POPULAR)
        exists = batch.exists
        positive, negative = conformity[:, :1], conformity[:, 1:]
        if self.options.click_loss == "softmax":
            click = self.click(batch, towers, users)
        else:
            both = interest + conformity
            click = mean_over(bpr(both[:, :1], both[:, 1:]), exists)
        terms = {
            "click": click,
            "interest": masked_bpr(interest[:, :1], interest[:, 1:], more, exists),
            "conformity": masked_bpr(negative, positive, more, exists)
            + masked_bpr(positive, negative, less, exists),
        }
        if self.options.discrepancy != NONE:
            terms["discrepancy"] = self._discrepancy(
                towers.users, batch.users
            ) + self._discrepancy(towers.items, tf.reshape(batch.items, [-1]))
        return terms

    def _discrepancy(self, tower: Lookup, rows: tf.Tensor) -> tf.Tensor:
        """Compares the causes on the batch's distinct rows of one tower."""
        distinct = tf.unique(rows).y[: self.options.discrepancy_rows]
        interest, conformity = tf.split(tower(distinct), 2, axis=1)
        return _DISCREPANCIES[self.options.discrepancy](interest, conformity)
