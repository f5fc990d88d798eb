"""What methods share whose click may be BPR or in-batch softmax, on any similarity."""

from typing import Any

import tensorflow as tf

from tfcausal.layers.embedding import similar
from tfcausal.layers.softmax import InBatchSoftmax
from tfcausal.losses.pairwise import bpr, mean_over
from tfcausal.methods.options import ClickOptions
from tfcausal.methods.towers import Towers
from tfcausal.methods.triplets import TripletBatch, TripletMethod
from tfcausal.samplers.in_batch import InBatch
from tfcausal.stats.negatives import NegativeSampling, Uniform


class ClickMethod(TripletMethod):
    """Base of methods with ClickOptions."""

    options_class = ClickOptions
    options: ClickOptions

    def make_weights(self) -> None:
        """Makes the loss of clicks where it is the softmax."""
        if self.options.click_loss == "softmax":
            self.softmax = InBatchSoftmax(
                self.window.drawn,
                temperature=self.options.temperature,
                log_q=self.options.log_q,
            )

    def negative_sampling(self) -> NegativeSampling | None:
        """Returns uniform negatives for BPR; softmax takes the batch."""
        if self.options.click_loss == "softmax":
            return None
        return Uniform(self.options.num_negatives)

    def has_batch_negatives(self) -> bool:
        """Whether clicks are learned by softmax, also where pairs serve other terms."""
        return self.options.click_loss == "softmax"

    def fold_queries(self, embedded: tf.Tensor) -> tf.Tensor:
        """Normalises where the score is a cosine."""
        return similar(embedded, self.causes(), self.options.similarity)[:, None, :]

    def fold_candidates(self, embedded: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """Normalises where the score is a cosine."""
        return similar(embedded, self.causes(), self.options.similarity)

    def click(
        self,
        batch: TripletBatch,
        towers: Towers,
        users: tf.Tensor,
        *,
        met: tuple[InBatch, tf.Tensor] | None = None,
        weights: tf.Tensor | None = None,
    ) -> Any:
        """Returns the mean loss of the clicks of a batch, [] float32.

        Args:
            batch: The batch.
            towers: Where to look items up.
            users: [batch, dim] float32 from the tower of users.
            met: What the rows of the batch have in common, and from the tower of items
                the vectors of its distinct ones; None to find both where needed.
            weights: [batch] float32 of the rows; None for 1. The mean is not divided by
                them.
        """
        queries = self.fold_queries(users)
        if self.options.click_loss == "softmax":
            if met is None:
                found = InBatch.of(batch.users, batch.positives)
                met = found, towers.items(found.items)
            found, items = met
            candidates = self.fold_candidates(items, found.items)
            return self.softmax(queries[:, 0], candidates, found, weights)
        pairs = self.fold_candidates(towers.items(batch.items), batch.items)
        scores = tf.reduce_sum(queries * pairs, axis=-1) / self.options.temperature
        losses = bpr(scores[:, :1], scores[:, 1:])
        if weights is not None:
            losses = weights[:, None] * losses
        return mean_over(losses, batch.exists)
