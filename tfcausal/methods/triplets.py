"""What methods share whose users and items have a row each in a table."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import tensorflow as tf

from tfcausal.data.side_features import FeatureTables
from tfcausal.layers.embedding import CausalEmbedding
from tfcausal.layers.feature_tower import FeatureTower
from tfcausal.layers.propagation import Propagation
from tfcausal.methods.base import Method
from tfcausal.methods.options import PairOptions, TowerOptions
from tfcausal.methods.towers import (
    Lookup,
    Towers,
    lookup,
    make_feature_towers,
    make_propagation,
    propagated,
)
from tfcausal.schema.dataset import TRAINING_PARTS
from tfcausal.stats import mixing
from tfcausal.stats.negatives import NegativeSampling, Uniform


@dataclass(frozen=True)
class TripletBatch:
    """One batch of positives with their negatives.

    Methods that draw no negatives have None for all that is said of these.

    Attributes:
        users: [batch] int32.
        positives: [batch] int32 items.
        negatives: [batch, num_negatives] int32 items.
        case: [batch, num_negatives] int8, CASE_ constants of stats.negatives.
        support: [batch, num_negatives] int32; see `stats.negatives.Negatives`. 0 marks
            a negative that does not exist.
        log_q: [batch, num_negatives] float32 <= 0: log-probability of each draw. None
            is -log(support), which holds for the laws that training draws by itself.
        facts: [batch] int32 each: the row facts that the method asked for, by name.
    """

    users: tf.Tensor
    positives: tf.Tensor
    negatives: tf.Tensor = None
    case: tf.Tensor = None
    support: tf.Tensor = None
    log_q: tf.Tensor = None
    facts: Mapping[str, tf.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.log_q is None and self.support is not None:
            support = tf.cast(tf.maximum(self.support, 1), tf.float32)
            object.__setattr__(self, "log_q", -tf.math.log(support))

    @classmethod
    def from_columns(cls, columns: Mapping[str, tf.Tensor]) -> "TripletBatch":
        """Makes a batch of what training reads: fields, and row facts beside them."""
        fields = {name for name in cls.__dataclass_fields__ if name != "facts"}
        return cls(
            **{name: value for name, value in columns.items() if name in fields},
            facts={
                name: value for name, value in columns.items() if name not in fields
            },
        )

    @property
    def items(self) -> tf.Tensor:
        """[batch, 1 + num_negatives] int32: the positive, then its negatives."""
        return tf.concat([self.positives[:, None], self.negatives], axis=1)

    @property
    def exists(self) -> tf.Tensor:
        """[batch, num_negatives] bool: negatives that exist."""
        return self.support > 0


class TripletMethod(Method):
    """Base of methods that learn from users, their items and negatives.

    A subclass says who its negatives are and what its loss terms are, on any backbone.

    Attributes:
        users: The table of users.
        items: The table of items.
        user_tower: What users' features add; None without them.
        item_tower: What items' features add; None without them.
    """

    options: TowerOptions

    def make_towers(self, features: FeatureTables | None, seed: int) -> None:
        """Makes both tables, and the graph or the features of the backbone."""
        dims = self.cause_dims()
        self.users = CausalEmbedding(self.num_users, dims, seed=seed, name="users")
        self.items = CausalEmbedding(self.num_items, dims, seed=seed, name="items")
        self.users.build(None)
        self.items.build(None)
        self._propagation: Propagation | None = None
        self.user_tower: FeatureTower | None = None
        self.item_tower: FeatureTower | None = None
        if self.options.backbone == "lightgcn":
            rows = self.window.read_rows(self.graph_parts())
            self._propagation = make_propagation(
                self.options, rows, self.num_users, self.num_items
            )
        elif self.options.backbone == "features":
            self.user_tower, self.item_tower = make_feature_towers(
                self.options, features, self.users, self.items, seed
            )
        self._dropout_stream = mixing.stream(seed, "feature_dropout") >> 1

    def graph_parts(self) -> tuple[str, ...]:
        """Returns the parts of the split whose rows are LightGCN's graph."""
        return TRAINING_PARTS

    def row_facts(self) -> tuple[str, ...]:
        """Returns the names in ROW_FACTS of what each training row must come with."""
        return ()

    @abstractmethod
    def negative_sampling(self) -> NegativeSampling | None:
        """Returns the law of the negatives; None if other rows of a batch serve."""

    def has_batch_negatives(self) -> bool:
        """Whether rows are negatives of each other, corrected by their share (logQ)."""
        return self.negative_sampling() is None

    @abstractmethod
    def loss_terms(
        self, batch: TripletBatch, towers: Towers
    ) -> Mapping[str, tf.Tensor]:
        """Returns each loss term of a batch, unweighted scalars.

        Args:
            batch: The batch.
            towers: Where to look vectors up, as the step has them.
        """

    def batch_terms(
        self, inputs: Mapping[str, tf.Tensor], *, training: bool
    ) -> Mapping[str, tf.Tensor]:
        """Returns the loss terms of a batch of triplets."""
        batch = TripletBatch.from_columns(inputs)
        return self.loss_terms(batch, self.towers(training=training))

    def towers(self, *, training: bool) -> Towers:
        """Returns where vectors are looked up; a graph is propagated once for all.

        Args:
            training: Whether this is a step of training, which has feature dropout.
        """
        if self._propagation is not None:
            seed = self.dropout_seed() if training else None
            return propagated(self._propagation, self.users, self.items, seed)
        step = self.step_number() if training else None
        return Towers(
            lookup(self.users, self.user_tower, step),
            lookup(self.items, self.item_tower, step),
            training,
        )

    def fold_queries(self, embedded: tf.Tensor) -> tf.Tensor:
        """Makes queries of users' vectors, so that the score is an inner product.

        Args:
            embedded: [batch, dim] float32 from the tower of users.
        Returns:
            [batch, num_queries, dim of `causes`] float32.
        """
        return embedded[:, None, :]

    def fold_candidates(self, embedded: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """Makes candidates of items' vectors, so that the score is an inner product.

        Args:
            embedded: [batch, dim] float32 from the tower of items.
            items: [batch] int32 the items.
        Returns:
            [batch, dim of `causes`] float32.
        """
        return embedded

    def serving_towers(self) -> Towers:
        """Returns where the vectors that recommend are looked up, not yet folded."""
        return self.towers(training=False)

    def serving_feature_towers(self) -> tuple[FeatureTower | None, FeatureTower | None]:
        """Returns what features add to users' and items' vectors that recommend."""
        return self.user_tower, self.item_tower

    def lookups(self) -> tuple[Lookup, Lookup]:
        """Returns where users' queries and items' candidates are looked up."""
        towers = self.serving_towers()
        return (
            lambda users: self.fold_queries(towers.users(users)),
            lambda items: self.fold_candidates(towers.items(items), items),
        )

    def dropout_seed(self) -> tf.Tensor:
        """Returns [2] int64: the stream of the feature dropout, and the step."""
        return tf.stack([self._dropout_stream, self.step_number()])


class PairMethod(TripletMethod):
    """Base of methods that learn from pairs with uniform negatives."""

    options_class = PairOptions
    options: PairOptions

    def negative_sampling(self) -> NegativeSampling:
        """Returns uniform negatives."""
        return Uniform(self.options.num_negatives)

    def pair_scores(self, batch: TripletBatch, towers: Towers) -> tf.Tensor:
        """Returns the inner products of a batch's positives and negatives.

        Returns:
            [batch, 1 + num_negatives] float32: the positive's, then its negatives'.
        """
        queries = towers.users(batch.users)
        return tf.einsum("bd,bkd->bk", queries, towers.items(batch.items))
