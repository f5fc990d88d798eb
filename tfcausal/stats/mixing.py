"""Random numbers as a pure function of what they are for.

Every draw is splitmix64 (Steele, Lea, Flood, Fast splittable pseudorandom number
generators, 2014) applied to the words that name it: seed, purpose, epoch, then the
row's own words. No state anywhere, so a draw does not depend on order, block or worker.
`tfcausal.samplers.mixing` is the same in TensorFlow, equal bit for bit.
"""

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

UInt64s = npt.NDArray[np.uint64]

GAMMA = 0x9E3779B97F4A7C15
"""splitmix64's step, 2^64 divided by the golden ratio."""
MULTIPLIER_1 = 0xBF58476D1CE4E5B9
MULTIPLIER_2 = 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def mix(words: UInt64s) -> UInt64s:
    """Applies splitmix64's finaliser to each word.

    Args:
        words: uint64, any shape.
    Returns:
        uint64 of the same shape, each bit depending on every bit of the word.
    """
    mixed: UInt64s = words ^ (words >> np.uint64(30))
    mixed = mixed * np.uint64(MULTIPLIER_1)
    mixed = mixed ^ (mixed >> np.uint64(27))
    mixed = mixed * np.uint64(MULTIPLIER_2)
    finished: UInt64s = mixed ^ (mixed >> np.uint64(31))
    return finished


def stream(seed: int, purpose: str, epoch: int = 0) -> int:
    """Returns the 64-bit start of the stream for one purpose in one epoch.

    Args:
        seed: Any integer; taken modulo 2^64.
        purpose: What the numbers are for, such as "triplets".
        epoch: Number of the pass over the data, from 0.
    """
    state = seed & _MASK
    for word in (zlib.crc32(purpose.encode()), epoch):
        state = _mix_one((state + GAMMA * (word + 1)) & _MASK)
    return state


def _mix_one(word: int) -> int:
    return int(mix(np.asarray([word], dtype=np.uint64))[0])


def keys(
    start: int,
    users: npt.NDArray[Any],
    items: npt.NDArray[Any],
    occurrences: npt.NDArray[Any] | None = None,
) -> UInt64s:
    """Returns a 64-bit key for each interaction.

    Args:
        start: What `stream` returned.
        users: [n] integers in [0, 2^31).
        items: [n] integers in [0, 2^31).
        occurrences: [n] integers >= 0, or None where all are 0.
    Returns:
        [n] uint64; equal interactions get equal keys whatever their order.
    """
    pairs = (users.astype(np.uint64) << np.uint64(32)) | items.astype(np.uint64)
    mixed = mix(pairs * np.uint64(GAMMA) + np.uint64(start))
    if occurrences is None:
        return mixed
    # Occurrence 0 keeps the key itself, as where no occurrences are given.
    steps = occurrences.astype(np.uint64) * np.uint64(GAMMA)
    return np.where(steps == 0, mixed, mix(mixed + steps))


def draws(words: UInt64s, numbers: npt.NDArray[Any]) -> UInt64s:
    """Returns draw `numbers` of each key: splitmix64's stream started at the key.

    Args:
        words: uint64 keys.
        numbers: Integers >= 0, broadcast against `words`.
    Returns:
        uint64 of the broadcast shape.
    """
    steps = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(GAMMA)
    return mix(words + steps)


def uniforms(words: UInt64s) -> npt.NDArray[np.float64]:
    """Maps words to [0, 1) through their upper 53 bits; bit 0 stays free for a coin."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
