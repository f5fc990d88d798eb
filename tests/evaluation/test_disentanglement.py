"""Disentanglement: planted answers, and every figure against a slow form."""

import json

import numpy as np
import pytest

from tests.evaluation import naive
from tests.evaluation.cases import Case, random_case
from tests.runs import random_vectors
from tfcausal.errors import InputError
from tfcausal.evaluation.dependence import (
    cross_validated_r2,
    distance_correlation,
    spearman,
)
from tfcausal.evaluation.disentanglement import (
    Disentanglement,
    cause_correlations,
    disentangle,
    sample_pairs,
)
from tfcausal.evaluation.pairs import pair_scores
from tfcausal.evaluation.ranking import ItemLists
from tfcausal.losses import discrepancy
from tfcausal.schema.vectors import CausalVectors
from tfcausal.stats import mixing

import tensorflow as tf  # isort: skip


def slow_spearman(first: list[float], second: list[float]) -> float:
    def ranks(values: list[float]) -> list[float]:
        return [
            sum(other < value for other in values)
            + (sum(other == value for other in values) - 1) / 2
            for value in values
        ]

    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


@pytest.mark.parametrize("seed", range(4))
def test_spearman_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 20, (2, 60)).astype(float)
    assert spearman(first, second) == pytest.approx(
        slow_spearman(first.tolist(), second.tolist())
    )


def test_spearman_knows_order_only() -> None:
    values = np.asarray([3.0, 1.0, 2.0, 9.0])
    assert spearman(values, np.exp(values)) == pytest.approx(1.0)
    assert spearman(values, -values) == pytest.approx(-1.0)
    with pytest.raises(InputError, match="must vary"):
        spearman(values, np.ones(4))
    with pytest.raises(InputError, match="of one length"):
        spearman(values, np.ones(3))


def test_pairs_are_drawn_evenly_and_the_same_again() -> None:
    users, items = sample_pairs(11, 6, 50_000, seed=3)
    again = sample_pairs(11, 6, 50_000, seed=3)
    assert np.array_equal([users, items], again)
    cells = np.bincount(users * 6 + items, minlength=66).reshape(11, 6)
    assert cells[1:, 1:].sum() == 50_000
    # 50 cells, 1,000 expected in each: chi-square beyond 99 has p < 3e-5.
    assert ((cells[1:, 1:] - 1_000) ** 2 / 1_000).sum() < 99


def test_terms_add_up_to_the_score() -> None:
    case = random_case(1, num_queries=3)
    users, items = sample_pairs(case.num_users, 150, 200)
    scores, terms = pair_scores(case.vectors, users, items)
    assert np.allclose(sum(terms.values()), scores)
    for user, item, score in zip(users, items, scores, strict=True):
        assert score == naive.score(case.vectors, int(user), int(item))


def test_planted_causes_are_told_apart() -> None:
    case = random_case(2)
    users, items = sample_pairs(case.num_users, 150, 5_000)
    _, terms = pair_scores(case.vectors, users, items)
    truth = {name: np.tanh(values) for name, values in terms.items()}
    found = cause_correlations(case.vectors, users, items, truth)
    assert list(found) == ["score", "interest", "conformity"]
    assert found["interest"]["interest"] == pytest.approx(1.0)
    assert found["conformity"]["conformity"] == pytest.approx(1.0)
    assert abs(found["interest"]["conformity"]) < 0.3
    assert found["score"]["interest"] < 1.0


def slow_r2(features: np.ndarray, target: np.ndarray) -> float:
    """Folds by their definition; every penalty by a system of equations of its own."""
    start = np.asarray([mixing.stream(0, "folds")], np.uint64)
    words = mixing.draws(start, np.arange(len(target))).tolist()
    order = sorted(range(len(target)), key=words.__getitem__)
    errors = total = 0.0
    for fold in range(5):
        held = order[fold::5]
        rest = [row for row in range(len(target)) if row not in held]
        mean, centre = target[rest].mean(), features[rest].mean(axis=0)
        scaled = (features - centre) / features[rest].std(axis=0)
        x, y = scaled[rest], target[rest] - mean
        best = (np.inf, np.zeros(x.shape[1]))
        for exponent in range(-8, 9):
            penalty = len(rest) * 10 ** (exponent / 2) * np.eye(x.shape[1])
            solved = np.linalg.solve(x.T @ x + penalty, x.T)
            freedom = 1 + np.trace(x @ solved)
            residual = ((y - x @ solved @ y) ** 2).sum()
            score = residual / (1 - freedom / len(rest)) ** 2
            best = min(best, (score, solved @ y), key=lambda pair: pair[0])
        errors += ((target[held] - mean - scaled[held] @ best[1]) ** 2).sum()
        total += ((target[held] - mean) ** 2).sum()
    return 1 - errors / total


@pytest.mark.parametrize(("seed", "noise"), [(0, 0.1), (1, 1.0), (2, 5.0)])
def test_r2_is_its_definition(seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(53, 6)) * rng.uniform(0.1, 9, 6) + 3
    target = features @ rng.normal(size=6) + noise * rng.normal(size=53) - 7
    assert cross_validated_r2(features, target) == pytest.approx(
        slow_r2(features, target), rel=1e-9
    )


@pytest.mark.parametrize("seed", range(5))
def test_r2_of_what_is_there_and_of_noise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.normal(size=400)
    noise = rng.normal(size=(400, 64))
    # Least squares would get about -64 / 320 here.
    assert -0.03 < cross_validated_r2(noise, target) < 0.06
    known = np.column_stack([5 - 3 * target, np.ones(400)])
    assert cross_validated_r2(known, target) > 0.9999
    half = target[:, None] + rng.normal(size=(400, 1))
    assert cross_validated_r2(half, target) == pytest.approx(0.5, abs=0.1)
    # More coordinates than rows, each of them twice.
    wide = np.repeat(noise[:50], 2, axis=1)
    assert -0.3 < cross_validated_r2(wide, target[:50]) < 0.3


def test_r2_refuses() -> None:
    with pytest.raises(InputError, match="must have at least 10 rows; got 9"):
        cross_validated_r2(np.ones((9, 1)), np.arange(9.0))
    with pytest.raises(InputError, match="must vary; it is constant"):
        cross_validated_r2(np.ones((20, 1)), np.ones(20))


def slow_distance_correlation(first: np.ndarray, second: np.ndarray) -> float:
    def centred(rows: np.ndarray) -> list[list[float]]:
        a = [[float(np.sqrt(((x - y) ** 2).sum())) for y in rows] for x in rows]
        n = len(a)
        means = [sum(row) / n for row in a]
        mean = sum(means) / n
        # Distances are symmetric, so a column's mean is its row's.
        return [
            [a[i][j] - means[i] - means[j] + mean for j in range(n)] for i in range(n)
        ]

    a, b = centred(first), centred(second)

    def covariance(x: list[list[float]], y: list[list[float]]) -> float:
        return sum(x[i][j] * y[i][j] for i in range(len(x)) for j in range(len(x)))

    scale = (covariance(a, a) * covariance(b, b)) ** 0.5
    return float((max(covariance(a, b), 0.0) / scale) ** 0.5)


@pytest.mark.parametrize("seed", range(3))
def test_distance_correlation_is_its_definition_and_the_loss(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(40, 5))
    second = 0.6 * first[:, :3] ** 2 + rng.normal(size=(40, 3))
    found = distance_correlation(first, second)
    assert found == pytest.approx(slow_distance_correlation(first, second), rel=1e-12)
    loss = discrepancy.distance_correlation(
        tf.constant(first, tf.float32), tf.constant(second, tf.float32)
    )
    assert found == pytest.approx(float(loss), rel=1e-4)


def test_distance_correlation_of_equal_and_of_independent_samples() -> None:
    rng = np.random.default_rng(0)
    first, other = rng.normal(size=(2, 1_000, 2))
    turned = 7 * first @ np.asarray([[0.6, 0.8], [-0.8, 0.6]]) + 2
    assert distance_correlation(first, first) == pytest.approx(1.0)
    assert distance_correlation(first, turned) == pytest.approx(1.0)
    assert distance_correlation(first, other) < 0.1
    # A parabola, which no line tells anything of.
    line = np.linspace(-1, 1, 301)[:, None]
    assert abs(np.corrcoef(line[:, 0], line[:, 0] ** 2)[0, 1]) < 1e-9
    assert distance_correlation(line, line**2) > 0.4
    assert distance_correlation(first, np.ones((1_000, 3))) == 0.0


def of(case: Case, **options: int) -> Disentanglement:
    return disentangle(case.vectors, case.against.masked, case.popularity, **options)


def test_figures_are_those_of_loops() -> None:
    case = random_case(5, num_queries=2)
    case.vectors.candidates[:] += np.random.default_rng(5).normal(size=(150, 5))
    found = of(case)
    users = [user for user in range(1, case.num_users) if case.masked[user]]
    assert (found.num_items, found.num_users) == (149, len(users))
    scores = {item: float(case.popularity[item]) for item in range(1, 150)}
    popular = {
        user: naive.ranked(scores, case.masked[user], 100) for user in range(1, 30)
    }
    scored = {
        "score": case.vectors,
        **{cause: case.vectors.only(cause) for cause in case.vectors.causes},
    }
    assert list(found.iou_itempop) == list(scored)
    for name, vectors in scored.items():
        lists = naive.user_lists(vectors, case.masked, users, 100)
        for k in (5, 10, 20, 50, 100):
            ious = [naive.iou(lists[user][:k], popular[user][:k]) for user in users]
            expected = sum(ious) / len(users)
            assert found.iou_itempop[name][f"iou_itempop@{k}"] == pytest.approx(
                expected
            )
    counts = case.popularity[1:].astype(float)
    for cause, part in case.vectors.causes.items():
        rows = case.vectors.candidates[1:, part].astype(np.float64)
        norms = [float(np.sqrt((row**2).sum())) for row in rows]
        assert found.popularity[cause] == pytest.approx(
            {
                "r2": slow_r2(rows, np.log(1 + counts)),
                "norm_spearman": slow_spearman(norms, counts.tolist()),
            }
        )
    items = case.vectors.candidates[1:].astype(np.float64)
    assert found.items["interest, conformity"]["dcor"] == pytest.approx(
        slow_distance_correlation(items[:, :3], items[:, 3:])
    )
    queries = case.vectors.queries[users].astype(np.float64)
    assert found.users["interest, conformity"]["dcor"] == pytest.approx(
        slow_distance_correlation(
            queries[:, :, :3].reshape(-1, 6), queries[:, :, 3:].reshape(-1, 4)
        )
    )
    json.dumps(found.to_json())


@pytest.fixture(scope="module")
def planted() -> Case:
    """Conformity is popularity, as it is and in the users' strength; interest noise."""
    case = random_case(6, num_users=300, num_items=600)
    rng = np.random.default_rng(6)
    case.popularity[:] = rng.pareto(1.0, 600) * 20
    noise = random_vectors(300, 600, causes={"interest": 8, "conformity": 1}, seed=6)
    noise.candidates[:, 8] = np.log1p(case.popularity)
    noise.queries[:, 0, 8] = rng.uniform(1, 2, 300)
    case.vectors = noise
    return case


def test_causes_that_were_told_apart(planted: Case) -> None:
    found = of(planted)
    assert found.popularity["conformity"]["r2"] > 0.9999
    assert found.popularity["conformity"]["norm_spearman"] == pytest.approx(1.0)
    assert abs(found.popularity["interest"]["r2"]) < 0.03
    assert abs(found.popularity["interest"]["norm_spearman"]) < 0.1
    for pair in (found.items, found.users):
        ((name, figures),) = pair.items()
        assert name == "interest, conformity"
        assert figures["dcor"] < 1.5 * figures["by_chance"] < 0.5
    # Equal counts are ordered by the item in both lists; one user has none left.
    num_users = found.num_users
    for overlap in found.iou_itempop["conformity"].values():
        assert overlap == pytest.approx((num_users - 1) / num_users)
    # Two blind lists of 100 out of 599 share about 100 / (2 * 599 - 100), and more
    # where most items are met.
    assert found.iou_itempop["interest"]["iou_itempop@100"] < 0.25
    assert (
        found.iou_itempop["interest"]["iou_itempop@100"]
        < found.iou_itempop["score"]["iou_itempop@100"]
        < 1.0
    )


def test_causes_that_are_the_same(planted: Case) -> None:
    own = planted.vectors.only("interest")
    twice = CausalVectors(
        np.concatenate([own.queries, own.queries], axis=2),
        np.concatenate([own.candidates, -2 * own.candidates], axis=1),
        {"interest": slice(0, 8), "conformity": slice(8, 16)},
    )
    found = disentangle(twice, planted.against.masked, planted.popularity)
    for pair in (found.items, found.users):
        (figures,) = pair.values()
        assert figures["dcor"] == pytest.approx(1.0)
        assert figures["by_chance"] < 0.5


def test_samples_are_always_the_same(planted: Case) -> None:
    found = of(planted, num_items=100, num_users=50)
    assert (found.num_items, found.num_users) == (100, 50)
    assert found == of(planted, num_items=100, num_users=50)
    assert found.iou_itempop["interest"] != of(planted).iou_itempop["interest"]
    assert found.items != of(planted, num_items=101).items


def test_a_single_cause_of_one_length(planted: Case) -> None:
    rng = np.random.default_rng(7)
    signs = rng.choice([-1.0, 1.0], (600, 4)).astype(np.float32)
    vectors = CausalVectors(
        planted.vectors.queries[:, :, :4], signs, {"score": slice(0, 4)}
    )
    found = disentangle(vectors, planted.against.masked, planted.popularity)
    assert list(found.popularity["score"]) == ["r2"]
    assert found.items == found.users == {}


def test_refuses(planted: Case) -> None:
    for name in ("num_items", "num_users"):
        with pytest.raises(InputError, match=f"`{name}` must be at least 2; got 1"):
            of(planted, **{name: 1})
    masked, popularity = planted.against.masked, planted.popularity
    with pytest.raises(InputError, match="must vary between items; all have 3"):
        disentangle(planted.vectors, masked, np.full(600, 3))
    with pytest.raises(InputError, match="a user who has met an item"):
        disentangle(planted.vectors, ItemLists.empty(300), popularity)
    with pytest.raises(InputError, match="must be positive and increasing"):
        disentangle(planted.vectors, masked, popularity, ks=(10, 5))
