"""What a method is: vectors whose coordinates have causes, and named loss terms."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import tensorflow as tf

from tfcausal.data.interactions import CheckedDataset
from tfcausal.data.side_features import FeatureTables
from tfcausal.data.train_window import TrainWindow
from tfcausal.errors import InputError
from tfcausal.keras_compat import keras, tfrs
from tfcausal.layers.embedding import cause_slices
from tfcausal.methods.options import MethodOptions
from tfcausal.methods.towers import Lookup
from tfcausal.schema.vectors import CausalVectors, Float32s

_BLOCK_ROWS = 8_192
"""Rows whose vectors are made at once: what a tower makes on the way is wide."""


class Method(tfrs.Model):
    """Base of all methods: queries of users, candidates of items, causes.

    A subclass says which coordinates have which cause, what its towers are and what its
    loss terms are; training, evaluation, export, index and explanation follow. Users
    have a row each in a table (`methods.triplets`), or a history
    (`methods.histories`).

    Attributes:
        registered_name: Name under which command lines know the method.
        options_class: The method's options, a subclass of MethodOptions.
        num_users: Rows of the user vocabulary, the unknown one included.
        num_items: Rows of the item vocabulary, the unknown one included.
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
        self.num_users = num_users
        self.num_items = num_items
        self._window = window
        self.make_towers(features, seed)
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
    ) -> Self:
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

    @abstractmethod
    def make_towers(self, features: FeatureTables | None, seed: int) -> None:
        """Makes the tables and what stands on them.

        Args:
            features: The features of users and items, if there are any.
            seed: Seed of the initial values.
        """

    def make_weights(self) -> None:
        """Makes what a method has beside its two towers; most have nothing."""

    @abstractmethod
    def cause_dims(self) -> Mapping[str, int]:
        """Returns the number of coordinates of each cause, in order."""

    def initial_term_weights(self) -> Mapping[str, float]:
        """Returns the weight of each loss term in the first epoch: the click alone."""
        return {"click": 1.0}

    @abstractmethod
    def batch_terms(
        self, inputs: Mapping[str, tf.Tensor], *, training: bool
    ) -> Mapping[str, tf.Tensor]:
        """Returns each loss term of a batch, unweighted scalars.

        Args:
            inputs: The columns of a batch by name.
            training: Whether the model is being trained.
        """

    def term_weight_decays(self) -> Mapping[str, float]:
        """Returns the factor on terms' weights after each epoch; others keep theirs."""
        return {}

    def causes(self) -> dict[str, slice]:
        """Returns which coordinates of the vectors belong to which cause."""
        return cause_slices(self.cause_dims())

    @abstractmethod
    def lookups(self) -> tuple[Lookup, Lookup]:
        """Returns where the vectors that recommend are looked up by row.

        What is the same for all rows, such as a graph's propagation, is done once.

        Returns:
            From users [batch] to queries float32 [batch, num_queries, dim], and from
            items [batch] to candidates float32 [batch, dim].
        """

    def query_vectors(self, users: tf.Tensor) -> tf.Tensor:
        """Returns float32 [batch, num_queries, dim] of int32 users [batch]."""
        queries, _ = self.lookups()
        return queries(users)

    def candidate_vectors(self, items: tf.Tensor) -> tf.Tensor:
        """Returns float32 [batch, dim] of int32 items [batch]."""
        _, candidates = self.lookups()
        return candidates(items)

    def vectors(self) -> CausalVectors:
        """Returns the vectors of all users and items, for all that comes after."""
        queries, candidates = self.lookups()
        return CausalVectors(
            queries=in_blocks(queries, self.num_users),
            candidates=in_blocks(candidates, self.num_items),
            causes=self.causes(),
        )

    def step_number(self) -> tf.Tensor:
        """Returns [] int64: the number of the step, which a restart keeps."""
        step = 0 if self.optimizer is None else self.optimizer.iterations
        return tf.cast(step, tf.int64)

    def compute_loss(
        self, inputs: Mapping[str, tf.Tensor], training: bool = False
    ) -> tf.Tensor:
        """Returns the weighted sum of the loss terms and records each of them.

        Args:
            inputs: The columns of a batch by name.
            training: Whether the model is being trained.
        """
        terms = self.batch_terms(inputs, training=training)
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


def in_blocks(vectors_of: Lookup, num_rows: int) -> Float32s:
    """Makes vectors of all rows, some thousand at a time.

    Args:
        vectors_of: From int32 rows [batch] to vectors float32 [batch, ...].
        num_rows: How many rows there are.
    """
    blocks = [
        vectors_of(tf.range(first, min(first + _BLOCK_ROWS, num_rows))).numpy()
        for first in range(0, num_rows, _BLOCK_ROWS)
    ]
    return np.concatenate(blocks)
