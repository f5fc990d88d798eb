"""BIAS-U, BIAS-I, BIAS-UI: matrix factorisation with a bias for who and for what.

Reference: the baselines BIAS-U, BIAS-I and BIAS-UI of Zheng et al., DICE, WWW 2021,
section 4.2.2, after Koren, Bell, Volinsky, Matrix Factorization Techniques for
Recommender Systems, Computer 2009, Eq. 4: s_ui = <u, i> + b_u + b_i.
Deviations: no code of theirs is released; here biases begin at 0 and get the `l2` of
all else, and the rest is DICE's MF-BPR. On pairs, b_u is in both scores of a pair and
cancels, as it does in each user's ranking: BIAS-U ranks as `mf`, BIAS-UI as BIAS-I.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import tensorflow as tf

from tfcausal.errors import InputError
from tfcausal.losses.pairwise import bpr, mean_over
from tfcausal.methods.options import PairOptions
from tfcausal.methods.registry import register
from tfcausal.methods.towers import Towers
from tfcausal.methods.triplets import PairMethod, TripletBatch

PREFERENCE = "preference"
BIAS = "bias"

Biases = Literal["item", "user", "both"]


@dataclass(frozen=True)
class BiasOptions(PairOptions):
    """Options of BIAS-U, BIAS-I and BIAS-UI.

    Attributes:
        embedding_dim: Coordinates of a user's and an item's vector.
        learning_rate: Step size of the optimiser at the start.
        num_negatives: Negatives for each positive.
        biases: Who has a bias: "item" for BIAS-I, "user" for BIAS-U, "both" for
            BIAS-UI.
    """

    embedding_dim: int = 128
    learning_rate: float = 1e-2
    biases: Biases = "both"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.biases not in get_args(Biases):
            raise InputError(
                f"`biases` must be one of {', '.join(get_args(Biases))}; got "
                f"{self.biases}."
            )


@register("bias")
class Bias(PairMethod):
    """What an item gets from everyone is a cause of its own, the bias."""

    options_class = BiasOptions
    options: BiasOptions

    def make_weights(self) -> None:
        """Makes the biases, all 0."""
        self.user_biases = self.item_biases = None
        if self.options.biases != "item":
            zeros = tf.zeros([self.users.num_rows])
            self.user_biases = tf.Variable(zeros, name="user_biases")
        if self.options.biases != "user":
            zeros = tf.zeros([self.items.num_rows])
            self.item_biases = tf.Variable(zeros, name="item_biases")

    def cause_dims(self) -> Mapping[str, int]:
        """Returns the preference, all that a user and an item have vectors for."""
        return {PREFERENCE: self.options.embedding_dim}

    def causes(self) -> dict[str, slice]:
        """Returns the preference and, where items have one, their bias."""
        dim = self.options.embedding_dim
        preference = {PREFERENCE: slice(0, dim)}
        if self.item_biases is None:
            return preference
        return preference | {BIAS: slice(dim, dim + 1)}

    def loss_terms(
        self, batch: TripletBatch, towers: Towers
    ) -> Mapping[str, tf.Tensor]:
        """Returns `click`: the mean BPR loss over all pairs."""
        scores = self.pair_scores(batch, towers)
        if self.user_biases is not None:
            scores += tf.gather(self.user_biases, batch.users)[:, None]
        if self.item_biases is not None:
            scores += tf.gather(self.item_biases, batch.items)
        pairs = bpr(scores[:, :1], scores[:, 1:])
        return {"click": mean_over(pairs, batch.exists)}

    def fold_queries(self, embedded: tf.Tensor) -> tf.Tensor:
        """Returns [u, 1]; b_u is left out, as no ranking depends on it."""
        if self.item_biases is None:
            return embedded[:, None, :]
        ones = tf.ones_like(embedded[:, :1])
        return tf.concat([embedded, ones], axis=1)[:, None, :]

    def fold_candidates(self, embedded: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """Returns [i, b_i]."""
        if self.item_biases is None:
            return embedded
        biases = tf.gather(self.item_biases, items)[:, None]
        return tf.concat([embedded, biases], axis=1)
