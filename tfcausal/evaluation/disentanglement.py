"""Whether each cause was learned: learned scores against the truth of a world."""

from collections.abc import Mapping

import numpy as np
from scipy.stats import spearmanr

from tfcausal.errors import InputError
from tfcausal.evaluation.metrics import Float64s
from tfcausal.evaluation.pairs import pair_scores
from tfcausal.schema.vectors import CausalVectors
from tfcausal.stats import mixing
from tfcausal.stats.negatives import Int64s

WHOLE_SCORE = "score"
"""Name of the sum over causes among the learned scores."""


def sample_pairs(
    num_users: int, num_items: int, count: int, *, seed: int = 0
) -> tuple[Int64s, Int64s]:
    """Draws pairs of a known user and a known item, uniformly and with repeats.

    Args:
        num_users: Rows of the user vocabulary, the unknown one included.
        num_items: Rows of the item vocabulary, the unknown one included.
        count: Number of pairs.
        seed: Seed of the draw.
    Returns:
        [count] int64 users and [count] int64 items, at least 1 each.
    """
    numbers = np.arange(count)

    def draw(purpose: str, bound: int) -> Int64s:
        start = np.asarray([mixing.stream(seed, purpose)], np.uint64)
        drawn = mixing.uniforms(mixing.draws(start, numbers))
        return 1 + (drawn * (bound - 1)).astype(np.int64)

    return draw("pairs: users", num_users), draw("pairs: items", num_items)


def cause_correlations(
    vectors: CausalVectors,
    users: Int64s,
    items: Int64s,
    truth: Mapping[str, Float64s],
) -> dict[str, dict[str, float]]:
    """Correlates every learned score with every true one, by rank.

    Disentangled causes have large values where names agree and small ones elsewhere.

    Args:
        vectors: Of all users and items.
        users: [n] int64 users.
        items: [n] int64 items.
        truth: Name of a true cause to [n] true scores of the same pairs.
    Returns:
        Learned cause (and "score", their sum) to true cause to Spearman's rho.
    Raises:
        InputError: If the true scores are not as many as the pairs, or constant.
    """
    whole, terms = pair_scores(vectors, users, items)
    return {
        learned: {name: spearman(scores, true) for name, true in truth.items()}
        for learned, scores in {WHOLE_SCORE: whole, **terms}.items()
    }


def spearman(first: Float64s, second: Float64s) -> float:
    """Returns Spearman's rank correlation, equal values sharing their mean rank.

    Args:
        first: [n] float64.
        second: [n] float64.
    Raises:
        InputError: If lengths differ, or one of them is constant.
    """
    if first.shape != second.shape:
        raise InputError(
            f"Correlated scores must be of one length; got {first.shape} and "
            f"{second.shape}."
        )
    if first.min() == first.max() or second.min() == second.max():
        raise InputError(
            "Correlated scores must vary; one side is constant. Check that the model "
            "was trained."
        )
    return float(spearmanr(first, second).statistic)
