"""What served models share that hold a method's weights, not its vectors alone."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfcausal.methods.base import Method
from tfcausal.schema.vectors import CausalVectors
from tfcausal.serving.signatures import ServingModel


class MethodServingModel(ServingModel):
    """Also answers for those whose query the method makes of what a request brings."""

    def __init__(
        self,
        vectors: CausalVectors,
        *,
        method: Method,
        weights: Mapping[str, float],
        **given: Any,
    ) -> None:
        """Makes the model's variables and tables.

        Args:
            vectors: Of all users and items, calibrated or as trained.
            method: The model whose vectors these are.
            weights: Cause to the weight that was calibrated; missing ones are 1.
            **given: For ServingModel.
        """
        super().__init__(vectors, **given)
        causes = method.causes()
        self._trained_dim = max(part.stop for part in causes.values())
        factors = np.ones(self._trained_dim, np.float32)
        for cause, part in causes.items():
            factors[part] = weights.get(cause, 1.0)
        self._factors = factors
        # Of the method only the variables are a part of this one, and are saved.
        self.learned = method.variables
        self.take(method)

    @abstractmethod
    def take(self, method: Any) -> None:
        """Keeps what queries are made by.

        Args:
            method: A model of the kind that is served.
        """

    def _calibrated(self, queries: tf.Tensor) -> tf.Tensor:
        """Returns queries as trained, [B, num_queries, any], as all others are."""
        added = [[0, 0], [0, 0], [0, self._dim - self._trained_dim]]
        return tf.pad(queries * self._factors, added, constant_values=1.0)
