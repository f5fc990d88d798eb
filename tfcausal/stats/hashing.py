"""Which shard a user belongs to: a hash of the user's id, on whole columns."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tfcausal.stats import mixing

_WORD_BYTES = 8


def hash_strings(strings: pa.Array) -> mixing.UInt64s:
    """Hashes the UTF-8 bytes of each string to 64 bits.

    The hash folds eight bytes at a time through splitmix64's finaliser. It is part of
    the form of a data set: another hash would put users into other shards.

    Args:
        strings: [n] string array without nulls.
    Returns:
        [n] uint64.
    """
    if not len(strings):
        return np.empty(0, np.uint64)
    plain = strings.cast(pa.large_string())
    _, offset_buffer, data = plain.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[plain.offset :][: len(plain) + 1]
    starts, lengths = offsets[:-1], np.diff(offsets)
    content = np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
    padded = np.concatenate([content, np.zeros(_WORD_BYTES, np.uint8)])
    hashes = mixing.mix(lengths.astype(np.uint64) * np.uint64(mixing.GAMMA))
    for first in range(0, int(lengths.max()), _WORD_BYTES):
        active = np.flatnonzero(lengths > first)
        words = _words(padded, starts[active] + first, lengths[active] - first)
        hashes[active] = mixing.mix(hashes[active] * np.uint64(mixing.GAMMA) + words)
    return hashes


def _words(
    content: npt.NDArray[np.uint8], starts: npt.NDArray[Any], left: npt.NDArray[Any]
) -> mixing.UInt64s:
    """Reads up to eight little-endian bytes at each start, zeros beyond the string."""
    columns = np.arange(_WORD_BYTES)
    letters = content[starts[:, None] + columns]
    letters = np.where(columns < left[:, None], letters, 0).astype(np.uint8)
    return letters.view("<u8")[:, 0].astype(np.uint64)


def shards_of(strings: pa.Array, num_shards: int) -> npt.NDArray[np.int64]:
    """Returns the shard of each id.

    Args:
        strings: [n] string array without nulls.
        num_shards: Number of shards.
    Returns:
        [n] int64 in [0, num_shards).
    """
    return (hash_strings(strings) % np.uint64(num_shards)).astype(np.int64)
