"""Signatures for those who are new: their features come with the request.

user_embedding_of_features(user_id, COLUMN, ...)  -> embedding, known_user
item_embedding_of_features(item_id, COLUMN, ...)  -> embedding, known_item
recommend_of_features(user_id, COLUMN, ..., and all that recommend takes)
                                                  -> what recommend returns

A model has them for users, for items or for both, whichever have features. All is done
by stock TensorFlow operations, the lookup of texts too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import tensorflow as tf

from tfcausal.data.side_features import (
    FARTHEST,
    CategoryColumn,
    NumberColumn,
)
from tfcausal.errors import InputError
from tfcausal.layers.feature_tower import FeatureTower
from tfcausal.methods.triplets import TripletMethod
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.serving.method_model import MethodServingModel
from tfcausal.serving.signatures import concrete, of_equal_rows


class FeatureServingModel(MethodServingModel):
    """Also ranks for users, and embeds items, by features that a request brings.

    An id that the model knows counts beside the features; an unknown one stands for
    the unknown row, whose vector was learned on hidden ids.
    """

    def take(self, method: TripletMethod) -> None:
        """Keeps the method's feature towers."""
        self._fold_queries = method.fold_queries
        self._fold_candidates = method.fold_candidates
        of_users, of_items = method.serving_feature_towers()
        self._user_side = _Side.of(of_users)
        self._item_side = _Side.of(of_items)
        sides = [side for side in (self._user_side, self._item_side) if side]
        self.codes = [table for side in sides for table in side.tables.values()]

    def signatures(self) -> dict[str, Any]:
        """Returns the concrete functions for `tf.saved_model.save`, by name.

        Raises:
            InputError: If a column has the name of a weight.
        """
        ids = tf.TensorSpec([None], tf.string)
        found = super().signatures()
        if self._user_side is not None:
            columns = self._user_side.inputs()
            for name in self._wishes().keys() & columns:
                raise InputError(
                    f"`{name}` must not name a column of users and a weight of the "
                    "served model. Rename the column and ingest again, or leave it "
                    "out with user_columns."
                )
            found["user_embedding_of_features"] = concrete(
                partial(self._user_embedding_of_features, self._user_side),
                user_id=ids,
                **columns,
            )
            found |= self._requests(
                "recommend_of_features",
                partial(self._recommend_of_features, self._user_side),
                user_id=ids,
                **columns,
            )
        if self._item_side is not None:
            found["item_embedding_of_features"] = concrete(
                partial(self._item_embedding_of_features, self._item_side),
                item_id=ids,
                **self._item_side.inputs(),
            )
        return found

    def _user_embedding_of_features(
        self, side: "_Side", **inputs: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        inputs = of_equal_rows("user_id", **inputs)
        users = self._users(inputs["user_id"])
        return {
            "embedding": self._user_vectors(side, users, inputs),
            "known_user": users != UNKNOWN_INDEX,
        }

    def _recommend_of_features(
        self, side: "_Side", k: tf.Tensor, exclude_seen: tf.Tensor, **inputs: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        inputs = of_equal_rows("user_id", **inputs)
        users = self._users(inputs["user_id"])
        vectors = self._user_vectors(side, users, inputs)
        scaled = vectors * self._scale(inputs)[:, None, :]
        # Nobody is answered by popularity alone.
        queries = self._bounded(tf.pad(scaled, [[0, 0], [0, 0], [0, 1]]))
        return self._lists(users, queries, k, exclude_seen, inputs)

    def _item_embedding_of_features(
        self, side: "_Side", **inputs: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        inputs = of_equal_rows("item_id", **inputs)
        items = self._items(inputs["item_id"])
        embedded = side.embedded(items, inputs)
        folded = self._fold_candidates(embedded, tf.cast(items, tf.int32))
        shortened = self._shortened(folded)
        added = self._candidates_at(items)[:, self._trained_dim : self._dim]
        return {
            "embedding": tf.concat([shortened, added], axis=1),
            "known_item": items != UNKNOWN_INDEX,
        }

    def _user_vectors(
        self, side: "_Side", users: tf.Tensor, inputs: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        """Returns [B, num_queries, dim] float32, calibrated as all other queries."""
        return self._calibrated(self._fold_queries(side.embedded(users, inputs)))


@dataclass(frozen=True)
class _Side:
    """The tower of users or of items.

    Attributes:
        tower: The tower.
        tables: For each column that is not hashed a table from texts to codes.
    """

    tower: FeatureTower
    tables: Mapping[str, tf.lookup.StaticHashTable]

    @classmethod
    def of(cls, tower: FeatureTower | None) -> "_Side | None":
        if tower is None:
            return None
        listed = [one for one in tower.features.categories if not one.hash_buckets]
        return cls(tower, {column.name: _table(column) for column in listed})

    def inputs(self) -> dict[str, tf.TensorSpec]:
        """Returns what a request says of features, by column."""
        number = tf.TensorSpec([None], tf.float32)
        return {
            **{
                column.name: tf.TensorSpec([None] * (1 + column.is_list), tf.string)
                for column in self.tower.features.categories
            },
            **{column.name: number for column in self.tower.features.numbers},
        }

    def embedded(self, ids: tf.Tensor, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns [B, dim of the tower] of a request."""
        features = self.tower.features
        codes = [
            _codes(column, self.tables.get(column.name), inputs[column.name])
            for column in features.categories
        ]
        values = [_values(number, inputs[number.name]) for number in features.numbers]
        none = tf.zeros([tf.size(ids), 0])
        return self.tower.of_codes(ids, codes, tf.concat([none, *values], axis=1))


def _table(column: CategoryColumn) -> tf.lookup.StaticHashTable:
    texts = tf.constant(column.values, tf.string, [len(column.values)])
    codes = tf.range(1, column.num_codes, dtype=tf.int64)
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(texts, codes), 0
    )


def _codes(
    column: CategoryColumn, table: tf.lookup.StaticHashTable | None, texts: tf.Tensor
) -> tf.Tensor:
    """Returns [B, values of a row] int64."""
    lists = texts if column.is_list else texts[:, None]
    if table is not None:
        return table.lookup(lists)
    hashed = tf.strings.to_hash_bucket_fast(lists, column.hash_buckets) + 1
    return tf.where(tf.equal(lists, ""), tf.zeros_like(hashed), hashed)


def _values(number: NumberColumn, given: tf.Tensor) -> tf.Tensor:
    """Returns [B, 1] float32 as `NumberColumn.standardised` gives it."""
    scaled = (tf.cast(given, tf.float64) - number.mean) / number.deviation
    cut = tf.clip_by_value(scaled, -FARTHEST, FARTHEST)
    known = tf.where(tf.math.is_nan(scaled), tf.zeros_like(cut), cut)
    return tf.cast(known, tf.float32)[:, None]
