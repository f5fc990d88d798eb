"""Whether causes were told apart: by popularity, by each other, by a world's truth."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from tfcausal.data.interactions import CheckedDataset, read_vocabulary
from tfcausal.data.world_truth import Truth
from tfcausal.errors import InputError
from tfcausal.evaluation.dependence import (
    cross_validated_r2,
    distance_correlation,
    spearman,
)
from tfcausal.evaluation.evaluator import EvaluationSet, evaluate
from tfcausal.evaluation.metrics import Float64s
from tfcausal.evaluation.pairs import pair_scores
from tfcausal.evaluation.ranking import ItemLists
from tfcausal.evaluation.users import sample_users
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.protocol import protocol
from tfcausal.schema.vectors import CausalVectors
from tfcausal.stats import mixing
from tfcausal.stats.negatives import Int64s

WHOLE_SCORE = "score"
"""Name of the sum over causes among the learned scores."""
KS = (5, 10, 20, 50, 100)
"""Lengths of the lists that are compared with the most popular items."""
REGRESSION_ITEMS = 100_000
"""At most so many items' popularity is foretold: 100 MB at 128 coordinates."""


@dataclass(frozen=True)
class Disentanglement:
    """How far the causes of a model were told apart.

    Attributes:
        num_items: Items whose vectors were set side by side.
        num_users: Users whose vectors were, and whose lists were looked at.
        popularity: Cause to what its item vectors know of popularity.
        items: Pair of causes, "a, b", to how dependent their item vectors are.
        users: The same of the vectors of users.
        iou_itempop: Cause, and "score" for their sum, to its overlap with the most
            popular items, "iou_itempop@k" for each k.
    """

    num_items: int
    num_users: int
    popularity: Mapping[str, Mapping[str, float]]
    items: Mapping[str, Mapping[str, float]]
    users: Mapping[str, Mapping[str, float]]
    iou_itempop: Mapping[str, Mapping[str, float]]

    def to_json(self) -> dict[str, Any]:
        """Returns plain dictionaries for JSON."""
        return asdict(self)


def disentangle(
    vectors: CausalVectors,
    masked: ItemLists,
    popularity: Int64s,
    *,
    num_items: int = 2_000,
    num_users: int = 2_000,
    ks: tuple[int, ...] = KS,
) -> Disentanglement:
    """Measures how far causes were told apart, without a truth to compare with.

    Of popularity, by cause:
        r2: share of the variance of log(1 + popularity) that a ridge regression
            foretells from the item vectors; see `cross_validated_r2`.
        norm_spearman: rank correlation of the item vectors' length with popularity;
            missing where all are of one length.
    Of a pair of causes:
        dcor: distance correlation of their vectors.
        by_chance: that of the same vectors in an order that has nothing to do with
            each other; the samples' size and dimension alone make it positive.
    Of lists:
        iou_itempop@k: mean intersection over union of the first k items with the most
            popular ones that the user has not met, as `evaluate` has it.

    Reference: Zheng et al. (DICE), WWW 2021, section 4.3.1, Figure 5(a), for the lists;
    the other figures say in numbers what its Figure 5(b) shows.

    Args:
        vectors: Of all users and items.
        masked: Items that each user has met and is not shown; users without any are
            not looked at.
        popularity: [num_items] int64 interactions in the train window, not all alike.
        num_items: At most so many items in distance correlations, always the same.
        num_users: At most so many users in distance correlations and for the lists,
            always the same.
        ks: Lengths of the lists, increasing.
    Raises:
        InputError: If num_items or num_users is below 2, popularity is the same for
            all, there are fewer than 10 items, nobody has met an item, or `ks` do not
            increase.
    """
    for name, value in (("num_items", num_items), ("num_users", num_users)):
        if value < 2:
            raise InputError(f"`{name}` must be at least 2; got {value}.")
    known = np.arange(UNKNOWN_INDEX + 1, len(popularity), dtype=np.int32)
    counts = popularity[known]
    if counts.min() == counts.max():
        raise InputError(
            f"`popularity` must vary between items; all have {counts[0]}. Measure on "
            "the data set that the model was trained on."
        )
    met = np.flatnonzero(masked.lengths[1:] > 0).astype(np.int32) + 1
    if not len(met):
        raise InputError(
            "Disentanglement must have a user who has met an item; found none. Check "
            "the part `train`."
        )
    # Rows of items are sampled as those of users are.
    items = sample_users(known, num_items, "disentanglement: items")
    users = sample_users(met, num_users, "disentanglement: users")
    regressed = sample_users(known, REGRESSION_ITEMS, "disentanglement: popularity")
    # Whoever has met an item is looked at; whether lists hit one is not.
    lists = evaluate(
        vectors,
        EvaluationSet(positives=masked, masked=masked, popularity=popularity),
        replace(protocol("dice"), ks=ks),
        causes=True,
        users=users,
    )
    names = [f"iou_itempop@{k}" for k in ks]
    return Disentanglement(
        num_items=len(items),
        num_users=len(users),
        popularity={
            cause: _knowledge(
                vectors.candidates[regressed, part], popularity[regressed]
            )
            for cause, part in vectors.causes.items()
        },
        items=_dependence(vectors.candidates[items][:, None], vectors.causes),
        users=_dependence(vectors.queries[users], vectors.causes),
        iou_itempop={
            learned: {name: metrics[name] for name in names}
            for learned, metrics in {
                WHOLE_SCORE: lists.metrics,
                **lists.causes,
            }.items()
        },
    )


def _knowledge(rows: Any, popularity: Int64s) -> dict[str, float]:
    """Returns what item vectors, [n, dim], know of popularity, [n]."""
    vectors = rows.astype(np.float64)
    counts = popularity.astype(np.float64)
    found = {"r2": cross_validated_r2(vectors, np.log1p(counts))}
    norms = np.linalg.norm(vectors, axis=1)
    if norms.min() < norms.max():
        found["norm_spearman"] = spearman(norms, counts)
    return found


def _dependence(rows: Any, causes: Mapping[str, slice]) -> dict[str, dict[str, float]]:
    """Returns how dependent causes are in vectors of [n, num_queries, dim].

    Where a user has several queries, all of them together are the sample.
    """
    parts = {
        cause: rows[:, :, part].reshape(len(rows), -1).astype(np.float64)
        for cause, part in causes.items()
    }
    start = np.asarray([mixing.stream(0, "disentanglement: chance")], np.uint64)
    shuffled = np.argsort(mixing.draws(start, np.arange(len(rows))), kind="stable")
    return {
        f"{first}, {second}": {
            "dcor": distance_correlation(parts[first], parts[second]),
            "by_chance": distance_correlation(parts[first], parts[second][shuffled]),
        }
        for first, second in combinations(causes, 2)
    }


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


def world_correlations(
    vectors: CausalVectors,
    dataset: CheckedDataset,
    truth: Truth,
    *,
    num_pairs: int = 200_000,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Correlates every learned score with the causes of the world behind a data set.

    Args:
        vectors: Of all users and items.
        dataset: The data set that was made of the world's log.
        truth: The world's causes.
        num_pairs: Pairs of a user and an item, drawn by `sample_pairs`.
        seed: Seed of the draw.
    Returns:
        As `cause_correlations`, with the true causes "interest" and "conformity".
    Raises:
        InputError: If the data set has an id that the world does not know.
    """
    users, items = sample_pairs(
        dataset.num_users, dataset.num_items, num_pairs, seed=seed
    )
    user_ids = read_vocabulary(dataset.folder.users).take(users)
    item_ids = read_vocabulary(dataset.folder.items).take(items)
    true_scores = {
        "interest": truth.interest(user_ids, item_ids),
        "conformity": truth.conformity(user_ids, item_ids),
    }
    return cause_correlations(vectors, users, items, true_scores)
