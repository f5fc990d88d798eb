"""Scores of single pairs of a user and an item, split by cause."""

import numpy as np

from tfcausal.evaluation.metrics import Float64s
from tfcausal.schema.vectors import CausalVectors
from tfcausal.stats.negatives import Int32s, Int64s


def pair_scores(
    vectors: CausalVectors, users: Int32s | Int64s, items: Int32s | Int64s
) -> tuple[Float64s, dict[str, Float64s]]:
    """Returns the score of each pair and its terms, which add up to it.

    With several queries a pair's score is that of its best query, and so are the terms.

    Args:
        vectors: Of all users and items.
        users: [n] integer users.
        items: [n] integer items.
    Returns:
        [n] float64 scores, and cause to [n] float64.
    """
    queries = vectors.queries[users].astype(np.float64)
    products = queries * vectors.candidates[items].astype(np.float64)[:, None, :]
    best = products.sum(axis=2).argmax(axis=1)
    terms = products[np.arange(len(best)), best]
    return terms.sum(axis=1), {
        cause: terms[:, part].sum(axis=1) for cause, part in vectors.causes.items()
    }
