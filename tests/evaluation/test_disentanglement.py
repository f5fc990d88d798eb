"""Correlation of learned with true causes."""

import numpy as np
import pytest

from tests.evaluation import naive
from tests.evaluation.cases import random_case
from tfcausal.errors import InputError
from tfcausal.evaluation.disentanglement import (
    cause_correlations,
    sample_pairs,
    spearman,
)
from tfcausal.evaluation.pairs import pair_scores


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
