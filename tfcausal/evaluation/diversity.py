"""Accuracy and diversity of lists over the weight of diversity."""

from collections.abc import Sequence

import numpy as np

from tfcausal.errors import InputError
from tfcausal.evaluation.evaluator import EvaluationSet, evaluate
from tfcausal.evaluation.ranking import RankedBlock
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.protocol import EvaluationProtocol
from tfcausal.schema.vectors import CausalVectors
from tfcausal.stats.concepts import MultiHot
from tfcausal.stats.diversity import NONE_LEFT, diversified, pair_diversity

_BLOCK_USERS = 512


def diversity_curve(
    vectors: CausalVectors,
    against: EvaluationSet,
    protocol: EvaluationProtocol,
    concept: MultiHot,
    *,
    weights: Sequence[float],
    pool: int = 4,
) -> list[dict[str, float]]:
    """Returns what lists are like at each weight of diversity.

    Args:
        vectors: Of all users and items.
        against: The evaluated and the masked items.
        protocol: How lists are made and averaged.
        concept: The values in which items differ, such as their genres.
        weights: Weights of diversity, lambda of `stats.diversity.diversified`; 0 is the
            plain list.
        pool: Candidates of a list, as a multiple of the longest list. The paper has as
            many as the model has interests.
    Returns:
        For each weight `weight`, the metrics of `evaluate`, and diversity@k, the share
        of a list's pairs without a common value, in the mean over lists.
    Raises:
        InputError: If the pool is below 1, or a weight below 0 or not finite.
    """
    if pool < 1:
        raise InputError(f"`pool` must be at least 1; got {pool}.")
    curve = []
    for weight in weights:
        lists = _DiverseLists(concept, protocol, weight, pool * protocol.ks[-1])
        found = evaluate(vectors, against, protocol, lists=lists)
        curve.append({"weight": float(weight), **found.metrics, **lists.metrics()})
    return curve


class _DiverseLists:
    """Makes lists of longer ones, and keeps the sums of their diversity."""

    def __init__(
        self, concept: MultiHot, protocol: EvaluationProtocol, weight: float, depth: int
    ) -> None:
        self.depth = depth
        self._concept = concept
        self._ks = protocol.ks
        self._weight = weight
        self._sums = dict.fromkeys((f"diversity@{k}" for k in protocol.ks), 0.0)
        self._lists = 0

    def __call__(self, block: RankedBlock) -> RankedBlock:
        """Returns the block with lists of the longest cut-off."""
        parts = []
        for first in range(0, len(block.users), _BLOCK_USERS):
            rows = slice(first, first + _BLOCK_USERS)
            parts.append(self._rearranged(block.items[rows], block.scores[rows]))
        self._lists += len(block.users)
        items, scores = (np.concatenate(both) for both in zip(*parts, strict=True))
        return RankedBlock(block.users, items, scores)

    def _rearranged(
        self, items: np.ndarray, scores: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        values = self._concept.padded(items)
        chosen = diversified(scores, values, self._ks[-1], self._weight)
        exists = chosen != NONE_LEFT
        own = np.take_along_axis(values, chosen[..., None], axis=1)
        for k in self._ks:
            found = pair_diversity(own[:, :k], exists[:, :k])
            self._sums[f"diversity@{k}"] += float(found.sum())
        return (
            np.where(exists, np.take_along_axis(items, chosen, axis=1), UNKNOWN_INDEX),
            np.where(exists, np.take_along_axis(scores, chosen, axis=1), -np.inf),
        )

    def metrics(self) -> dict[str, float]:
        """Returns the mean diversity of all lists at each cut-off."""
        return {name: total / self._lists for name, total in self._sums.items()}
