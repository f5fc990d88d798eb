"""Lists whose items are to differ in what they are about."""

import numpy as np
import numpy.typing as npt

from tfcausal.errors import InputError
from tfcausal.stats.concepts import NO_VALUE
from tfcausal.stats.graph import Int32s, Int64s
from tfcausal.stats.selection import Bools

Float64s = npt.NDArray[np.float64]

NONE_LEFT = -1
"""Fills a list for which there are no more items."""


def diversified(
    scores: npt.NDArray[np.floating], values: Int32s, k: int, weight: float
) -> Int64s:
    """Fills lists one place at a time, with what scores and differs most.

    Symbols: f(u, i) -> scores; lambda -> weight; S -> the list so far; g(i, j) -> 1
    where i and j share no value, else 0.
    Formula: i* = argmax over i not in S of f(u, i) + lambda * sum over j in S of
    g(i, j), the first one of equals; S <- S and i*.
    Reference: Cen et al., Controllable Multi-Interest Framework for Recommendation
    (ComiRec), KDD 2020, section 3.4, Algorithm 2.
    Deviations: An item may have several values of a concept where the paper has one
    category; an item without any differs from all.

    Args:
        scores: [n, m] of the candidates of each list, the best first; -inf where there
            is none.
        values: [n, m, any] int32 >= 0 of each candidate, then `NO_VALUE`.
        k: Length of the lists.
        weight: lambda, >= 0; 0 keeps the order of scores.
    Returns:
        [n, k] int64 candidates of each list, then `NONE_LEFT`.
    Raises:
        InputError: If the weight is below 0 or not finite.
    """
    if not 0 <= weight < np.inf:
        raise InputError(f"`diversity` must be >= 0 and finite; got {weight}.")
    gains = scores.astype(np.float64)
    rows = np.arange(len(scores))
    chosen = np.full((len(scores), k), NONE_LEFT, np.int64)
    # The last column stands for NO_VALUE, and is never marked.
    marks = np.zeros((len(scores), values.max(initial=0) + 2), bool)
    for place in range(min(k, scores.shape[1])):
        best = gains.argmax(axis=1)
        left = gains[rows, best] > -np.inf
        chosen[left, place] = best[left]
        own = values[rows, best]
        marks[rows[:, None], own] = True
        marks[:, NO_VALUE] = False
        shares = marks[rows[:, None, None], values].any(axis=2)
        marks[rows[:, None], own] = False
        gains += weight * ~shares
        gains[rows, best] = -np.inf
    return chosen


def pair_diversity(values: Int32s, exists: Bools) -> Float64s:
    """Returns the share of each list's pairs of items that share no value.

    Formula: sum over j < k of g(j, k) / number of pairs, as in `diversified`.
    Reference: Cen et al. (ComiRec), KDD 2020, Eq. 13.

    Args:
        values: [n, k, any] int32 >= 0 of each item, then `NO_VALUE`.
        exists: [n, k] bool, False where a list is shorter.
    Returns:
        [n] float64; 0 for a list without a pair.
    """
    size = values.shape[1]
    rows = np.arange(len(values))[:, None]
    differing, pairs = np.zeros(len(values)), np.zeros(len(values))
    marks = np.zeros((len(values), values.max(initial=0) + 2), bool)
    for place in range(size):
        own = values[:, place]
        marks[rows, own] = True
        marks[:, NO_VALUE] = False
        later = exists[:, place, None] & exists[:, place + 1 :]
        shares = marks[rows[:, :, None], values[:, place + 1 :]].any(axis=2)
        marks[rows, own] = False
        differing += (later & ~shares).sum(axis=1)
        pairs += later.sum(axis=1)
    return differing / np.maximum(pairs, 1)
