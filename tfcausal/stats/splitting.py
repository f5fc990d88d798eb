"""The keys and sizes by which a split picks rows and users.

Reference: Zheng et al., Disentangling User Interest and Conformity for Recommendation
with Causal Embedding (DICE), WWW 2021, section 4.1.1, and the authors' published
splitter.
Deviations: the paper caps a probability at 0.9; the authors' code caps weights at a
percentile of the distinct weights, and so do we.

Every row draws words of its own from (seed, "split", user, item, occurrence), every
user from (seed, "split users", user). The intervened pool is drawn without replacement,
with probabilities proportional to weights among what is left at each step: the rows
with the smallest -log(U) / weight, for which see Efraimidis and Spirakis, Weighted
random sampling with a reservoir, 2006.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tfcausal.errors import InputError
from tfcausal.stats import mixing
from tfcausal.stats.logarithm import log

Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

PURPOSE = "split"
USER_PURPOSE = "split users"

_POOL_DRAW = 0
_PART_DRAW = 1
_FOLD_IN_DRAW = 2
_RESAMPLING_DRAW = 3


def capped_weights(counts: npt.NDArray[np.int64], cap_percentile: float) -> Float64s:
    """Returns the weight of a row of each item: 1 / popularity, capped.

    Args:
        counts: [num_items] interactions of each item in the whole data set.
        cap_percentile: In [0, 100]; of the distinct inverse popularities, the one at
            this percentile (linear interpolation) is the largest weight.
    Returns:
        [num_items] weights > 0, and 0 for an item without interactions.
    """
    weights = np.zeros(len(counts), np.float64)
    met = counts > 0
    weights[met] = 1.0 / counts[met]
    cap = np.percentile(np.unique(weights[met]), cap_percentile)
    return np.minimum(weights, cap)


def row_words(
    seed: int,
    users: npt.NDArray[Any],
    items: npt.NDArray[Any],
    occurrences: npt.NDArray[Any] | None,
) -> mixing.UInt64s:
    """Returns [n] the word from which each row's draws come."""
    start = mixing.stream(seed, PURPOSE)
    return mixing.keys(start, users, items, occurrences)


def pool_keys(words: mixing.UInt64s, weights: Float64s) -> mixing.UInt64s:
    """Returns keys whose smallest are a weighted sample without replacement.

    Args:
        words: [n] from `row_words`.
        weights: [n] > 0.
    Returns:
        [n] uint64: the bits of -log(U) / weight, which are ordered as the numbers are,
        for these are positive.
    """
    uniforms = mixing.uniforms(mixing.draws(words, np.asarray([_POOL_DRAW])))
    # Shifted by half a step, U is never 0.
    return (-log(uniforms + 2.0**-54) / weights).view(np.uint64)


def part_keys(words: mixing.UInt64s) -> mixing.UInt64s:
    """Returns [n] keys whose smallest are a uniform sample without replacement."""
    return mixing.draws(words, np.asarray([_PART_DRAW]))


def fold_in_keys(words: mixing.UInt64s) -> mixing.UInt64s:
    """Returns [n] keys whose smallest, of a user's rows, are folded in."""
    return mixing.draws(words, np.asarray([_FOLD_IN_DRAW]))


def resampling_keys(words: mixing.UInt64s, last: Bools) -> mixing.UInt64s:
    """Returns keys whose smallest are uniform samples of two groups of rows.

    Args:
        words: [n] from `row_words`.
        last: [n] whether a row is of the second group.
    Returns:
        [n] uint64, those of the first group all smaller than those of the second.
    """
    drawn = mixing.draws(words, np.asarray([_RESAMPLING_DRAW]))
    return (drawn >> np.uint64(1)) | (last.astype(np.uint64) << np.uint64(63))


def user_words(seed: int, users: npt.NDArray[Any]) -> mixing.UInt64s:
    """Returns [n] a word of each row's user, different for different users."""
    start = mixing.stream(seed, USER_PURPOSE)
    return mixing.draws(np.asarray([start], np.uint64), users)


def time_keys(
    timestamps: npt.NDArray[np.int64],
    words: mixing.UInt64s,
    first: int,
    last: int,
) -> mixing.UInt64s:
    """Returns keys in the order of time, equal times in the order of words.

    Args:
        timestamps: [n] seconds in [first, last].
        words: [n] uint64.
        first: The earliest timestamp of all rows.
        last: The latest.
    Returns:
        [n] uint64: time in the leading bits, which all vary, so that counting digits
        tells rows apart; the words' leading bits in those that are left.
    """
    time_bits = max((last - first).bit_length(), 1)
    times = (timestamps - first).astype(np.uint64) << np.uint64(64 - time_bits)
    return times | (words >> np.uint64(time_bits))


def part_ends(total: int, shares: Sequence[float]) -> list[int]:
    """Returns where each part ends when `total` rows are dealt out in these shares.

    Args:
        total: Number of rows.
        shares: Shares >= 0 that sum to 1.
    Returns:
        As many ascending numbers, the last of them `total`; each is its exact place,
        rounded, so no part is off by more than one row.
    """
    ends = np.floor(np.cumsum(shares) * total + 0.5).astype(int)
    return [*ends[:-1].tolist(), total]


def require_shares(name: str, shares: Sequence[float], size: int) -> None:
    """Raises InputError unless there are `size` shares >= 0 that sum to 1."""
    good = len(shares) == size and all(share >= 0 for share in shares)
    if not good or abs(sum(shares) - 1) > 1e-9:
        raise InputError(
            f"`{name}` must be {size} shares that sum to 1; got "
            f"{','.join(str(share) for share in shares)}."
        )
