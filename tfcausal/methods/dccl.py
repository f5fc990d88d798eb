"""DCCL: interest and conformity told apart by two contrasts against the batch.

Reference: Zhao et al., Disentangled Causal Embedding with Contrastive Learning for
Recommender System, WWW 2023 (Companion), section 2.2: the contrast of interest,
weighted w = exp(-I_pop), that of conformity, weighted 1 - w against items that are not
more popular, and BPR on the sum of both.
Deviations: the paper writes the weights inside the logarithms, where they are constants
without a gradient; as in the authors' code they stand outside. I_pop is the count over
the largest count, as in the code; the paper's count over all impressions would give
every item the weight 1. Contrasts compare by the cosine, as in the code (the paper
writes the product), with 0.1 added to numerator and denominator, and all of a user's
items in the batch are positives. The code multiplies the scores of too popular items by
0, which leaves them in the denominator: `filtered=zeroed`; the default drops them, as
the paper says. Terms are means, where the code takes sums of all three: the same but
for the learning rate. Initial values are as for all methods here, where the code draws
from +-0.001; BPR draws its negatives afresh, where the code picks among 200 drawn
ahead, and may draw them as DICE does (`negatives=popularity_margin`), which is ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import tensorflow as tf

from tfcausal.errors import InputError, unknown_name
from tfcausal.layers.contrast import PopularityContrast
from tfcausal.layers.embedding import Similarity
from tfcausal.losses.in_batch import Filtered
from tfcausal.methods.click import ClickMethod
from tfcausal.methods.options import PopularityPairOptions
from tfcausal.methods.registry import register
from tfcausal.methods.towers import Towers
from tfcausal.methods.triplets import TripletBatch
from tfcausal.samplers.in_batch import InBatch
from tfcausal.stats.negatives import NegativeSampling, Uniform

INTEREST = "interest"
CONFORMITY = "conformity"


@dataclass(frozen=True)
class DCCLOptions(PopularityPairOptions):
    """Options of DCCL.

    Symbols: alpha -> interest_weight; beta -> conformity_weight

    Attributes:
        embedding_dim: Coordinates of interest, and of conformity where nothing else is
            said.
        conformity_dim: Coordinates of conformity; 0 for as many as of interest, as in
            the paper.
        learning_rate: Step size of the optimiser at the start.
        num_negatives: BPR: negatives for each positive.
        interest_weight: Weight of the contrast of interest; 0 is the paper's ablation
            without it.
        conformity_weight: Weight of the contrast of conformity; 0 likewise.
        contrast_similarity: "cosine", the authors' code, or "product", the paper.
        contrast_temperature: What the contrasts' similarities are divided by.
        filtered: What becomes of more popular items in the contrast of conformity:
            "dropped", as the paper says, or "zeroed", as the authors' code has it.
        contrast_rows: Rows that are contrasted with one another; 0 for the whole batch.
            With fewer, a large batch costs less: the contrasts' time grows with
            batch_size * contrast_rows.
    """

    embedding_dim: int = 32
    conformity_dim: int = 0
    learning_rate: float = 1e-3
    num_negatives: int = 1
    interest_weight: float = 0.1
    conformity_weight: float = 0.1
    contrast_similarity: Similarity = "cosine"
    contrast_temperature: float = 1.0
    filtered: Filtered = "dropped"
    contrast_rows: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.click_loss == "softmax" and self.negatives != Uniform.law:
            raise InputError(
                "`negatives` must be uniform with click_loss=softmax, which draws "
                f"none; got {self.negatives}. Set click_loss=bpr."
            )
        for name, kind in (
            ("contrast_similarity", Similarity),
            ("filtered", Filtered),
        ):
            if getattr(self, name) not in get_args(kind):
                raise unknown_name(name, getattr(self, name), get_args(kind))
        for name in ("contrast_rows", "conformity_dim"):
            if getattr(self, name) < 0:
                raise InputError(f"`{name}` must be >= 0; got {getattr(self, name)}.")


@register("dccl")
class DCCL(ClickMethod):
    """Interest and conformity kept apart by popularity-weighted contrasts."""

    options_class = DCCLOptions
    options: DCCLOptions

    def make_weights(self) -> None:
        """Makes the losses that know the items' popularity."""
        super().make_weights()
        self.contrast = PopularityContrast(
            self.window.popularity,
            temperature=self.options.contrast_temperature,
            similarity=self.options.contrast_similarity,
            filtered=self.options.filtered,
            interest_dim=self.options.embedding_dim,
        )

    def negative_sampling(self) -> NegativeSampling | None:
        """Returns the law of BPR's negatives; softmax takes the batch."""
        if self.options.click_loss == "softmax":
            return None
        return self.options.pair_sampling()

    def cause_dims(self) -> Mapping[str, int]:
        """Returns interest, then conformity."""
        return {
            INTEREST: self.options.embedding_dim,
            CONFORMITY: self.options.conformity_dim or self.options.embedding_dim,
        }

    def initial_term_weights(self) -> Mapping[str, float]:
        """Returns the weights of the click and of the contrasts that have any."""
        contrasts = {
            INTEREST: self.options.interest_weight,
            CONFORMITY: self.options.conformity_weight,
        }
        return {"click": 1.0} | {name: one for name, one in contrasts.items() if one}

    def loss_terms(
        self, batch: TripletBatch, towers: Towers
    ) -> Mapping[str, tf.Tensor]:
        """Returns `click`, `interest` and `conformity`; no contrast of weight 0."""
        found = InBatch.of(batch.users, batch.positives)
        queries, items = towers.users(batch.users), towers.items(found.items)
        interest, conformity = self._contrasts(batch, towers, queries, items, found)
        terms = {
            "click": self.click(batch, towers, queries, met=(found, items)),
            INTEREST: interest,
            CONFORMITY: conformity,
        }
        return {name: terms[name] for name in self.term_weights}

    def _contrasts(
        self,
        batch: TripletBatch,
        towers: Towers,
        queries: tf.Tensor,
        items: tf.Tensor,
        found: InBatch,
    ) -> tuple[Any, Any]:
        """Returns the mean over rows of each contrast."""
        num_rows, at_once = batch.users.shape[0], self.options.contrast_rows
        if not 0 < at_once < num_rows:
            interest, conformity = self.contrast(queries, items, found)
            return interest, conformity
        sums = [0.0, 0.0]
        for start in range(0, num_rows, at_once):
            rows = slice(start, min(start + at_once, num_rows))
            part = InBatch.of(batch.users[rows], batch.positives[rows])
            means = self.contrast(queries[rows], towers.items(part.items), part)
            size = rows.stop - rows.start
            sums = [
                total + size * mean for total, mean in zip(sums, means, strict=True)
            ]
        return sums[0] / num_rows, sums[1] / num_rows
