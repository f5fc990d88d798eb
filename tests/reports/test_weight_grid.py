"""Weights that sliders stand on, and what the model answers at all of them."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tfcausal.errors import InputError
from tfcausal.reports.weight_grid import MAX_COMBINATIONS, ask_grid, weight_steps
from tfcausal.serving.client import load


@pytest.mark.parametrize(
    ("num_causes", "step", "largest"),
    [(1, 0.25, 2), (3, 0.25, 2), (4, 0.5, 2), (6, 1, 2), (7, 1, 1), (9, 1, 1)],
)
def test_steps_grow_with_the_number_of_causes(
    num_causes: int, step: float, largest: float
) -> None:
    steps = weight_steps(num_causes)
    assert steps == tuple(np.arange(0, largest + step, step))
    assert len(steps) ** num_causes <= MAX_COMBINATIONS


def test_too_many_causes_are_refused() -> None:
    with pytest.raises(InputError, match="10 causes have more"):
        weight_steps(10)


def test_queries_that_win_by_turns_are_entries_of_their_own(model: Path) -> None:
    recommender = load(model)
    found = ask_grid(recommender, recommender.user("u5"), 10)
    assert len(found.at) == 81
    assert len(set(found.items)) < len(found.items)
    both = recommender.terms(recommender.user("u5"), found.items)
    for cause, place in (("interest", 0), ("conformity", 1)):
        is_one = np.isclose(both[cause], found.terms[:, place], rtol=1e-6)
        assert is_one.any(axis=0).all()


def test_who_has_met_everything_gets_nothing(history_model: Path) -> None:
    recommender = load(history_model)
    everything = [f"i{item}" for item in range(1, 80)]
    found = ask_grid(recommender, recommender.history(everything), 5)
    assert (found.items, found.lists, found.at) == ([], [[]], [0] * 9)
    assert found.terms.shape == (0, 1)


def test_the_last_cause_varies_first(model: Path) -> None:
    recommender = load(model)
    found = ask_grid(recommender, recommender.user("u5"), 6)
    weights = list(product(weight_steps(2), repeat=2))
    for place in (0, 5, 30, 44, 80):
        chosen = dict(zip(("interest", "conformity"), weights[place], strict=True))
        expected = recommender.recommend("u5", 6, chosen)
        entries = found.lists[found.at[place]]
        assert [found.items[one] for one in entries] == [
            one.item_id for one in expected
        ]
