"""Two towers on in-batch softmax: what industry trains, and the baseline to beat.

Reference: Yi et al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
Recommendations, RecSys 2019: loss Eq. 4, correction Eq. 5, cosine and temperature
section 4; as tfrs.tasks.Retrieval with temperature and sampling probabilities.
Deviations: the probability of an item is its count in the train window, not a running
estimate; the loss is a mean, not TFRS's sum; all items of a user in the batch are left
out of its negatives, not only the same item.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

from tfcausal.layers.embedding import similar
from tfcausal.layers.softmax import InBatchSoftmax
from tfcausal.methods.options import TowerOptions
from tfcausal.methods.registry import register
from tfcausal.methods.towers import Towers
from tfcausal.methods.triplets import TripletBatch, TripletMethod
from tfcausal.samplers.in_batch import InBatch


@dataclass(frozen=True)
class TwoTowerOptions(TowerOptions):
    """Options of two towers with in-batch softmax.

    Symbols: tau -> temperature

    Attributes:
        embedding_dim: Coordinates of a user's and an item's vector.
        learning_rate: Step size of the optimiser at the start.
        similarity: "cosine", or "product" for the inner product of plain vectors.
        temperature: What similarities are divided by; product does well with 1.
        log_q: How much of the log of an item's share of the rows is subtracted from its
            score: 1 for the full correction, 0 for none. Less leaves popular items
            lower.
    """

    embedding_dim: int = 128
    learning_rate: float = 1e-3
    similarity: Literal["cosine", "product"] = "cosine"
    temperature: float = 0.1
    log_q: float = 1.0


@register("two_tower")
class TwoTower(TripletMethod):
    """One vector a user, one an item, each row's item against the batch's others."""

    options_class = TwoTowerOptions
    options: TwoTowerOptions

    def make_weights(self) -> None:
        """Makes the loss, which knows the items' shares."""
        self.softmax = InBatchSoftmax(
            self.window.drawn,
            temperature=self.options.temperature,
            log_q=self.options.log_q,
        )

    def cause_dims(self) -> Mapping[str, int]:
        """Returns one cause: the preference, in which all causes are entangled."""
        return {"preference": self.options.embedding_dim}

    def negative_sampling(self) -> None:
        """Draws no negatives: the other rows of the batch serve."""

    def fold_queries(self, embedded: tf.Tensor) -> tf.Tensor:
        """Normalises for the cosine."""
        return similar(embedded, self.causes(), self.options.similarity)[:, None, :]

    def fold_candidates(self, embedded: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """Normalises for the cosine."""
        return similar(embedded, self.causes(), self.options.similarity)

    def loss_terms(
        self, batch: TripletBatch, towers: Towers
    ) -> Mapping[str, tf.Tensor]:
        """Returns `click`: the mean cross-entropy over the batch."""
        found = InBatch.of(batch.users, batch.positives)
        queries = self.fold_queries(towers.users(batch.users))[:, 0]
        candidates = self.fold_candidates(towers.items(found.items), found.items)
        return {"click": self.softmax(queries, candidates, found)}
