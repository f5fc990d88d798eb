"""What served models share that hold a method's weights, not its vectors alone."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcausal.evaluation.ranking import ItemLists
from tfcausal.methods.base import Method
from tfcausal.schema.vectors import CausalVectors
from tfcausal.serving.signatures import ServingModel
from tfcausal.stats.negatives import Int64s


class MethodServingModel(ServingModel):
    """Also answers for those whose query the method makes of what a request brings."""

    def __init__(
        self,
        vectors: CausalVectors,
        *,
        method: Method,
        weights: Mapping[str, float],
        users: Path,
        items: Path,
        seen: ItemLists,
        popularity: Int64s,
        k: int,
    ) -> None:
        """Makes the model's variables and tables.

        Args:
            vectors: Of all users and items, calibrated or as trained.
            method: The model whose vectors these are.
            weights: Cause to the weight that was calibrated; missing ones are 1.
            users: File of user ids; see ServingModel.
            items: File of item ids.
            seen: Items of each user that `exclude_seen` leaves out.
            popularity: [num_items] int64, what an unknown user is answered by.
            k: Length of the lists of `serving_default`.
        """
        super().__init__(
            vectors, users=users, items=items, seen=seen, popularity=popularity, k=k
        )
        causes = method.causes()
        self._trained_dim = max(part.stop for part in causes.values())
        factors = np.ones(self._trained_dim, np.float32)
        for cause, part in causes.items():
            factors[part] = weights.get(cause, 1.0)
        self._factors = factors
        # Of the method only the variables are a part of this one, and are saved.
        self.learned = method.variables

    def _calibrated(self, queries: tf.Tensor) -> tf.Tensor:
        """Returns queries as trained, [B, num_queries, any], as all others are."""
        added = [[0, 0], [0, 0], [0, self._dim - self._trained_dim]]
        return tf.pad(queries * self._factors, added, constant_values=1.0)
