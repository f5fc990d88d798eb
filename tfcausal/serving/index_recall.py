"""What share of the exact lists an index finds, and what to do where it is small."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from tfcausal.evaluation.ranking import BLOCK_SCORES
from tfcausal.schema.vectors import Float32s
from tfcausal.serving.item_index import IndexedItems, ItemIndex

WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0)
"""Weights of a cause at which an index must hold its recall."""
_ROUNDING = 1e-5
_log = logging.getLogger(__name__)


def recall_at(index: ItemIndex, queries: Float32s, k: int) -> float:
    """Returns the mean share of the exact k best that the index finds.

    An item counts if its score reaches that of the exact k-th place, so that ties cost
    nothing.

    Args:
        index: The index.
        queries: [n, dim] float32.
        k: Places.
    """
    depth = min(k, len(index))
    found_share = 0.0
    size = max(BLOCK_SCORES // (len(index.gone) + len(index.added)), 1)
    for first in range(0, len(queries), size):
        block = queries[first : first + size]
        exact = index.scores(block)
        last = np.partition(exact, -depth, axis=1)[:, -depth]
        slack = _ROUNDING * np.where(exact > -np.inf, np.abs(exact), 0).max(axis=1)
        places, _ = index.best(block, depth)
        scores = np.take_along_axis(exact, np.maximum(places, 0), axis=1)
        reached = (scores >= (last - slack)[:, None]) & (places >= 0)
        found_share += float(reached.sum()) / depth
    return found_share / len(queries)


def recall_of(
    built: IndexedItems, asked: Mapping[str, Float32s], k: int
) -> dict[str, float]:
    """Returns the recall of each kind of queries, by its name."""
    index = ItemIndex.of(built)
    return {name: recall_at(index, queries, k) for name, queries in asked.items()}


def widened(
    built: IndexedItems, asked: Mapping[str, Float32s], k: int, floor: float
) -> tuple[IndexedItems, dict[str, float]]:
    """Returns the index with settings that reach the floor if any do.

    Which leaves hold what counts depends on the vectors, so that no rule by size alone
    suits every model. Nothing is built again: more leaves of it are looked into.

    Args:
        built: The index as it searches now.
        asked: Kinds of queries by name, each [n, dim] float32.
        k: Places that recall is measured at.
        floor: Recall that every kind must reach.
    Returns:
        The index, and its recall by kind.
    """
    while True:
        recall = recall_of(built, asked, k)
        worst = min(recall, key=recall.__getitem__)
        wider = built.searcher.settings.wider()
        if recall[worst] >= floor or wider is None:
            return built, recall
        _log.info("recall@%d is %.3f %s; searching %s.", k, recall[worst], worst, wider)
        built = replace(built, searcher=built.searcher.searching(wider))


def interventions(
    queries: Float32s, causes: Mapping[str, Sequence[int]]
) -> Iterator[tuple[str, Float32s]]:
    """Yields the queries with each cause at each of `WEIGHTS`, [n, dim].

    Args:
        queries: [num_users, num_queries, dim] float32.
        causes: Cause to its first coordinate and the one behind its last.
    """
    flat = queries.reshape(-1, queries.shape[-1])
    yield "as trained", flat
    for cause, (start, stop) in causes.items():
        for weight in WEIGHTS:
            if weight != 1.0:
                scaled = flat.copy()
                scaled[:, start:stop] *= np.float32(weight)
                yield f"{cause}={weight:g}", scaled
