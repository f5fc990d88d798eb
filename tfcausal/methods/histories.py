"""What methods share whose users are histories: the last items that they met."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from tfcausal.data.side_features import FeatureTables
from tfcausal.layers.embedding import CausalEmbedding
from tfcausal.layers.history import HistoryEncoder
from tfcausal.layers.softmax import SampledSoftmax
from tfcausal.methods.base import Method
from tfcausal.methods.options import HistoryOptions
from tfcausal.methods.towers import Lookup
from tfcausal.stats.sequences import PAD

PREFERENCE = "preference"


@dataclass(frozen=True)
class HistoryBatch:
    """One batch of histories with what came next.

    Attributes:
        users: [batch] int32.
        histories: [batch, max_length] int32 items, the latest last, then `PAD`.
        lengths: [batch] int32 items of each history.
        targets: [batch] int32 the items that came next.
    """

    users: tf.Tensor
    histories: tf.Tensor
    lengths: tf.Tensor
    targets: tf.Tensor


@dataclass(frozen=True)
class EncodedBatch:
    """A batch and the vectors that its loss terms are made of.

    Attributes:
        batch: The batch.
        vectors: [batch, max_length, dim] float32 of the items of the histories.
        exists: [batch, max_length] bool, False at pads.
        targets: [batch, dim] float32 of the targets.
        queries: [batch, dim] float32, of a history's queries the one that the target
            scores highest with.
    """

    batch: HistoryBatch
    vectors: tf.Tensor
    exists: tf.Tensor
    targets: tf.Tensor
    queries: tf.Tensor


class HistoryMethod(Method):
    """Base of methods that encode histories and learn what comes next.

    A subclass names its encoder; its click term is the softmax over a sample of the
    items. There is no table of users: whoever has met an item has a query.

    Attributes:
        items: The table of items, of histories and candidates alike.
        encoder: From histories to queries.
    """

    options_class = HistoryOptions
    options: HistoryOptions

    def make_towers(self, features: FeatureTables | None, seed: int) -> None:
        """Makes the table of items, the encoder and the loss of clicks."""
        self.items = CausalEmbedding(
            self.num_items, self.cause_dims(), seed=seed, name="items"
        )
        self.items.build(None)
        self.encoder = self.make_encoder(seed)
        self.encoder.build(None)
        self.softmax = SampledSoftmax(
            self.window.popularity,
            law=self.options.negatives,
            num_sampled=self.options.num_sampled,
            log_q=self.options.log_q,
            seed=seed,
        )

    @abstractmethod
    def make_encoder(self, seed: int) -> HistoryEncoder:
        """Returns the encoder of histories, not built.

        Args:
            seed: Seed of the initial values.
        """

    def cause_dims(self) -> Mapping[str, int]:
        """Returns one cause: the preference, in which all causes are entangled."""
        return {PREFERENCE: self.options.embedding_dim}

    def queries_of(self, histories: tf.Tensor) -> tf.Tensor:
        """Returns the queries of histories, [n, num_queries, dim] float32.

        Args:
            histories: [n, length] int32 items, the latest last; `PAD` where there is
                none.
        """
        return self.encoder(self.items(histories), tf.not_equal(histories, PAD))

    def batch_terms(
        self, inputs: Mapping[str, tf.Tensor], *, training: bool
    ) -> Mapping[str, tf.Tensor]:
        """Returns `click`, the mean cross-entropy over a sample, and further terms."""
        batch = HistoryBatch(**inputs)
        encoded = self.encoded(batch)
        left_out = batch.histories
        if not self.options.mask_history:
            left_out = left_out[:, :0]
        click = self.softmax(
            encoded.queries,
            batch.targets,
            encoded.targets,
            self.items,
            left_out,
            self.step_number(),
        )
        return {"click": click, **self.further_terms(encoded, training=training)}

    def encoded(self, batch: HistoryBatch) -> EncodedBatch:
        """Returns a batch with the vectors of its items and of its histories."""
        vectors = self.items(batch.histories)
        exists = tf.not_equal(batch.histories, PAD)
        targets = self.items(batch.targets)
        queries = best_query(self.encoder(vectors, exists), targets)
        return EncodedBatch(batch, vectors, exists, targets, queries)

    def further_terms(
        self, encoded: EncodedBatch, *, training: bool
    ) -> Mapping[str, tf.Tensor]:
        """Returns loss terms beside the click, unweighted scalars; none by default.

        Args:
            encoded: The batch and its vectors.
            training: Whether the model is being trained.
        """
        return {}

    def lookups(self) -> tuple[Lookup, Lookup]:
        """Returns where users' queries are made of their histories, and candidates."""
        histories = tf.constant(self.window.read_histories(self.options.max_length))
        return lambda users: self.queries_of(tf.gather(histories, users)), self.items


def best_query(queries: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Returns of each row's queries the one that scores highest, [n, dim] float32.

    Reference: Cen et al., Controllable Multi-Interest Framework for Recommendation
    (ComiRec), KDD 2020, Eq. 9.

    Args:
        queries: [n, num_queries, dim] float32.
        targets: [n, dim] float32.
    """
    if queries.shape[1] == 1:
        return tf.squeeze(queries, 1)
    best = tf.argmax(tf.einsum("nqd,nd->nq", queries, targets), axis=1)
    return tf.gather(queries, best, batch_dims=1)
