"""Vectors and a test set in, metrics under a protocol out."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from tfcausal.data.interactions import Interactions
from tfcausal.errors import InputError
from tfcausal.evaluation.metrics import Float64s, accuracy, hit_places, overlap
from tfcausal.evaluation.ranking import ItemLists, RankedBlock, rank_all
from tfcausal.schema.protocol import EvaluationProtocol
from tfcausal.schema.vectors import CausalVectors
from tfcausal.stats.negatives import Int32s, Int64s


@dataclass(frozen=True)
class EvaluationSet:
    """What a model is evaluated against.

    Attributes:
        positives: Items of each user in the evaluated part, in the order of its rows.
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
            ItemLists.in_order_of_rows(evaluated, num_users),
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
        weights: The weights of causes that were intervened on.
        causes: Cause to the metrics of its coordinates alone.
    """

    protocol: str
    protocol_hash: str
    num_users: int
    metrics: Mapping[str, float]
    weights: Mapping[str, float] = field(default_factory=dict)
    causes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns plain dictionaries for JSON."""
        return asdict(self)


class Lists(Protocol):
    """Makes each user's list of a longer one.

    Attributes:
        depth: Length of the longer lists.
    """

    depth: int

    def __call__(self, block: RankedBlock) -> RankedBlock:
        """Returns lists as long as the protocol's largest cut-off.

        Args:
            block: A block's best `depth` items, in the order of their scores.
        """


def evaluate(
    vectors: CausalVectors,
    against: EvaluationSet,
    protocol: EvaluationProtocol,
    *,
    causes: bool = False,
    weights: Mapping[str, float] | None = None,
    users: Int32s | None = None,
    lists: Lists | None = None,
) -> Evaluation:
    """Ranks all items for each user and scores the lists.

    Besides recall, hr, ndcg and, where the protocol has it, legacy_ndcg at each k, over
    all lists: coverage@k,
    the share of the catalogue in any list; popularity@k, the mean popularity of what is
    shown; and popularity_percentile@k, the same with the least popular item as 0 and
    the most popular as 1.

    Args:
        vectors: Of all users and items.
        against: The evaluated and the masked items.
        protocol: How lists are made and averaged.
        causes: Whether to add iou_itempop@k, the overlap with the most popular items,
            and the metrics of each cause alone (before any weight).
        weights: Cause to its weight in the score, 1 where not named.
        users: [n] int32 users to average over; None for those of the protocol.
        lists: Makes the lists of longer ones; None for each user's best items.
    Raises:
        InputError: If the protocol ranks only observed items, a cause is unknown, or no
            user has a positive.
    """
    if protocol.candidates != "all":
        raise InputError(
            f"Protocol `{protocol.name}` ranks observed items only, which full ranking "
            "cannot do. Choose dice, dccl, causerec or cadvae."
        )
    weights = dict(weights or {})
    weighted = vectors.weighted(weights) if weights else vectors
    if users is None:
        users = np.arange(1, len(against.positives.lengths), dtype=np.int32)
    ranked = users[against.positives.lengths[users] > 0]
    if not len(ranked):
        raise InputError(
            "An evaluation must have a user with a positive; found none. Check the "
            "evaluated part."
        )
    counted = len(users) if protocol.users == "all" else len(ranked)
    by_popularity = _ItemPop(against, ranked, protocol) if causes else None

    def score(scored: CausalVectors) -> dict[str, float]:
        return _score(scored, against, protocol, ranked, counted, by_popularity, lists)

    return Evaluation(
        protocol=protocol.name,
        protocol_hash=protocol.hash,
        num_users=counted,
        metrics=score(weighted),
        weights=weights,
        causes={
            cause: score(vectors.only(cause))
            for cause in vectors.causes
            if causes and not vectors.is_silent(cause)
        },
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
        users: [n] int32 users to average over; None for those of the protocol.
    Returns:
        For each weight `weight` and the metrics of `evaluate`.
    """
    curve = []
    for weight in weights:
        found = evaluate(
            vectors, against, protocol, weights={cause: weight}, users=users
        )
        curve.append({"weight": float(weight), **found.metrics})
    return curve


class _ItemPop:
    """The most popular items of each user, kept to be compared with several scores."""

    def __init__(
        self, against: EvaluationSet, ranked: Int32s, protocol: EvaluationProtocol
    ) -> None:
        # Ranks are exact in float32 where large counts are not.
        order = np.argsort(-against.popularity, kind="stable")
        scores = np.empty((len(order), 1), np.float32)
        scores[order, 0] = np.arange(len(order), 0, -1)
        vectors = CausalVectors(
            np.ones((len(against.positives.lengths), 1, 1), np.float32),
            scores,
            {"popularity": slice(0, 1)},
        )
        blocks = rank_all(vectors, ranked, against.masked, protocol.ks[-1])
        self._items = np.concatenate([block.items for block in blocks])

    def overlaps(
        self, items: Int32s, first: int, ks: Sequence[int]
    ) -> dict[str, float]:
        """Returns the sum of overlaps at each k with the lists from row `first` on."""
        own = self._items[first : first + len(items)]
        return {
            f"iou_itempop@{k}": float(overlap(items[:, :k], own[:, :k]).sum())
            for k in ks
        }


def _score(
    vectors: CausalVectors,
    against: EvaluationSet,
    protocol: EvaluationProtocol,
    ranked: Int32s,
    counted: int,
    by_popularity: _ItemPop | None,
    lists: Lists | None,
) -> dict[str, float]:
    num_items = len(against.popularity)
    shown = np.zeros((len(protocol.ks), num_items), np.int64)
    sums: dict[str, float] = defaultdict(float)
    overlaps: dict[str, float] = defaultdict(float)
    by_row = protocol.average_over == "interactions"
    first = 0
    depth = lists.depth if lists else protocol.ks[-1]
    for longest in rank_all(vectors, ranked, against.masked, depth):
        block = lists(longest) if lists else longest
        num_positives = against.positives.lengths[block.users]
        weights = num_positives if by_row else np.ones(len(block.users))
        places = hit_places(block, against.positives)
        for name, values in accuracy(places, num_positives, protocol).items():
            sums[name] += float(values @ weights)
        for place, k in enumerate(protocol.ks):
            shown[place] += np.bincount(block.items[:, :k].ravel(), minlength=num_items)
        if by_popularity is not None:
            shared = by_popularity.overlaps(block.items, first, protocol.ks)
            for name, value in shared.items():
                overlaps[name] += value
        first += len(block.users)
    total = int(against.positives.lengths[ranked].sum()) if by_row else counted
    metrics = {name: value / total for name, value in sums.items()}
    metrics |= {name: value / len(ranked) for name, value in overlaps.items()}
    percentile = _percentiles(against.popularity)
    for place, k in enumerate(protocol.ks):
        times = shown[place, 1:]
        entries = max(times.sum(), 1)
        metrics[f"coverage@{k}"] = float((times > 0).sum() / (num_items - 1))
        metrics[f"popularity@{k}"] = float(times @ against.popularity[1:] / entries)
        metrics[f"popularity_percentile@{k}"] = float(times @ percentile / entries)
    return metrics


def _percentiles(popularity: Int64s) -> Float64s:
    """Returns each item's popularity as a share of the way from least to most popular.

    Returns:
        [num_items - 1] float64 in [0, 1]: the share of other items that are less
        popular, equally popular ones counting half.
    """
    ascending = np.sort(popularity[1:])
    less = np.searchsorted(ascending, popularity[1:], "left")
    not_more = np.searchsorted(ascending, popularity[1:], "right") - 1
    return (less + not_more) / (2 * max(len(ascending) - 1, 1))
