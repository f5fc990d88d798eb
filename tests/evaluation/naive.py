"""The protocols once more, a user at a time in plain Python: slow and obvious."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tfcausal.schema.vectors import CausalVectors


def score(vectors: CausalVectors, user: int, item: int) -> float:
    candidate = vectors.candidates[item]
    return max(float(np.dot(query, candidate)) for query in vectors.queries[user])


def ranked(scores: Mapping[int, float], masked: set[int], k: int) -> list[int]:
    """Items best first; equal scores in the order of items."""
    order = sorted(scores, key=lambda item: (-scores[item], item))
    return [item for item in order if item not in masked][:k]


def user_lists(
    vectors: CausalVectors, masked: Mapping[int, set[int]], users: Sequence[int], k: int
) -> dict[int, list[int]]:
    lists = {}
    for user in users:
        scores = {
            item: score(vectors, user, item)
            for item in range(1, len(vectors.candidates))
        }
        lists[user] = ranked(scores, masked.get(user, set()), k)
    return lists


def dcg(places: Sequence[int]) -> float:
    return sum(1 / math.log2(place + 2) for place in places)


def accuracy(
    items: list[int],
    positives: set[int],
    k: int,
    *,
    recall_denominator: str = "positives",
    ndcg_ideal: str = "min_k_positives",
) -> tuple[float, float, float]:
    """Recall, hit rate and NDCG of one list."""
    places = [place for place, item in enumerate(items[:k]) if item in positives]
    if not positives:
        return 0.0, 0.0, 0.0
    divisor = {"positives": len(positives), "min_k_positives": min(k, len(positives))}
    ideal = {"min_k_positives": min(k, len(positives)), "hits": len(places)}
    best = dcg(range(ideal[ndcg_ideal]))
    return (
        len(places) / divisor[recall_denominator],
        float(bool(places)),
        dcg(places) / best if best else 0.0,
    )


def legacy_ndcg(items: list[int], targets: Sequence[int], k: int) -> float:
    """ComiRec's first NDCG of one list; a target met again counts once, as the first.

    A hit's gain hangs on its index among the targets, wherever it stands in the list.
    """
    shown = set(items[:k])
    met = list(dict.fromkeys(targets))
    found = [no for no, item in enumerate(met) if item in shown]
    return dcg(found) / dcg(range(len(found))) if found else 0.0


def iou(first: Sequence[int], second: Sequence[int]) -> float:
    either = set(first) | set(second)
    return len(set(first) & set(second)) / len(either) if either else 0.0
