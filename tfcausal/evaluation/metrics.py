"""Metrics of ranked lists, a value for each list of a block."""

import numpy as np
import numpy.typing as npt

from tfcausal.evaluation.ranking import ItemLists, RankedBlock
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.protocol import EvaluationProtocol
from tfcausal.stats.negatives import Int32s, Int64s

Float64s = npt.NDArray[np.float64]


def hit_places(block: RankedBlock, positives: ItemLists) -> Int64s:
    """Returns [n, k] int64: which of its user's positives an item of a list is.

    Counted from 0 in the order of `positives`; -1 where it is none of them.
    """
    owners, items = positives.of(block.users)
    # Each positive as one number.
    known = (owners << 32) | items
    wanted = (np.arange(len(block.users))[:, None] << 32) | block.items
    if not len(known):
        return np.full(wanted.shape, -1, np.int64)
    ascending = np.argsort(known)
    found = np.searchsorted(known[ascending], wanted)
    found = ascending[np.minimum(found, len(known) - 1)]
    hits = (known[found] == wanted) & (block.items != UNKNOWN_INDEX)
    lengths = positives.lengths[block.users]
    firsts = np.cumsum(lengths) - lengths
    return np.where(hits, found - firsts[:, None], -1)


def accuracy(
    places: Int64s, num_positives: Int64s, protocol: EvaluationProtocol
) -> dict[str, Float64s]:
    """Returns recall, hit rate and NDCG of each list at every k.

    Recall = hits among the first k / positives; hit rate = whether there is one; NDCG =
    DCG / ideal DCG with gain 1 and discount 1 / log2(1 + rank). Which positives and
    which ideal is the protocol's choice.

    Legacy NDCG, where the protocol has it, takes for the rank of a hit its place among
    its user's positives, in the order of their rows, and divides by the best of as many
    places as there are hits. Where a hit stands in the list does not count.
    Reference: the first code of Cen et al. (ComiRec), KDD 2020.

    Args:
        places: [n, max k] int64 as of `hit_places`, best rank first.
        num_positives: [n] positives of each user, at least 1.
        protocol: Denominators and cut-offs.
    """
    hits = places >= 0
    discounts = 1.0 / np.log2(np.arange(hits.shape[1]) + 2.0)
    ideals = np.concatenate([[0.0], np.cumsum(discounts)])
    gains = hits * discounts
    # With an average over interactions each positive has a list of its own, with an
    # ideal of 1, and a user weighs as much as there are positives.
    by_row = protocol.average_over == "interactions"
    values: dict[str, Float64s] = {}
    for k in protocol.ks:
        found = hits[:, :k].sum(axis=1)
        at_most_k = np.minimum(num_positives, k)
        length = at_most_k if protocol.ndcg_ideal == "min_k_positives" else found
        ideal = ideals[np.minimum(length, hits.shape[1])]
        all_positives = by_row or protocol.recall_denominator == "positives"
        recall = found / (num_positives if all_positives else at_most_k)
        ideal = num_positives if by_row else np.where(ideal > 0, ideal, 1.0)
        values[f"recall@{k}"] = recall
        values[f"hr@{k}"] = recall if by_row else (found > 0).astype(np.float64)
        values[f"ndcg@{k}"] = gains[:, :k].sum(axis=1) / ideal
        if protocol.legacy_ndcg:
            own = hits[:, :k] / np.log2(np.maximum(places[:, :k], 0) + 2.0)
            values[f"legacy_ndcg@{k}"] = own.sum(axis=1) / ideals[np.maximum(found, 1)]
    return values


def overlap(first: Int32s, second: Int32s) -> Float64s:
    """Returns the intersection over union of each pair of lists, [n] float64.

    Reference: Zheng et al. (DICE), WWW 2021, section 4.3.1: IOU with ItemPop.

    Args:
        first: [n, k] int32 lists, each item once; 0 fills up and does not count.
        second: [n, k] int32 lists of the same form.
    """
    rows = np.arange(len(first))[:, None] << 32
    # Within a row an item stands once, so one sort brings equal ones side by side.
    both = np.sort(np.concatenate([first | rows, second | rows], axis=1), axis=1)
    equal = (both[:, 1:] == both[:, :-1]) & (both[:, 1:] != rows)
    shared = equal.sum(axis=1)
    sizes = (first != UNKNOWN_INDEX).sum(axis=1) + (second != UNKNOWN_INDEX).sum(axis=1)
    ratios: Float64s = shared / np.maximum(sizes - shared, 1)
    return ratios
