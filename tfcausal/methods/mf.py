"""MF-BPR: matrix factorisation on pairs, the baseline that all causal methods meet.

Reference: Rendle et al., BPR: Bayesian Personalized Ranking from Implicit Feedback,
UAI 2009; hyper-parameters as the MF baseline of Zheng et al. (DICE), WWW 2021.
Deviations: none from DICE's baseline: four uniform negatives for each positive that the
user has not met, distinct within the positive, the mean over all pairs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from tfcausal.losses.pairwise import bpr, mean_over
from tfcausal.methods.options import PairOptions
from tfcausal.methods.registry import register
from tfcausal.methods.towers import Towers
from tfcausal.methods.triplets import PairMethod, TripletBatch


@dataclass(frozen=True)
class MFOptions(PairOptions):
    """Options of MF-BPR.

    Attributes:
        embedding_dim: Coordinates of a user's and an item's vector.
        learning_rate: Step size of the optimiser at the start.
        num_negatives: Negatives for each positive.
    """

    embedding_dim: int = 128
    learning_rate: float = 1e-2


@register("mf")
class MF(PairMethod):
    """One vector a user, one an item; its only cause is called preference."""

    options_class = MFOptions
    options: MFOptions

    def cause_dims(self) -> Mapping[str, int]:
        """Returns one cause: the preference, in which all causes are entangled."""
        return {"preference": self.options.embedding_dim}

    def loss_terms(
        self, batch: TripletBatch, towers: Towers
    ) -> Mapping[str, tf.Tensor]:
        """Returns `click`: the mean BPR loss over all pairs."""
        scores = self.pair_scores(batch, towers)
        pairs = bpr(scores[:, :1], scores[:, 1:])
        return {"click": mean_over(pairs, batch.exists)}
