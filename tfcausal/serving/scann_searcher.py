"""ScaNN's searcher by its TensorFlow operations, and its parts as plain arrays.

ScaNN comes in two forms, as operations and as a Python library. The operations leave
the interpreter free as they build, load and write, so that other threads go on
searching meanwhile; the library holds it for as long as it reads or writes a folder.
The parts of an operation's searcher are tensors, which lie in .npy files and may go
into a SavedModel; the library writes a pickle where items have ids.
"""

import uuid
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfcausal.schema.vectors import Float32s
from tfcausal.serving.index_settings import TRAINING_SAMPLE, IndexSettings
from tfcausal.stats.negatives import Int64s

PARTS = {
    "scann_config": tf.string,
    "serialized_partitioner": tf.string,
    "datapoint_to_token": tf.int32,
    "ah_codebook": tf.string,
    "hashed_dataset": tf.uint8,
    "int8_dataset": tf.int8,
    "int8_multipliers": tf.float32,
    "dp_norms": tf.float32,
}
"""What a searcher consists of beside the vectors, in the order of the operation."""
_BLOCK_BYTES = 4 * 2**20
_PARALLEL_FROM = 16
"""Queries from which on ScaNN's own threads pay."""


class _Handle:
    """Keeps a searcher in memory for as long as something holds this."""

    def __init__(self, resource: Any) -> None:
        self.resource = resource
        # TensorFlow itself keeps a resource that has a name for ever.
        end = weakref.finalize(self, tf.raw_ops.DestroyResourceOp, resource=resource)
        end.atexit = False


class Searcher:
    """Finds the rows of largest inner product; it is never changed."""

    def __init__(
        self, handle: _Handle, num_items: int, settings: IndexSettings
    ) -> None:
        """Takes the handle of a searcher in rows of that number."""
        self._handle = handle
        self._num_items = num_items
        self.settings = settings

    @classmethod
    def build(cls, vectors: Float32s, settings: IndexSettings) -> "Searcher":
        """Lets ScaNN build a searcher.

        Args:
            vectors: [num_items, dim] float32, at least one row; may be memory-mapped.
            settings: How to search.
        Raises:
            ImportError: If ScaNN is not installed.
        """
        num_items = len(vectors)
        builder = scann_ops().builder(
            as_tensor(vectors), min(10, num_items), "dot_product"
        )
        if settings.num_leaves:
            builder = (
                builder.tree(
                    num_leaves=settings.num_leaves,
                    num_leaves_to_search=settings.leaves_to_search,
                    training_sample_size=min(num_items, TRAINING_SAMPLE),
                )
                .score_ah(2, anisotropic_quantization_threshold=0.2)
                .reorder(settings.reorder)
            )
        else:
            builder = builder.score_brute_force()
        handle = _Handle(builder.build().searcher_handle)
        return cls(handle, num_items, settings)

    @classmethod
    def of_parts(
        cls,
        parts: Mapping[str, npt.NDArray[Any]],
        vectors: Float32s,
        settings: IndexSettings,
    ) -> "Searcher":
        """Makes a searcher again of the vectors and of what `parts` returned.

        Raises:
            ImportError: If ScaNN is not installed.
        """
        # Two of one name would be one and the same in a process.
        name = f"tfcausal-{uuid.uuid4()}"
        handle = _Handle(searcher_of(as_tensor(vectors), part_tensors(parts), name))
        return cls(handle, len(vectors), settings)

    def parts(self) -> dict[str, npt.NDArray[Any]]:
        """Returns all that the searcher is but the vectors; texts are [n] uint8."""
        tensors = scann_ops().scann_to_tensors(self._handle.resource)
        found = {name: getattr(tensors, name) for name in PARTS}
        # What this kind of searcher lacks is a scalar.
        return {
            name: np.frombuffer(tensor[0].numpy(), np.uint8)
            if tensor.dtype == tf.string
            else tensor.numpy()
            for name, tensor in found.items()
            if tensor.shape.rank
        }

    def searching(self, settings: IndexSettings) -> "Searcher":
        """Returns this searcher with other settings for the same leaves."""
        return Searcher(self._handle, self._num_items, settings)

    def nearest(
        self, queries: Float32s, depth: int, *, everywhere: bool = False
    ) -> tuple[Int64s, Float32s]:
        """Returns rows and scores, best first; scores past the end are -inf.

        Args:
            queries: [n, dim] float32.
            depth: At most the number of rows.
            everywhere: Whether to look into all leaves and score all rows exactly.
        Returns:
            [n, depth] int64 and [n, depth] float32.
        """
        if depth == 0 or not len(queries):
            shape = (len(queries), depth)
            return np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        leaves, reorder = -1, -1
        if self.settings.num_leaves:
            leaves, reorder = self.settings.leaves_to_search, self.settings.reorder
            if everywhere:
                leaves, reorder = self.settings.num_leaves, self._num_items
        rows, scores = scann_ops().scann_search_batched(
            self._handle.resource,
            np.ascontiguousarray(queries, np.float32),
            depth,
            max(reorder, depth) if reorder > 0 else reorder,
            leaves,
            len(queries) >= _PARALLEL_FROM,
        )
        values = scores.numpy()
        return rows.numpy().astype(np.int64), np.where(
            np.isnan(values), -np.inf, values
        )


def searcher_of(vectors: tf.Tensor, parts: Sequence[tf.Tensor], name: str) -> tf.Tensor:
    """Returns ScaNN's handle of a searcher, also within a graph.

    Args:
        vectors: [num_items, dim] float32.
        parts: As `part_tensors` gives them.
        name: All of the same name in a process are the first of them, whatever their
            vectors and parts.
    """
    return scann_ops().tensors_to_scann(vectors, *parts, shared_name=name)


def part_tensors(parts: Mapping[str, npt.NDArray[Any]]) -> list[tf.Tensor]:
    """Returns what the operation takes behind the vectors, of what `parts` returned."""
    tensors = []
    for name, dtype in PARTS.items():
        part = parts.get(name)
        if part is None:
            tensors.append(tf.constant("" if dtype == tf.string else 0, dtype))
        elif dtype == tf.string:
            tensors.append(tf.constant([part.tobytes()]))
        else:
            tensors.append(as_tensor(part))
    return tensors


def as_tensor(values: npt.NDArray[Any]) -> tf.Tensor:
    """Copies an array, in blocks: TensorFlow holds the interpreter for each of them."""
    size = max(_BLOCK_BYTES * len(values) // max(values.nbytes, 1), 1)
    blocks = [
        tf.constant(values[first : first + size])
        for first in range(0, len(values), size)
    ]
    return blocks[0] if len(blocks) == 1 else tf.concat(blocks, axis=0)


def scann_ops() -> Any:
    """Returns ScaNN's operations and their builder.

    Raises:
        ImportError: If ScaNN is not installed.
    """
    try:
        from scann.scann_ops.py import scann_ops as operations
    except ImportError as error:
        raise ImportError("An index needs ScaNN: pip install 'scann[tf]'.") from error
    return operations
