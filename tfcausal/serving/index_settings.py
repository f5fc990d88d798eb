"""How ScaNN searches, chosen by the size of a catalogue, and what building needs."""

from dataclasses import dataclass, replace
from math import isqrt

from tfcausal.errors import InputError
from tfcausal.serving.memory import free_memory

_BRUTE_FORCE_ITEMS = 20_000
_LEAVES_TO_SEARCH = 300
_REORDER = 1000
TRAINING_SAMPLE = 250_000
"""Vectors that the leaves' centres are learned from, at most."""
_FLOAT = 4
_OVERHEAD = 400 * 2**20
_PER_ITEM = 300
_GIB = 2**30


@dataclass(frozen=True)
class IndexSettings:
    """How ScaNN searches.

    Attributes:
        num_leaves: Leaves of the tree; 0 compares with every item, exactly.
        leaves_to_search: Leaves looked into for a query.
        reorder: Candidates of the quantized search that are scored exactly.
    """

    num_leaves: int = 0
    leaves_to_search: int = 0
    reorder: int = 0

    @classmethod
    def for_items(cls, num_items: int) -> "IndexSettings":
        """Returns settings for a catalogue of that size.

        Small leaves, and many of them: where a request takes a cause away, the items
        that count lie in other leaves than those that training put together.
        """
        if num_items < _BRUTE_FORCE_ITEMS:
            return cls()
        leaves = 3 * isqrt(num_items)
        return cls(leaves, min(_LEAVES_TO_SEARCH, leaves), _REORDER)

    def wider(self) -> "IndexSettings | None":
        """Returns settings that find more and take longer, None if these find all.

        The searcher that was built stays the same.
        """
        if self.leaves_to_search >= self.num_leaves:
            return None
        leaves = min(2 * self.leaves_to_search, self.num_leaves)
        return replace(self, leaves_to_search=leaves, reorder=self.reorder * 3 // 2)


def bytes_to_build(num_items: int, dim: int) -> int:
    """Returns about what building an index takes at its peak, in bytes.

    The vectors are there as blocks and as one tensor while TensorFlow takes them over,
    and again in ScaNN; then comes what it learns from, and what it keeps of each item.
    """
    vectors = num_items * dim * _FLOAT
    sample = min(num_items, TRAINING_SAMPLE) * dim * _FLOAT
    return 3 * vectors + 2 * sample + num_items * _PER_ITEM + _OVERHEAD


def require_memory(
    num_items: int,
    dim: int,
    advice: str = "Use a larger machine, or go on with --ignore_memory.",
) -> None:
    """Raises unless the machine has the memory free that building an index takes.

    Args:
        num_items: Items of the index.
        dim: Coordinates of their vectors.
        advice: What to do where it has not.
    Raises:
        InputError: If it has not.
    """
    needed, free = bytes_to_build(num_items, dim), free_memory()
    if free is not None and needed > free:
        raise InputError(
            f"An index of {num_items:,} items of {dim} dimensions must have about "
            f"{needed / _GIB:.1f} GiB of memory to be built; {free / _GIB:.1f} GiB are "
            f"free. {advice}"
        )
