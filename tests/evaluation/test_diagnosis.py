"""Diagnosis: every figure against plain Python, and planted causes."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from tests.evaluation import naive
from tests.evaluation.cases import Case, random_case
from tests.runs import random_vectors
from tfcausal.errors import InputError
from tfcausal.evaluation.diagnosis import Diagnosis, diagnose
from tfcausal.evaluation.evaluator import evaluate
from tfcausal.schema.protocol import protocol
from tfcausal.schema.vectors import CausalVectors

K = 12


def of(case: Case, k: int = K) -> Diagnosis:
    return diagnose(case.vectors, case.against.masked, case.popularity, k=k)


def popular_lists(case: Case, users: list[int]) -> dict[int, list[int]]:
    scores = {item: float(case.popularity[item]) for item in catalogue(case)}
    return {
        user: naive.ranked(scores, case.masked.get(user, set()), K) for user in users
    }


def catalogue(case: Case) -> range:
    return range(1, len(case.popularity))


def group_of(case: Case) -> dict[int, str]:
    """Items by falling popularity; a group ends with a third of the interactions."""
    order = sorted(catalogue(case), key=lambda item: (-case.popularity[item], item))
    total, before, groups = sum(case.popularity), 0, {}
    for item in order:
        groups[item] = ("head", "middle", "tail")[min(3 * before // total, 2)]
        before += case.popularity[item]
    return groups


def figures(case: Case, lists: dict[int, list[int]]) -> dict[str, float]:
    users = list(lists)
    shown = [item for items in lists.values() for item in items]
    counts = case.popularity
    mean = sum(counts[item] for item in shown) / len(shown)
    pairs = [naive.iou(lists[a], lists[b]) for a, b in combinations(users, 2)]
    popular = popular_lists(case, users)
    groups = group_of(case)
    times = sorted(shown.count(item) for item in catalogue(case))
    size = len(times)
    differences = sum(abs(a - b) for a in times for b in times)
    return {
        "overlap": sum(pairs) / len(pairs),
        "popularity": mean,
        "lift_items": mean / (sum(counts[i] for i in catalogue(case)) / size),
        "lift_interactions": mean / (sum(c * c for c in counts) / sum(counts)),
        **{
            name: sum(groups[item] == name for item in shown) / len(shown)
            for name in ("head", "middle", "tail")
        },
        # Half the mean difference of two items, over the mean.
        "gini": differences / (2 * size * sum(times)),
        "coverage": len(set(shown)) / size,
        "iou_itempop": sum(naive.iou(lists[u], popular[u]) for u in users) / len(users),
    }


@pytest.fixture(scope="module")
def case() -> Case:
    made = random_case(4, num_queries=2)
    made.popularity[0] = 0
    return made


def lists_of(case: Case, vectors: CausalVectors) -> dict[int, list[int]]:
    users = [user for user in range(1, case.num_users) if case.masked[user]]
    return naive.user_lists(vectors, case.masked, users, K)


def test_lists_agree_with_plain_python(case: Case) -> None:
    found = of(case)
    lists = lists_of(case, case.vectors)
    assert (found.k, found.num_users) == (K, len(lists))
    assert found.shown == pytest.approx(figures(case, lists), abs=1e-12)
    popular = popular_lists(case, list(lists))
    assert found.itempop == pytest.approx(figures(case, popular), abs=1e-12)
    assert found.itempop["iou_itempop"] == pytest.approx(
        sum(bool(items) for items in popular.values()) / len(popular)
    )
    rows = {
        0: [item for item in catalogue(case) for _ in range(case.popularity[item])],
        1: [],
    }
    expected = figures(case, rows)
    assert set(expected) - set(found.interactions) == {"overlap", "iou_itempop"}
    for name, value in found.interactions.items():
        assert value == pytest.approx(expected[name], abs=1e-12)
    assert json.loads(json.dumps(found.to_json()))["causes"] == found.causes


def test_causes_agree_with_plain_python(case: Case) -> None:
    found = of(case)
    lists = lists_of(case, case.vectors)
    popular = popular_lists(case, list(lists))

    def mean_iou(first: dict[int, list[int]], second: dict[int, list[int]]) -> float:
        return sum(naive.iou(first[u], second[u]) for u in lists) / len(lists)

    for cause, values in found.causes.items():
        alone = lists_of(case, case.vectors.only(cause))
        without = lists_of(case, case.vectors.weighted({cause: 0.0}))
        assert values["iou_itempop_alone"] == pytest.approx(mean_iou(alone, popular))
        assert values["changed_without"] == pytest.approx(1 - mean_iou(lists, without))
        assert values["lift_interactions_without"] == pytest.approx(
            figures(case, without)["lift_interactions"]
        )


def test_shares_agree_with_all_pairs(case: Case) -> None:
    sums = dict.fromkeys(case.vectors.causes, 0.0)
    for user, items in lists_of(case, case.vectors).items():
        others = [
            item
            for item in catalogue(case)
            if item not in case.masked[user] and item not in items
        ]

        def terms(item: int, user: int = user) -> dict[str, float]:
            candidate = case.vectors.candidates[item]
            queries = case.vectors.queries[user]
            query = queries[int(np.argmax(queries @ candidate))]
            return {
                cause: float(query[part] @ candidate[part])
                for cause, part in case.vectors.causes.items()
            }

        for item in items:
            own = terms(item)
            for other in others:
                for cause, term in terms(other).items():
                    sums[cause] += own[cause] - term
    found = {cause: values["share"] for cause, values in of(case).causes.items()}
    # A hundred thousand of about thirty-five thousand pairs, drawn with repeats.
    expected = {cause: value / sum(sums.values()) for cause, value in sums.items()}
    assert found == pytest.approx(expected, abs=0.01)
    assert sum(found.values()) == pytest.approx(1)


def world_of(pull: float) -> tuple[CausalVectors, Case]:
    """Interest of deviation 2, and conformity that is popularity alone."""
    vectors = random_vectors(50, 300, causes={"interest": 4}, seed=3)
    popularity = np.r_[0, np.random.default_rng(3).permutation(299) + 1]
    centred = (popularity - popularity.mean()) / popularity.std()
    column = (pull * centred).astype(np.float32)[:, None]
    vectors = CausalVectors(
        np.concatenate([vectors.queries, np.ones((50, 1, 1), np.float32)], axis=2),
        np.concatenate([vectors.candidates, column], axis=1),
        {"interest": slice(0, 4), "conformity": slice(4, 5)},
    )
    masked = {user: {user} for user in range(1, 50)}
    return vectors, Case(vectors, {1: {1}}, masked, popularity, 50)


def test_popularity_alone_is_recognised() -> None:
    _, case = world_of(pull=1e4)
    found = of(case)
    conformity, interest = found.causes["conformity"], found.causes["interest"]
    assert found.shown == pytest.approx(found.itempop, abs=0.03)
    assert found.shown["overlap"] > 0.9
    assert (found.shown["head"], found.shown["coverage"]) == (1.0, 13 / 299)
    assert conformity["share"] > 0.99
    assert conformity["iou_itempop_alone"] == 1.0
    assert conformity["changed_without"] > 0.9
    assert interest["changed_without"] < 0.05
    assert interest["iou_itempop_alone"] < 0.2


def test_more_pull_shows_in_every_figure() -> None:
    weak, strong = of(world_of(0.2)[1]), of(world_of(4.0)[1])
    for figure in ("overlap", "lift_items", "lift_interactions", "head", "gini"):
        assert weak.shown[figure] < strong.shown[figure]
    assert weak.shown["coverage"] > strong.shown["coverage"]
    assert weak.shown["tail"] > strong.shown["tail"]
    assert weak.causes["conformity"]["share"] < strong.causes["conformity"]["share"]
    assert weak.causes["interest"]["changed_without"] > 0.8


def test_one_cause_has_no_other_to_be_told_from() -> None:
    vectors = random_vectors(30, 60, causes={"preference": 3})
    case = Case(vectors, {1: {1}}, {1: {1}, 2: {5}}, np.arange(60), 30)
    found = of(case)
    assert found.num_users == 2
    assert set(found.causes["preference"]) == {"share", "iou_itempop_alone"}
    assert found.causes["preference"]["share"] == pytest.approx(1.0)


def test_a_score_that_tells_nothing_apart_has_no_shares() -> None:
    vectors = random_vectors(30, 60)
    alike = replace(vectors, candidates=np.ones_like(vectors.candidates))
    found = of(Case(alike, {1: {1}}, {1: {1}}, np.arange(60), 30))
    assert [values["share"] for values in found.causes.values()] == [0.0, 0.0]
    assert found.shown["overlap"] == 1.0


def test_a_cause_that_was_left_out_ranks_nothing_alone() -> None:
    vectors = random_vectors(30, 60).weighted({"conformity": 0.0})
    case = Case(vectors, {1: {1}}, {1: {1}}, np.arange(60), 30)
    assert list(of(case).causes) == ["interest"]
    found = evaluate(vectors, case.against, protocol("dice"), causes=True)
    assert list(found.causes) == ["interest"]


def test_samples_of_users_and_pairs_are_near_the_whole() -> None:
    vectors = random_vectors(900, 120, seed=5)
    masked = {user: {1 + user % 100} for user in range(1, 900)}
    case = Case(vectors, {1: {1}}, masked, np.arange(120), 900)
    lists = case.against.masked
    whole = diagnose(vectors, lists, case.popularity, num_pairs=500_000)
    some = diagnose(vectors, lists, case.popularity, num_pairs=20_000)
    few = diagnose(vectors, lists, case.popularity, num_users=300)
    assert (whole.num_users, few.num_users) == (899, 300)
    assert few == diagnose(vectors, lists, case.popularity, num_users=300)
    for found in (some, few):
        assert found.shown["overlap"] == pytest.approx(whole.shown["overlap"], abs=0.01)
        for cause, values in found.causes.items():
            share = whole.causes[cause]["share"]
            assert values["share"] == pytest.approx(share, abs=0.02)


def test_no_list_is_compared_with_itself() -> None:
    # Everybody has ten items of their own.
    owners = np.eye(41, dtype=np.float32)
    vectors = CausalVectors(
        owners[:, None], owners[np.arange(401) % 41], {"preference": slice(0, 41)}
    )
    masked = {user: {1} for user in range(1, 41)}
    case = Case(vectors, {1: {1}}, masked, np.arange(401), 41)
    for num_pairs in (700, 800):  # of 780
        found = diagnose(
            vectors, case.against.masked, case.popularity, k=5, num_pairs=num_pairs
        )
        assert found.shown["overlap"] == 0.0


def test_refuses(case: Case) -> None:
    for options, message in (
        ({"k": 0}, "`k` must be at least 1; got 0"),
        ({"num_users": 0}, "`num_users` must be at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            diagnose(case.vectors, case.against.masked, case.popularity, **options)
    nobody = Case(case.vectors, {1: {1}}, {}, case.popularity, case.num_users)
    with pytest.raises(InputError, match="must have a user who has met an item"):
        of(nobody)
    full = {1: set(catalogue(case))}
    everything = Case(case.vectors, {1: {1}}, full, case.popularity, case.num_users)
    with pytest.raises(InputError, match="must have a user with an item left"):
        of(everything)
