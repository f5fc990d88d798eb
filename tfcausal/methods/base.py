"""What a method is: vectors whose coordinates have causes, and named loss terms."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import tensorflow as tf

from tfcausal.errors import InputError
from tfcausal.keras_compat import keras, tfrs
from tfcausal.layers.embedding import CausalEmbedding, cause_slices
from tfcausal.schema.vectors import CausalVectors
from tfcausal.stats.negatives import NegativeSampling


@dataclass(frozen=True)
class MethodOptions:
    """Options that every method has.

    Attributes:
        learning_rate: Step size of the optimiser at the start.
        num_negatives: Negatives for each positive.
    """

    learning_rate: float = 1e-3
    num_negatives: int = 4

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise InputError(f"`learning_rate` must be > 0; got {self.learning_rate}.")


@dataclass(frozen=True)
class TripletBatch:
    """One batch of positives with their negatives.

    Attributes:
        users: [batch] int32.
        positives: [batch] int32 items.
        negatives: [batch, num_negatives] int32 items.
        case: [batch, num_negatives] int8, CASE_ constants of stats.negatives.
        support: [batch, num_negatives] int32; see `stats.negatives.Negatives`. 0 marks
            a negative that does not exist.
        log_q: [batch, num_negatives] float32 <= 0: log-probability of each draw. None
            is -log(support), which holds for the laws that training draws by itself.
    """

    users: tf.Tensor
    positives: tf.Tensor
    negatives: tf.Tensor
    case: tf.Tensor
    support: tf.Tensor
    log_q: tf.Tensor = None

    def __post_init__(self) -> None:
        if self.log_q is None:
            support = tf.cast(tf.maximum(self.support, 1), tf.float32)
            object.__setattr__(self, "log_q", -tf.math.log(support))

    @property
    def items(self) -> tf.Tensor:
        """[batch, 1 + num_negatives] int32: the positive, then its negatives."""
        return tf.concat([self.positives[:, None], self.negatives], axis=1)

    @property
    def exists(self) -> tf.Tensor:
        """[batch, num_negatives] bool: negatives that exist."""
        return self.support > 0


class Method(tfrs.Model):  # type: ignore[misc]
    """Base of all methods: a two-tower model of users and items.

    A subclass says which coordinates have which cause, who its negatives are and what
    its loss terms are; training, evaluation, export, index and explanation follow.

    Attributes:
        registered_name: Name under which command lines know the method.
        options_class: The method's options, a subclass of MethodOptions.
    """

    registered_name: ClassVar[str]
    options_class: ClassVar[type[MethodOptions]] = MethodOptions

    def __init__(
        self, options: Any, *, num_users: int, num_items: int, seed: int = 0
    ) -> None:
        """Makes the towers.

        Args:
            options: An instance of `options_class`.
            num_users: Rows of the user vocabulary, the unknown one included.
            num_items: Rows of the item vocabulary, the unknown one included.
            seed: Seed of the initial values.
        """
        super().__init__(name=self.registered_name)
        self.options = options
        dims = self.cause_dims()
        self.users = CausalEmbedding(num_users, dims, seed=seed, name="users")
        self.items = CausalEmbedding(num_items, dims, seed=seed, name="items")
        self.users.build(None)
        self.items.build(None)
        self.term_weights = {
            name: tf.Variable(weight, trainable=False, name=f"{name}_weight")
            for name, weight in self.initial_term_weights().items()
        }
        self._means = {
            name: keras.metrics.Mean(name=name)
            for name in ["loss", *self.initial_term_weights()]
        }

    @abstractmethod
    def cause_dims(self) -> Mapping[str, int]:
        """Returns the number of coordinates of each cause, in order."""

    @abstractmethod
    def negative_sampling(self) -> NegativeSampling:
        """Returns the law of the negatives."""

    @abstractmethod
    def initial_term_weights(self) -> Mapping[str, float]:
        """Returns the weight of each loss term in the first epoch."""

    @abstractmethod
    def loss_terms(self, batch: TripletBatch) -> Mapping[str, tf.Tensor]:
        """Returns each loss term of a batch, unweighted scalars."""

    def term_weight_decays(self) -> Mapping[str, float]:
        """Returns the factor on terms' weights after each epoch; others keep theirs."""
        return {}

    def causes(self) -> dict[str, slice]:
        """Returns which coordinates of the vectors belong to which cause."""
        return cause_slices(self.cause_dims())

    def query_vectors(self, users: tf.Tensor) -> tf.Tensor:
        """Returns float32 [batch, num_queries, dim] of int32 users [batch]."""
        return self.users(users)[:, None, :]

    def candidate_vectors(self, items: tf.Tensor) -> tf.Tensor:
        """Returns float32 [batch, dim] of int32 items [batch]."""
        return self.items(items)

    def vectors(self) -> CausalVectors:
        """Returns the vectors of all users and items, for all that comes after."""
        users = tf.range(self.users.num_rows)
        return CausalVectors(
            queries=self.query_vectors(users).numpy(),
            candidates=self.candidate_vectors(tf.range(self.items.num_rows)).numpy(),
            causes=self.causes(),
        )

    def compute_loss(
        self, inputs: Mapping[str, tf.Tensor], training: bool = False
    ) -> tf.Tensor:
        """Returns the weighted sum of the loss terms and records each of them.

        Args:
            inputs: The fields of TripletBatch by name.
            training: Whether the model is being trained.
        """
        terms = self.loss_terms(TripletBatch(**inputs))
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
