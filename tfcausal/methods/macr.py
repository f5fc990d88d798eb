"""MACR: the item's own pull is learned beside the match, then taken back out.

Reference: Wei et al., Model-Agnostic Counterfactual Reasoning for Eliminating
Popularity Bias in Recommender System, KDD 2021, with the authors' macr_mf/model.py.
Symbols: y_k -> match s_ui = <u, i>; y_i = <i, w_item>; y_u = <u, w_user>; alpha ->
item_weight; beta -> user_weight; c -> reference_score.

    y_ui = s_ui * sigmoid(y_i) * sigmoid(y_u)
    loss = L(y_ui) + alpha * L(y_i) + beta * L(y_u),   L the log loss
    rank by (s_ui - c) * sigmoid(y_i) * sigmoid(y_u)

A user's sigmoid(y_u) > 0 changes no order of the user's items and is left out of the
vectors. The weight of the cause `item` scales c.
Deviations: the mean is over all pairs, a positive beside each of its negatives; the
authors draw one. DCCL's table (Zhao et al., WWW 2023) has BPR throughout:
`main_loss=bpr` is the form in MACR's code, s_ui * sigmoid(y_i) and y_i on pairs and no
y_u, which would cancel in its own pairs. The authors' regularisation is the trainer's
`l2`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import tensorflow as tf

from tfcausal.errors import InputError
from tfcausal.keras_compat import keras
from tfcausal.losses.pairwise import bpr, mean_over
from tfcausal.methods.options import PairOptions
from tfcausal.methods.registry import register
from tfcausal.methods.towers import Towers
from tfcausal.methods.triplets import PairMethod, TripletBatch

MATCH = "match"
ITEM = "item"

MainLoss = Literal["bce", "bpr"]


@dataclass(frozen=True)
class MACROptions(PairOptions):
    """Options of MACR.

    Attributes:
        embedding_dim: Coordinates of a user's and an item's vector.
        learning_rate: Step size of the optimiser at the start.
        num_negatives: Negatives for each positive.
        main_loss: "bce" for the log loss of each score, or "bpr" on pairs.
        item_weight: Weight of the item's own loss.
        user_weight: Weight of the user's own loss, which bpr does not have.
        reference_score: The match of the counterfactual world, taken off each match
            before ranking. It is on the scale of the learned matches: choose it on
            validation, the more so with bpr.
    """

    embedding_dim: int = 64
    learning_rate: float = 1e-3
    num_negatives: int = 1
    main_loss: MainLoss = "bce"
    item_weight: float = 1e-3
    user_weight: float = 1e-3
    reference_score: float = 40.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.main_loss not in get_args(MainLoss):
            raise InputError(
                f"`main_loss` must be one of {', '.join(get_args(MainLoss))}; got "
                f"{self.main_loss}."
            )
        if not np.isfinite(self.reference_score):
            raise InputError(
                f"`reference_score` must be finite; got {self.reference_score}."
            )


@register("macr")
class MACR(PairMethod):
    """A match, scaled by what item and user would do without any match."""

    options_class = MACROptions
    options: MACROptions

    def make_weights(self) -> None:
        """Makes the vectors w_item and, for the log loss, w_user."""
        seed = self.items.seed
        self.item_head = _head(self.options.embedding_dim, 2 * seed, "item_head")
        if self.options.main_loss == "bce":
            self.user_head = _head(
                self.options.embedding_dim, 2 * seed + 1, "user_head"
            )

    def cause_dims(self) -> Mapping[str, int]:
        """Returns the match, all that a user and an item have vectors for."""
        return {MATCH: self.options.embedding_dim}

    def causes(self) -> dict[str, slice]:
        """Returns the match and what is taken off for the item's own pull."""
        dim = self.options.embedding_dim
        return {MATCH: slice(0, dim), ITEM: slice(dim, dim + 1)}

    def initial_term_weights(self) -> Mapping[str, float]:
        """Returns 1, alpha and, for the log loss, beta."""
        weights = {"click": 1.0, "item": self.options.item_weight}
        if self.options.main_loss == "bce":
            weights["user"] = self.options.user_weight
        return weights

    def loss_terms(
        self, batch: TripletBatch, towers: Towers
    ) -> Mapping[str, tf.Tensor]:
        """Returns `click`, `item` and, for the log loss, `user`."""
        queries = towers.users(batch.users)
        candidates = towers.items(batch.items)
        match = tf.einsum("bd,bkd->bk", queries, candidates)
        item = self.item_head(candidates)[..., 0]
        click = match * tf.sigmoid(item)
        if self.options.main_loss == "bpr":
            return {
                "click": _mean(bpr, click, batch),
                "item": _mean(bpr, item, batch),
            }
        user = self.user_head(queries)
        return {
            "click": _mean(_log_loss, click * tf.sigmoid(user), batch),
            "item": _mean(_log_loss, item, batch),
            "user": _mean(_log_loss, user + tf.zeros_like(match), batch),
        }

    def fold_queries(self, embedded: tf.Tensor) -> tf.Tensor:
        """Returns [u, 1]."""
        ones = tf.ones_like(embedded[:, :1])
        return tf.concat([embedded, ones], axis=1)[:, None, :]

    def fold_candidates(self, embedded: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """Returns sigmoid(y_i) * [i, -c]."""
        pull = tf.sigmoid(self.item_head(embedded))
        reference = -self.options.reference_score * tf.ones_like(pull)
        return pull * tf.concat([embedded, reference], axis=1)


def _head(dim: int, seed: int, name: str) -> Any:
    head = keras.layers.Dense(
        1,
        use_bias=False,
        kernel_initializer=keras.initializers.GlorotUniform(seed),
        name=name,
    )
    head.build((None, dim))
    return head


def _log_loss(positive_scores: tf.Tensor, negative_scores: tf.Tensor) -> tf.Tensor:
    """Returns -log sigmoid(positive) - log(1 - sigmoid(negative)) of each pair."""
    return tf.nn.softplus(-positive_scores) + tf.nn.softplus(negative_scores)


def _mean(loss: Any, scores: tf.Tensor, batch: TripletBatch) -> tf.Tensor:
    return mean_over(loss(scores[:, :1], scores[:, 1:]), batch.exists)
