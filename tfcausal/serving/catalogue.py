"""All users and items of an exported model, a block of successive indices at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfcausal.schema import columns
from tfcausal.schema.paths import on_local_disk
from tfcausal.schema.vectors import Float32s


class Catalogue:
    """Blocks of users and items, with the vectors that the signatures give."""

    def __init__(self, model: Any) -> None:
        """Takes a loaded model."""
        self._model = model

    def items(self, ids: Sequence[str], first: int) -> pa.Table:
        """Returns items in `columns.item_vectors_schema`.

        Args:
            ids: Successive ids of the model's `assets/items.txt`.
            first: Index of the first.
        """
        called = self._model.signatures["item_embedding"]
        vectors = called(item_id=tf.constant(ids, tf.string))["embedding"].numpy()
        popularity = self._model.candidates[first : first + len(ids), -1].numpy()
        return pa.table(
            [
                np.arange(first, first + len(ids), dtype=np.int32),
                pa.array(ids, pa.string()),
                popularity.astype(np.int64),
                _as_lists(vectors),
            ],
            schema=columns.item_vectors_schema(vectors.shape[1]),
        )

    def users(self, ids: Sequence[str], first: int) -> pa.Table:
        """Returns users in `columns.user_vectors_schema`.

        Args:
            ids: Successive ids of the model's `assets/users.txt`.
            first: Index of the first.
        """
        called = self._model.signatures["user_embedding"]
        answer = called(user_id=tf.constant(ids, tf.string))
        vectors = answer["embedding"].numpy()
        offsets = self._model.seen_offsets[first : first + len(ids) + 1].numpy()
        seen = self._model.seen_items[offsets[0] : offsets[-1]].numpy()
        ends = pa.array((offsets - offsets[0]).astype(np.int32))
        return pa.table(
            [
                np.arange(first, first + len(ids), dtype=np.int32),
                pa.array(ids, pa.string()),
                answer["known_user"].numpy(),
                _as_lists(vectors),
                pa.ListArray.from_arrays(ends, pa.array(seen, pa.int32())),
            ],
            schema=columns.user_vectors_schema(vectors.shape[2], vectors.shape[1]),
        )


def load_catalogue(version: Path) -> Catalogue:
    """Loads an exported version, which may lie in an object store; it stays in memory.

    Args:
        version: The version's folder.
    """
    with on_local_disk(version) as folder:
        return Catalogue(tf.saved_model.load(str(folder)))


def _as_lists(vectors: Float32s) -> pa.Array:
    """Returns an array as lists of its last axis, of lists of the one before."""
    lists = pa.array(vectors.ravel())
    for size in reversed(vectors.shape[1:]):
        kind = pa.field("element", lists.type, nullable=False)
        lists = pa.FixedSizeListArray.from_arrays(lists, type=pa.list_(kind, size))
    return lists
