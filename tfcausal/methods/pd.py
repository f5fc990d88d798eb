"""PD and PDA: popularity as a factor of the score in training, then left out or chosen.

Reference: Zhang et al., Causal Intervention for Leveraging Popularity Bias in
Recommendation, SIGIR 2021, with the authors' MF/model_api.py (ConditionalBPRMF):

    f_ui = (elu(s_ui) + 1) * m_i ^ gamma,   loss = mean -log sigmoid(f_ui - f_uj)

with m the popularity, min-max, in the time slot of the positive, for the negative too.
PD is deconfounded training: it ranks by elu(s) + 1, so by s. PDA adjusts: it ranks by
(elu(s) + 1) * m ^ gamma with the popularity m that the next slot is expected to have.
Deviations: one popularity for data without timestamps (`popularity=global`). PDA's
score is an inner product in two ways, each the formula's very order on one side of 0:
at and above it, (s + 1) * m^gamma; at and below it, where elu(s) + 1 = exp(s),
s + gamma * log m. The first is the default, as lists are made of the best scores; it
puts an item below 0 lower than the formula does. The second keeps popularity in a
coordinate of its own, so that a request can change gamma, but lets popularity count for
less than the formula above 0. The authors' regularisation is the trainer's `l2`; the
least popular item of a slot has m = 0 and, as theirs, learns nothing there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import tensorflow as tf

from tfcausal.data.train_window import SLOT
from tfcausal.errors import InputError, unknown_name
from tfcausal.losses.pairwise import bpr, mean_over
from tfcausal.methods.options import PairOptions
from tfcausal.methods.registry import register
from tfcausal.methods.towers import Towers
from tfcausal.methods.triplets import PairMethod, TripletBatch
from tfcausal.stats.popularity import min_max, smoothed_share
from tfcausal.stats.slots import next_slot

MATCH = "match"
POPULARITY = "popularity"

Popularity = Literal["slots", "global"]
ExactScores = Literal["above", "below"]


@dataclass(frozen=True)
class PDOptions(PairOptions):
    """Options of PD and PDA.

    Attributes:
        embedding_dim: Coordinates of a user's and an item's vector.
        learning_rate: Step size of the optimiser at the start.
        num_negatives: Negatives for each positive.
        gamma: Exponent of popularity, >= 0. The authors' on Kwai is 0.02 for PD, 0.16
            for PDA.
        adjusted: Whether the ranking takes the next slot's popularity in: PDA.
        popularity: "slots" for that of the positive's time slot, or "global" for one
            of the whole train window, where there are no timestamps.
        exact: PDA: whether its inner product orders scores "above" 0 as the formula
            does, or those "below", with an exponent that requests can change.
    """

    embedding_dim: int = 64
    learning_rate: float = 1e-2
    num_negatives: int = 1
    gamma: float = 0.02
    adjusted: bool = False
    popularity: Popularity = "slots"
    exact: ExactScores = "above"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.gamma < np.inf:
            raise InputError(f"`gamma` must be finite and >= 0; got {self.gamma}.")
        for name, kind in (("popularity", Popularity), ("exact", ExactScores)):
            if getattr(self, name) not in get_args(kind):
                raise unknown_name(name, getattr(self, name), get_args(kind))


@register("pd")
class PD(PairMethod):
    """A match that popularity multiplies, so that it need not learn popularity."""

    options_class = PDOptions
    options: PDOptions

    def make_weights(self) -> None:
        """Reads the popularity of each item in each slot, and in the next."""
        if self.options.popularity == "slots":
            found = self.window.read_slots()
            slots, following = found.slots, found.following
        else:
            slots = min_max(smoothed_share(self.window.popularity[None]))
            following = next_slot(slots, trend=0.0)
        gamma = self.options.gamma
        # By item, so that a batch reads only its own items' rows.
        self.factors = tf.constant((slots**gamma).T, tf.float32)
        # As logarithms: a power of 1e-9 soon is below what float32 tells from 0.
        self.log_factors = tf.constant(gamma * np.log(following), tf.float32)

    def row_facts(self) -> tuple[str, ...]:
        """Asks for each row's slot, unless there is one for all."""
        return (SLOT,) if self.options.popularity == "slots" else ()

    def cause_dims(self) -> Mapping[str, int]:
        """Returns the match, all that a user and an item have vectors for."""
        return {MATCH: self.options.embedding_dim}

    def causes(self) -> dict[str, slice]:
        """Returns the match and, for PDA, the popularity."""
        dim = self.options.embedding_dim
        match = {MATCH: slice(0, dim)}
        if not self.options.adjusted:
            return match
        return match | {POPULARITY: slice(dim, dim + 1)}

    def loss_terms(
        self, batch: TripletBatch, towers: Towers
    ) -> Mapping[str, tf.Tensor]:
        """Returns `click`: the mean BPR loss over all pairs of products f."""
        scores = self.pair_scores(batch, towers)
        slots = batch.facts.get(SLOT, tf.zeros_like(batch.users))
        by_slot = tf.gather(self.factors, batch.items)
        factors = tf.gather(by_slot, slots, axis=2, batch_dims=1)
        products = (tf.nn.elu(scores) + 1.0) * factors
        pairs = bpr(products[:, :1], products[:, 1:])
        return {"click": mean_over(pairs, batch.exists)}

    def fold_queries(self, embedded: tf.Tensor) -> tf.Tensor:
        """Returns u, and [u, 1] for PDA."""
        if not self.options.adjusted:
            return embedded[:, None, :]
        ones = tf.ones_like(embedded[:, :1])
        return tf.concat([embedded, ones], axis=1)[:, None, :]

    def fold_candidates(self, embedded: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """Returns i, and [i * m^gamma, m^gamma] or [i, gamma * log m] for PDA."""
        if not self.options.adjusted:
            return embedded
        logs = tf.gather(self.log_factors, items)[:, None]
        if self.options.exact == "below":
            return tf.concat([embedded, logs], axis=1)
        factors = tf.exp(logs)
        return tf.concat([embedded * factors, factors], axis=1)
