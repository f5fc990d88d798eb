"""What the signatures that take features must answer, computed without them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from tfcausal.data.side_features import read_texts
from tfcausal.layers.feature_tower import FeatureTower
from tfcausal.methods.triplets import TripletMethod
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.dataset import DatasetFolder
from tfcausal.schema.vectors import CausalVectors, Float32s
from tfcausal.serving.live_answers import (
    LiveAnswers,
    Wishes,
    evenly,
    in_examples,
    unused_name,
)
from tfcausal.stats.negatives import Int32s


@dataclass(frozen=True)
class FeatureAnswers:
    """Answers by the towers as training had them, from codes instead of texts.

    Attributes:
        method: The model, with its feature towers.
        folder: The data set that it was trained on.
        live: Answers by id, from vectors that are calibrated or as trained.
        calibrated: Makes such vectors of those as trained.
        norm_power: What it shortens items' vectors of the first cause by.
    """

    method: TripletMethod
    folder: DatasetFolder
    live: LiveAnswers
    calibrated: Callable[[CausalVectors], CausalVectors]
    norm_power: float

    def cases(self, k: int, *, num_rows: int = 6) -> list[dict[str, Any]]:
        """Returns requests to every signature of features with their answers.

        Users and items are asked for by their own id and features, by their own id with
        another's features, and by an unknown id with their features.

        Args:
            k: Length of the lists.
            num_rows: So many users and items at most, evenly over their vocabularies.
        Returns:
            Cases as `check_saved_model` reads them.
        """
        cases = []
        of_users, of_items = self.method.serving_feature_towers()
        if of_users is not None:
            cases += self._of_users(of_users, k, num_rows)
        if of_items is not None:
            cases.append(self._of_items(of_items, num_rows))
        return cases

    def _of_users(
        self, tower: FeatureTower, k: int, num_rows: int
    ) -> list[dict[str, Any]]:
        own = evenly(len(self.live.users), num_rows)
        owners, rows = _pairs(own)
        trained = self.method.fold_queries(_live(tower, owners, rows)).numpy()
        by_features = self.calibrated(
            CausalVectors(trained, self._raw_candidates(), self.method.causes())
        ).queries
        queries = np.concatenate(
            [self.live.vectors.queries[own], by_features[len(own) :]], axis=0
        )
        known = (owners != UNKNOWN_INDEX).tolist()
        inputs = {
            "user_id": _names(self.live.users, owners),
            **read_texts(self.folder.user_features, tower.features, rows),
        }
        answers = replace(
            self.live,
            # In the place of users: those who are asked for, one after the other.
            vectors=replace(
                self.live.vectors,
                queries=np.concatenate([np.zeros_like(queries[:1]), queries]),
            ),
            users=["", *inputs["user_id"]],
            seen=self.live.seen.chosen(
                np.append(UNKNOWN_INDEX, owners).astype(np.int32)
            ),
        )
        weights = {
            cause: np.linspace(0, 2, len(owners)) if place else np.ones(len(owners))
            for place, cause in enumerate(self.live.vectors.causes)
        }
        excluded = [[self.live.items[-1], ""] for _ in owners]
        nothing = [[""] for _ in owners]
        wishes = Wishes(k, weights, excluded, nothing, exclude_seen=True)
        asked = np.arange(1, len(owners) + 1, dtype=np.int32)
        listed = {
            "signature": "recommend_of_features",
            "inputs": {**inputs, **wishes.inputs()},
            "expected": {**answers.lists(asked, wishes), "known_user": known},
        }
        return [
            {
                "signature": "user_embedding_of_features",
                "inputs": inputs,
                "expected": {"embedding": queries.tolist(), "known_user": known},
            },
            listed,
            in_examples(listed),
        ]

    def _of_items(self, tower: FeatureTower, num_rows: int) -> dict[str, Any]:
        own = evenly(len(self.live.items), num_rows)
        owners, rows = _pairs(own)
        causes = self.method.causes()
        trained = self.method.fold_candidates(
            _live(tower, owners, rows), owners
        ).numpy()
        nobody = np.zeros((1, 1, trained.shape[1]), np.float32)
        changed = CausalVectors(nobody, trained, causes).shortened(
            next(iter(causes)), self.norm_power
        )
        # What calibration adds to an item does not depend on its features.
        added = self.live.vectors.candidates[owners, trained.shape[1] :]
        embedding = np.concatenate([changed.candidates, added], axis=1)
        embedding[: len(own)] = self.live.vectors.candidates[own]
        return {
            "signature": "item_embedding_of_features",
            "inputs": {
                "item_id": _names(self.live.items, owners),
                **read_texts(self.folder.item_features, tower.features, rows),
            },
            "expected": {
                "embedding": embedding.tolist(),
                "known_item": (owners != UNKNOWN_INDEX).tolist(),
            },
        }

    def _raw_candidates(self) -> Float32s:
        """Returns [num_items, dim as trained], beside which queries are calibrated."""
        dim = max(part.stop for part in self.method.causes().values())
        return self.live.vectors.candidates[:, :dim]


def _pairs(own: Int32s) -> tuple[Int32s, Int32s]:
    """Returns whose id and whose features go together."""
    nobody = np.full_like(own, UNKNOWN_INDEX)
    return np.concatenate([own, own, nobody]), np.concatenate([own, own[::-1], own])


def _live(tower: FeatureTower, owners: Int32s, rows: Int32s) -> tf.Tensor:
    return tower(tf.constant(rows), tf.constant(owners))


def _names(known: Sequence[str], rows: Int32s) -> list[str]:
    stranger = unused_name(known)
    return [known[row] if row != UNKNOWN_INDEX else stranger for row in rows.tolist()]
