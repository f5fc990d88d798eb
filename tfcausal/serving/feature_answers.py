"""What the signatures that take features must answer, computed without them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfcausal.data.side_features import read_texts
from tfcausal.evaluation.ranking import ItemLists
from tfcausal.layers.feature_tower import FeatureTower
from tfcausal.methods.base import Method
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.dataset import DatasetFolder
from tfcausal.schema.vectors import CausalVectors, Float32s
from tfcausal.serving.live_answers import LiveAnswers, evenly, unused_name
from tfcausal.stats.negatives import Int32s, Int64s


class FeatureAnswers:
    """Answers by the towers as training had them, from codes instead of texts."""

    def __init__(
        self,
        method: Method,
        folder: DatasetFolder,
        vectors: CausalVectors,
        calibrated: Callable[[CausalVectors], CausalVectors],
        *,
        users: Sequence[str],
        items: Sequence[str],
        seen: ItemLists,
        popularity: Int64s,
    ) -> None:
        """Keeps what the answers come from.

        Args:
            method: The model, with its feature towers.
            folder: The data set that it was trained on.
            vectors: Of all users and items, calibrated or as trained.
            calibrated: Makes such vectors of those as trained.
            users: User ids by index, the unknown one at 0.
            items: Item ids by index, likewise.
            seen: Items of each user.
            popularity: [num_items] int64.
        """
        self._method = method
        self._folder = folder
        self._vectors = vectors
        self._calibrated = calibrated
        self._users = users
        self._items = items
        self._seen = seen
        self._popularity = popularity

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
        of_users, of_items = self._method.serving_feature_towers()
        if of_users is not None:
            cases += self._of_users(of_users, k, num_rows)
        if of_items is not None:
            cases.append(self._of_items(of_items, num_rows))
        return cases

    def _of_users(
        self, tower: FeatureTower, k: int, num_rows: int
    ) -> list[dict[str, Any]]:
        own = evenly(len(self._users), num_rows)
        owners, rows = _pairs(own)
        trained = self._method.fold_queries(_live(tower, owners, rows)).numpy()
        by_features = self._calibrated(
            CausalVectors(trained, self._raw_candidates(), self._method.causes())
        ).queries
        queries = np.concatenate(
            [self._vectors.queries[own], by_features[len(own) :]], axis=0
        )
        known = (owners != UNKNOWN_INDEX).tolist()
        inputs = {
            "user_id": _names(self._users, owners),
            **read_texts(self._folder.user_features, tower.features, rows),
        }
        answers = LiveAnswers(
            # In the place of users: those who are asked for, one after the other.
            CausalVectors(
                np.concatenate([np.zeros_like(queries[:1]), queries]),
                self._vectors.candidates,
                self._vectors.causes,
            ),
            users=["", *inputs["user_id"]],
            items=self._items,
            seen=self._seen.chosen(np.append(UNKNOWN_INDEX, owners).astype(np.int32)),
            popularity=self._popularity,
        )
        weights = {
            cause: np.linspace(0, 2, len(owners)) if place else np.ones(len(owners))
            for place, cause in enumerate(self._vectors.causes)
        }
        excluded = [[self._items[-1], ""] for _ in owners]
        asked = np.arange(1, len(owners) + 1, dtype=np.int32)
        lists = answers.lists(asked, weights, k, excluded, exclude_seen=True)
        wishes = {
            "k": k,
            "exclude_item_id": excluded,
            "exclude_seen": True,
            **{f"{cause}_weight": one.tolist() for cause, one in weights.items()},
        }
        return [
            {
                "signature": "user_embedding_of_features",
                "inputs": inputs,
                "expected": {"embedding": queries.tolist(), "known_user": known},
            },
            {
                "signature": "recommend_of_features",
                "inputs": {**inputs, **wishes},
                "expected": {**lists, "known_user": known},
            },
        ]

    def _of_items(self, tower: FeatureTower, num_rows: int) -> dict[str, Any]:
        own = evenly(len(self._items), num_rows)
        owners, rows = _pairs(own)
        trained = self._method.fold_candidates(_live(tower, owners, rows), owners)
        # What calibration adds to an item does not depend on its features.
        added = self._vectors.candidates[owners, trained.shape[1] :]
        embedding = np.concatenate([trained.numpy(), added], axis=1)
        embedding[: len(own)] = self._vectors.candidates[own]
        return {
            "signature": "item_embedding_of_features",
            "inputs": {
                "item_id": _names(self._items, owners),
                **read_texts(self._folder.item_features, tower.features, rows),
            },
            "expected": {
                "embedding": embedding.tolist(),
                "known_item": (owners != UNKNOWN_INDEX).tolist(),
            },
        }

    def _raw_candidates(self) -> Float32s:
        """Returns [num_items, dim as trained]; calibration scales queries alone."""
        dim = max(part.stop for part in self._method.causes().values())
        return self._vectors.candidates[:, :dim]


def _pairs(own: Int32s) -> tuple[Int32s, Int32s]:
    """Returns whose id and whose features go together."""
    nobody = np.full_like(own, UNKNOWN_INDEX)
    return np.concatenate([own, own, nobody]), np.concatenate([own, own[::-1], own])


def _live(tower: FeatureTower, owners: Int32s, rows: Int32s) -> tf.Tensor:
    return tower(tf.constant(rows), tf.constant(owners))


def _names(known: Sequence[str], rows: Int32s) -> list[str]:
    stranger = unused_name(known)
    return [known[row] if row != UNKNOWN_INDEX else stranger for row in rows.tolist()]
