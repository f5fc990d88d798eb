"""Vectors and a test set in, metrics under a protocol out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tfcausal.data.interactions import Interactions
from tfcausal.errors import InputError
from tfcausal.evaluation.metrics import Float64s, accuracy, hit_matrix, overlap
from tfcausal.evaluation.ranking import ItemLists, rank_all
from tfcausal.schema.protocol import EvaluationProtocol
from tfcausal.schema.vectors import CausalVectors
from tfcausal.stats.negatives import Int32s, Int64s


@dataclass(frozen=True)
class EvaluationSet:
    """What a model is evaluated against.

    Attributes:
        positives: Items of each user in the evaluated part.
        masked: Items of each user that are left out of the lists.
        popularity: [num_items] int64 interactions in the train window.
    """

    positives: ItemLists
    masked: ItemLists
    popularity: Int64s

    @classmethod
    def from_interactions(
        cls,
        evaluated: Interactions,
        masked: Interactions | None,
        popularity: Int64s,
        num_users: int,
    ) -> "EvaluationSet":
        """Groups the rows by user; `masked` None masks nothing."""
        return cls(
            ItemLists.from_interactions(evaluated, num_users),
            ItemLists.empty(num_users)
            if masked is None
            else ItemLists.from_interactions(masked, num_users),
            popularity,
        )


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        protocol: Name of the protocol.
        protocol_hash: Hash of all its switches.
        num_users: Users averaged over.
        metrics: Metric such as "recall@20" to its value.
        causes: Cause to the metrics of its coordinates alone.
    """

    protocol: str
    protocol_hash: str
    num_users: int
    metrics: Mapping[str, float]
    causes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns plain dictionaries for JSON."""
        return asdict(self)


def evaluate(
    vectors: CausalVectors,
    against: EvaluationSet,
    protocol: EvaluationProtocol,
    *,
    causes: bool = False,
    users: Int32s | None = None,
) -> Evaluation:
    """Ranks all items for each user and scores the lists.

    Besides recall, hr and ndcg at each k of the protocol: coverage@k, the share of the
    catalogue in any list; popularity@k, the mean popularity of what is shown; and
    popularity_percentile@k, the same with the least popular item as 0 and the most
    popular as 1.

    Args:
        vectors: Of all users and items.
        against: The evaluated and the masked items.
        protocol: How lists are made and averaged.
        causes: Whether to add iou_itempop@k, the overlap with the most popular items,
            and the metrics of each cause alone.
        users: [n] int32 users to rank for; None for all that the protocol averages.
    Raises:
        InputError: If the protocol ranks only observed items, or no user is left.
    """
    if protocol.candidates != "all":
        raise InputError(
            f"Protocol `{protocol.name}` ranks observed items only, which full ranking "
            "cannot do. Choose dice, dccl, causerec or cadvae."
        )
    if users is None:
        users = np.flatnonzero(against.positives.lengths[1:] > 0).astype(np.int32) + 1
    if not len(users):
        raise InputError(
            "An evaluation must have a user with a positive; found none. Check the "
            "evaluated part."
        )
    total = len(against.positives.lengths) - 1
    counted = total if protocol.users == "all" else len(users)

    def score(scored: CausalVectors) -> dict[str, float]:
        return _score(scored, against, protocol, users, counted, with_overlap=causes)

    return Evaluation(
        protocol=protocol.name,
        protocol_hash=protocol.hash,
        num_users=counted,
        metrics=score(vectors),
        causes={cause: score(vectors.only(cause)) for cause in vectors.causes}
        if causes
        else {},
    )


def weight_curve(
    vectors: CausalVectors,
    against: EvaluationSet,
    protocol: EvaluationProtocol,
    *,
    cause: str,
    weights: Sequence[float],
    users: Int32s | None = None,
) -> list[dict[str, float]]:
    """Returns the metrics at each weight of one cause: do(cause = w) for the queries.

    Args:
        vectors: Of all users and items.
        against: The evaluated and the masked items.
        protocol: How lists are made and averaged.
        cause: The cause whose weight varies; the others keep 1.
        weights: Its weights.
        users: [n] int32 users to rank for; None for all that the protocol averages.
    Returns:
        For each weight `weight` and the metrics of `evaluate`.
    """
    curve = []
    for weight in weights:
        scored = vectors.weighted({cause: weight})
        found = evaluate(scored, against, protocol, users=users)
        curve.append({"weight": float(weight), **found.metrics})
    return curve


def _score(
    vectors: CausalVectors,
    against: EvaluationSet,
    protocol: EvaluationProtocol,
    users: Int32s,
    counted: int,
    *,
    with_overlap: bool,
) -> dict[str, float]:
    depth = protocol.ks[-1]
    num_items = len(against.popularity) - 1
    shown = np.zeros((len(protocol.ks), len(against.popularity)), np.int64)
    sums: dict[str, float] = {}
    weight = 0.0
    blocks = rank_all(vectors, users, against.masked, depth)
    most_popular = (
        rank_all(_by_popularity(against.popularity, vectors), users, against.masked, depth)
        if with_overlap
        else None
    )
    for block in blocks:
        num_positives = against.positives.lengths[block.users]
        hits = hit_matrix(block, against.positives)
        by_row = protocol.average_over == "interactions"
        weights = num_positives if by_row else np.ones(len(block.users))
        weight += float(weights.sum())
        _add(sums, accuracy(hits, num_positives, protocol), weights)
        for place, k in enumerate(protocol.ks):
            shown[place] += np.bincount(
                block.items[:, :k].ravel(), minlength=len(against.popularity)
            )
        if most_popular is not None:
            other = next(most_popular)
            _add(
                sums,
                {f"iou_itempop@{k}": overlap(block, other, k) for k in protocol.ks},
                np.ones(len(block.users)) * (weights.sum() / len(block.users)),
            )
    total = weight if protocol.average_over == "interactions" else float(counted)
    metrics = {name: value / total for name, value in sums.items()}
    percentile = _percentiles(against.popularity)
    for place, k in enumerate(protocol.ks):
        times = shown[place, 1:]
        lists = max(times.sum(), 1)
        metrics[f"coverage@{k}"] = float((times > 0).sum() / num_items)
        metrics[f"popularity@{k}"] = float(times @ against.popularity[1:] / lists)
        metrics[f"popularity_percentile@{k}"] = float(times @ percentile / lists)
    return metrics


def _add(sums: dict[str, float], values: Mapping[str, Float64s], weights: Any) -> None:
    for name, value in values.items():
        sums[name] = sums.get(name, 0.0) + float(value @ weights)


def _by_popularity(popularity: Int64s, vectors: CausalVectors) -> CausalVectors:
    # As many queries as the model has, so that blocks have the same users.
    queries = np.ones((*vectors.queries.shape[:2], 1), np.float32)
    return CausalVectors(
        queries, popularity.astype(np.float32)[:, None], {"popularity": slice(0, 1)}
    )


def _percentiles(popularity: Int64s) -> Float64s:
    """Returns the share of items that are less popular, [num_items - 1] in [0, 1)."""
    ascending = np.sort(popularity[1:])
    return np.searchsorted(ascending, popularity[1:], "left") / len(ascending)

