"""What a method is: vectors whose coordinates have causes, and named loss terms."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tfcausal.data.interactions import CheckedDataset
from tfcausal.data.side_features import FeatureTables
from tfcausal.data.train_window import TrainWindow
from tfcausal.errors import InputError
from tfcausal.keras_compat import keras, tfrs
from tfcausal.layers.embedding import CausalEmbedding, cause_slices
from tfcausal.layers.feature_tower import FeatureTower
from tfcausal.layers.propagation import Propagation
from tfcausal.methods.options import MethodOptions, PairOptions
from tfcausal.methods.towers import (
    Lookup,
    Towers,
    lookup,
    make_feature_towers,
    make_propagation,
    propagated,
)
from tfcausal.schema.dataset import TRAINING_PARTS
from tfcausal.schema.vectors import CausalVectors, Float32s
from tfcausal.stats import mixing
from tfcausal.stats.negatives import NegativeSampling, Uniform

_BLOCK_ROWS = 65_536
"""Rows whose vectors are made at once: a perceptron's input is wide."""


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


class Method(tfrs.Model):
    """Base of all methods: a two-tower model of users and items.

    A subclass says which coordinates have which cause, who its negatives are and what
    its loss terms are; training, evaluation, export, index and explanation follow.

    Attributes:
        registered_name: Name under which command lines know the method.
        options_class: The method's options, a subclass of MethodOptions.
        user_tower: What users' features add; None without them.
        item_tower: What items' features add; None without them.
    """

    registered_name: ClassVar[str]
    options_class: ClassVar[type[MethodOptions]] = MethodOptions

    def __init__(
        self,
        options: Any,
        *,
        num_users: int,
        num_items: int,
        window: TrainWindow | None = None,
        features: FeatureTables | None = None,
        seed: int = 0,
    ) -> None:
        """Makes the towers.

        Args:
            options: An instance of `options_class`.
            num_users: Rows of the user vocabulary, the unknown one included.
            num_items: Rows of the item vocabulary, the unknown one included.
            window: The training rows as a whole; many methods do without.
            features: The features of users and items, for the backbone that takes them.
            seed: Seed of the initial values.
        """
        super().__init__(name=self.registered_name)
        self.options = options
        self._window = window
        dims = self.cause_dims()
        self.users = CausalEmbedding(num_users, dims, seed=seed, name="users")
        self.items = CausalEmbedding(num_items, dims, seed=seed, name="items")
        self.users.build(None)
        self.items.build(None)
        self._propagation: Propagation | None = None
        self.user_tower: FeatureTower | None = None
        self.item_tower: FeatureTower | None = None
        if options.backbone == "lightgcn":
            rows = self.window.read_rows(self.graph_parts())
            self._propagation = make_propagation(options, rows, num_users, num_items)
        elif options.backbone == "features":
            self.user_tower, self.item_tower = make_feature_towers(
                options, features, self.users, self.items, seed
            )
        self._dropout_stream = mixing.stream(seed, "feature_dropout") >> 1
        self.term_weights = {
            name: tf.Variable(weight, trainable=False, name=f"{name}_weight")
            for name, weight in self.initial_term_weights().items()
        }
        self._means = {
            name: keras.metrics.Mean(name=name)
            for name in ["loss", *self.initial_term_weights()]
        }
        self.make_weights()

    @classmethod
    def of_dataset(
        cls, dataset: CheckedDataset, options: Any = None, *, seed: int = 0
    ) -> "Method":
        """Makes the method for a data set with a split and its popularity.

        Args:
            dataset: The data set.
            options: An instance of `options_class`; None for its defaults.
            seed: Seed of the initial values.
        """
        return cls(
            cls.options_class() if options is None else options,
            num_users=dataset.num_users,
            num_items=dataset.num_items,
            window=TrainWindow.of(dataset),
            features=FeatureTables(dataset.folder),
            seed=seed,
        )

    @property
    def window(self) -> TrainWindow:
        """The training rows as a whole.

        Raises:
            InputError: If the method was made without them.
        """
        if self._window is None:
            raise InputError(
                f"`window` must be given for the method {self.registered_name}, which "
                "looks at all training rows; got none. Make it with `of_dataset`."
            )
        return self._window

    def make_weights(self) -> None:
        """Makes what a method has beside its two towers; most have nothing."""

    def graph_parts(self) -> tuple[str, ...]:
        """Returns the parts of the split whose rows are LightGCN's graph."""
        return TRAINING_PARTS

    def row_facts(self) -> tuple[str, ...]:
        """Returns the names in ROW_FACTS of what each training row must come with."""
        return ()

    @abstractmethod
    def cause_dims(self) -> Mapping[str, int]:
        """Returns the number of coordinates of each cause, in order."""

    @abstractmethod
    def negative_sampling(self) -> NegativeSampling | None:
        """Returns the law of the negatives; None if other rows of a batch serve."""

    def initial_term_weights(self) -> Mapping[str, float]:
        """Returns the weight of each loss term in the first epoch: the click alone."""
        return {"click": 1.0}

    @abstractmethod
    def loss_terms(
        self, batch: TripletBatch, towers: Towers
    ) -> Mapping[str, tf.Tensor]:
        """Returns each loss term of a batch, unweighted scalars.

        Args:
            batch: The batch.
            towers: Where to look vectors up, as the step has them.
        """

    def term_weight_decays(self) -> Mapping[str, float]:
        """Returns the factor on terms' weights after each epoch; others keep theirs."""
        return {}

    def causes(self) -> dict[str, slice]:
        """Returns which coordinates of the vectors belong to which cause."""
        return cause_slices(self.cause_dims())

    def towers(self, *, training: bool) -> Towers:
        """Returns where vectors are looked up; a graph is propagated once for all.

        Args:
            training: Whether this is a step of training, which has feature dropout.
        """
        if self._propagation is not None:
            seed = self.dropout_seed() if training else None
            return propagated(self._propagation, self.users, self.items, seed)
        step = self._step() if training else None
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
        """Returns where the vectors that recommend are looked up."""
        return self.towers(training=False)

    def serving_feature_towers(self) -> tuple[FeatureTower | None, FeatureTower | None]:
        """Returns what features add to users' and items' vectors that recommend."""
        return self.user_tower, self.item_tower

    def query_vectors(self, users: tf.Tensor) -> tf.Tensor:
        """Returns float32 [batch, num_queries, dim] of int32 users [batch]."""
        return self.fold_queries(self.serving_towers().users(users))

    def candidate_vectors(self, items: tf.Tensor) -> tf.Tensor:
        """Returns float32 [batch, dim] of int32 items [batch]."""
        return self.fold_candidates(self.serving_towers().items(items), items)

    def vectors(self) -> CausalVectors:
        """Returns the vectors of all users and items, for all that comes after."""
        towers = self.serving_towers()
        return CausalVectors(
            queries=_in_blocks(
                lambda rows: self.fold_queries(towers.users(rows)), self.users.num_rows
            ),
            candidates=_in_blocks(
                lambda rows: self.fold_candidates(towers.items(rows), rows),
                self.items.num_rows,
            ),
            causes=self.causes(),
        )

    def _step(self) -> tf.Tensor:
        """Returns [] int64: the number of the step, which a restart keeps."""
        step = 0 if self.optimizer is None else self.optimizer.iterations
        return tf.cast(step, tf.int64)

    def dropout_seed(self) -> tf.Tensor:
        """Returns [2] int64: the stream of the feature dropout, and the step."""
        return tf.stack([self._dropout_stream, self._step()])

    def compute_loss(
        self, inputs: Mapping[str, tf.Tensor], training: bool = False
    ) -> tf.Tensor:
        """Returns the weighted sum of the loss terms and records each of them.

        Args:
            inputs: The fields of TripletBatch by name.
            training: Whether the model is being trained.
        """
        batch = TripletBatch.from_columns(inputs)
        terms = self.loss_terms(batch, self.towers(training=training))
        loss = tf.add_n(
            [self.term_weights[name] * term for name, term in terms.items()]
        )
        for name, value in {"loss": loss, **terms}.items():
            self._means[name].update_state(value)
        return loss

    def train_step(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Takes one step; the log shows each term's mean over the epoch so far."""
        with tf.GradientTape() as tape:
            loss = self.compute_loss(inputs, training=True)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(
            zip(gradients, self.trainable_variables, strict=True)
        )
        return {name: mean.result() for name, mean in self._means.items()}

    def test_step(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Computes the loss terms of a batch without learning."""
        self.compute_loss(inputs)
        return {name: mean.result() for name, mean in self._means.items()}


def _in_blocks(vectors_of: Lookup, num_rows: int) -> Float32s:
    blocks = [
        vectors_of(tf.range(first, min(first + _BLOCK_ROWS, num_rows))).numpy()
        for first in range(0, num_rows, _BLOCK_ROWS)
    ]
    return np.concatenate(blocks)


class PairMethod(Method):
    """Base of methods that learn from pairs with uniform negatives."""

    options_class = PairOptions

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
