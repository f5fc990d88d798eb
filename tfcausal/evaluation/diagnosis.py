"""How much of what is shown is popularity, and which cause brings it in.

No test set is needed: the lists themselves are looked at, beside those of the most
popular items and beside the interactions that were trained on.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tfcausal.data.world import concentration
from tfcausal.errors import InputError
from tfcausal.evaluation.item_pop import item_pop
from tfcausal.evaluation.metrics import overlap
from tfcausal.evaluation.pairs import pair_scores
from tfcausal.evaluation.ranking import ItemLists, rank_all
from tfcausal.evaluation.users import sample_users
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.vectors import CausalVectors
from tfcausal.stats import mixing
from tfcausal.stats.negatives import Int32s, Int64s
from tfcausal.stats.popularity import popularity_groups, popularity_ranks

GROUPS = ("head", "middle", "tail")
"""Items by popularity, each group with about a third of the interactions."""


@dataclass(frozen=True)
class Diagnosis:
    """What the lists consist of.

    Attributes:
        k: Length of the lists.
        num_users: Users whose lists were looked at.
        shown: Figures of the lists; see `diagnose`.
        itempop: The same of the most popular items that each user has not met.
        interactions: The same of the interactions counted by popularity, as far as
            they make sense there.
        causes: Cause to what it does to the lists.
    """

    k: int
    num_users: int
    shown: Mapping[str, float]
    itempop: Mapping[str, float]
    interactions: Mapping[str, float]
    causes: Mapping[str, Mapping[str, float]]

    def to_json(self) -> dict[str, Any]:
        """Returns plain dictionaries for JSON."""
        return asdict(self)


def diagnose(
    vectors: CausalVectors,
    masked: ItemLists,
    popularity: Int64s,
    *,
    k: int = 20,
    num_users: int = 2_000,
    num_pairs: int = 100_000,
) -> Diagnosis:
    """Looks at the lists of a sample of users.

    Of lists:
        overlap: mean intersection over union of two users' lists; 1 where all see the
            same.
        popularity: mean count of the listed items.
        lift_items: that count over the mean count of an item.
        lift_interactions: that count over the mean count of an interaction's item,
            sum(count^2) / sum(count); above 1 the lists amplify the log.
        head, middle, tail: shares of the entries by group of popularity.
        gini: inequality of exposure over the catalogue, 0 where all items are listed
            equally often.
        coverage: share of the catalogue in any of the lists.
        iou_itempop: mean overlap with the most popular items.
    Of causes:
        share: of what sets a listed item apart from a random one that could have been
            listed, in the score; shares add up to 1 and may be negative. 0 where such
            items do not score less.
        iou_itempop_alone: iou_itempop of the lists by this cause alone.
        changed_without: 1 - mean intersection over union of the lists with those of
            do(cause = 0); missing where it is the only cause.
        lift_interactions_without: lift_interactions under do(cause = 0), likewise.

    Args:
        vectors: Of all users and items.
        masked: Items that each user has met and is not shown; users without any are
            not looked at.
        popularity: [num_items] int64 interactions in the train window, not all 0.
        k: Length of the lists.
        num_users: At most so many users, always the same.
        num_pairs: At most so many pairs for overlap and for shares.
    Raises:
        InputError: If k or num_users is below 1, nobody has met an item, or everybody
            has met all.
    """
    for name, value in (("k", k), ("num_users", num_users)):
        if value < 1:
            raise InputError(f"`{name}` must be at least 1; got {value}.")
    met = np.flatnonzero(masked.lengths[1:] > 0).astype(np.int32) + 1
    if not len(met):
        raise InputError(
            "A diagnosis must have a user who has met an item; found none. Check the "
            "part `train`."
        )
    users = sample_users(met, num_users, "diagnosis users")
    # Ranks are exact in float32 where large counts are not.
    ranks = len(popularity) - popularity_ranks(popularity).astype(np.int64)
    most_popular = item_pop(ranks, len(vectors.queries))
    by_popularity = _lists(most_popular, users, masked, k)

    def figures(lists: Int32s) -> dict[str, float]:
        return {
            "overlap": _mean_overlap(lists, num_pairs),
            **_exposure(_times(lists, len(popularity)), popularity),
            "iou_itempop": float(overlap(lists, by_popularity).mean()),
        }

    lists = _lists(vectors, users, masked, k)
    if not lists.any():
        raise InputError(
            "A diagnosis must have a user with an item left to list; all have met "
            "everything."
        )
    shares = _shares(vectors, users, lists, masked, num_pairs)
    causes = {}
    for cause in vectors.causes:
        if vectors.is_silent(cause):
            continue
        alone = _lists(vectors.only(cause), users, masked, k)
        causes[cause] = {
            "share": shares[cause],
            "iou_itempop_alone": float(overlap(alone, by_popularity).mean()),
        }
        if len(vectors.causes) > 1:
            without = _lists(vectors.weighted({cause: 0.0}), users, masked, k)
            times = _times(without, len(popularity))
            causes[cause] |= {
                "changed_without": float(1 - overlap(lists, without).mean()),
                "lift_interactions_without": _exposure(times, popularity)[
                    "lift_interactions"
                ],
            }
    return Diagnosis(
        k=k,
        num_users=len(users),
        shown=figures(lists),
        itempop=figures(by_popularity),
        interactions=_exposure(popularity, popularity),
        causes=causes,
    )


def _lists(vectors: CausalVectors, users: Int32s, masked: ItemLists, k: int) -> Int32s:
    """Returns [num_users, k] int32 items, 0 past the end of a shorter list."""
    blocks = [block.items for block in rank_all(vectors, users, masked, k)]
    return np.concatenate(blocks)


def _times(lists: Int32s, num_items: int) -> Int64s:
    """Returns [num_items] int64: how often each item is listed."""
    times: Int64s = np.bincount(lists.ravel(), minlength=num_items)
    times[UNKNOWN_INDEX] = 0
    return times


def _exposure(times: Int64s, popularity: Int64s) -> dict[str, float]:
    """Returns the figures that follow from how often each item is shown."""
    total = times.sum()
    mean = float(times @ popularity / total)
    by_interactions = float(popularity @ popularity / popularity.sum())
    groups = popularity_groups(popularity, len(GROUPS))
    shares = np.bincount(groups, weights=times, minlength=len(GROUPS)) / total
    known = times[UNKNOWN_INDEX + 1 :]
    return {
        "popularity": mean,
        "lift_items": mean / float(popularity[UNKNOWN_INDEX + 1 :].mean()),
        "lift_interactions": mean / by_interactions,
        **dict(zip(GROUPS, shares.tolist(), strict=True)),
        "gini": concentration(known)["gini"],
        "coverage": float((known > 0).mean()),
    }


def _mean_overlap(lists: Int32s, num_pairs: int) -> float:
    """Returns the mean overlap of pairs of lists, of all pairs if they are few."""
    count = len(lists)
    if count == 1:
        return 1.0
    if count * (count - 1) // 2 <= num_pairs:
        first, second = np.triu_indices(count, 1)
    else:
        first = _draw("diagnosis: first lists", num_pairs, count)
        second = _draw("diagnosis: second lists", num_pairs, count - 1)
        second += second >= first
    return float(overlap(lists[first], lists[second]).mean())


def _shares(
    vectors: CausalVectors,
    users: Int32s,
    lists: Int32s,
    masked: ItemLists,
    num_pairs: int,
) -> dict[str, float]:
    """Returns each cause's share of the score of listed items above others."""
    rows = _draw("diagnosis: users", num_pairs, len(users))
    listed = lists[rows, _draw("diagnosis: places", num_pairs, lists.shape[1])]
    others = 1 + _draw("diagnosis: items", num_pairs, len(vectors.candidates) - 1)
    owners, met = masked.of(users)
    hidden = np.isin((rows << 32) | others, (owners << 32) | met)
    fair = (listed != UNKNOWN_INDEX) & ~hidden
    fair &= (lists[rows] != others[:, None]).all(axis=1)
    rows, listed, others = rows[fair], listed[fair], others[fair]
    above, above_terms = pair_scores(vectors, users[rows], listed)
    below, below_terms = pair_scores(vectors, users[rows], others)
    total = float((above - below).sum())
    return {
        cause: float((above_terms[cause] - below_terms[cause]).sum()) / total
        if total > 0
        else 0.0
        for cause in vectors.causes
    }


def _draw(purpose: str, count: int, bound: int) -> Int64s:
    """Returns [count] int64 below `bound`, uniform and always the same."""
    start = np.asarray([mixing.stream(0, purpose)], np.uint64)
    drawn = mixing.uniforms(mixing.draws(start, np.arange(count)))
    return (drawn * bound).astype(np.int64)
