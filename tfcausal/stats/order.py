"""In which order an epoch visits the training rows.

The rows of a shard are visited in the order of a key that seed, epoch and the row
itself decide, cut into blocks; the shards give a block each in turn. Whoever draws
ahead and whoever draws while training thus meet the same rows in the same order.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from tfcausal.stats import mixing
from tfcausal.stats.negatives import Int32s, Int64s
from tfcausal.stats.sorting import key_order

PURPOSE = "order"

BLOCK_ROWS = 8_192
"""Rows in a block."""
GROUP_BLOCKS = 16
"""Successive blocks whose rows are mixed with each other."""


def shard_order(
    seed: int,
    epoch: int,
    users: Int32s,
    items: Int32s,
    occurrences: Int32s | None = None,
) -> Int64s:
    """Returns the order in which one shard's rows are visited.

    Args:
        seed: Seed of the run.
        epoch: Number of the pass over the data, from 0.
        users: [n] int32 user indices.
        items: [n] int32 item indices.
        occurrences: [n] int32, or None where all are 0.
    Returns:
        [n] int64 positions.
    """
    start = mixing.stream(seed, PURPOSE, epoch)
    keys = mixing.keys(start, users, items, occurrences)
    return key_order(keys)


def round_robin(counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yields (shard, block) with a block from each shard in turn until all are done.

    Args:
        counts: Number of blocks of each shard.
    """
    for block in range(max(counts, default=0)):
        for shard, count in enumerate(counts):
            if block < count:
                yield shard, block


def block_permutation(seed: int, epoch: int, group: int, num_rows: int) -> Int64s:
    """Returns the order of the rows within one group of joined blocks.

    Args:
        seed: Seed of the run.
        epoch: Number of the pass over the data, from 0.
        group: Number of the group within the epoch, from 0.
        num_rows: Rows in the group.
    """
    start = mixing.stream(seed, "group order", epoch)
    words = mixing.draws(
        np.asarray([start], np.uint64), np.arange(num_rows) + (group << 32)
    )
    return key_order(words)
