"""What served models share that hold a method's weights, not its vectors alone."""

from abc import abstractmethod
from typing import Any

import numpy as np
import tensorflow as tf

from tfcausal.evaluation.calibration import Calibration
from tfcausal.methods.base import Method
from tfcausal.schema.vectors import SHORTEST, CausalVectors
from tfcausal.serving.signatures import ServingModel


class MethodServingModel(ServingModel):
    """Also answers for those whose query the method makes of what a request brings."""

    def __init__(
        self,
        vectors: CausalVectors,
        *,
        method: Method,
        calibration: Calibration | None,
        **given: Any,
    ) -> None:
        """Makes the model's variables and tables.

        Args:
            vectors: Of all users and items, calibrated or as trained.
            method: The model whose vectors these are.
            calibration: What the vectors were changed by; None for as trained.
            **given: For ServingModel.
        """
        super().__init__(vectors, **given)
        causes = method.causes()
        weights = {} if calibration is None else calibration.weights
        self._trained_dim = max(part.stop for part in causes.values())
        factors = np.ones(self._trained_dim, np.float32)
        for cause, part in causes.items():
            factors[part] = weights.get(cause, 1.0)
        self._factors = factors
        self._first_cause = next(iter(causes.values()))
        self._norm_power = 0.0 if calibration is None else calibration.norm_power
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

    def _shortened(self, items: tf.Tensor) -> tf.Tensor:
        """Returns items as trained, [B, dim], as `CausalVectors.shortened` has them."""
        if not self._norm_power:
            return items
        first = items[:, self._first_cause]
        norms = tf.maximum(tf.norm(first, axis=1, keepdims=True), SHORTEST)
        rest = items[:, self._first_cause.stop :]
        return tf.concat([first / norms**self._norm_power, rest], axis=1)
