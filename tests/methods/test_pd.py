"""PD and PDA: the product of match and popularity, and the order that PDA serves."""

import math
from pathlib import Path

import numpy as np
import pytest

from tests.datasets import write_dataset
from tests.methods.cases import (
    NUM_ITEMS,
    NUM_NEGATIVES,
    NUM_USERS,
    batch,
    bpr,
    gradients,
    pairs,
    randomise,
    require_formula,
    tables,
    window,
)
from tfcausal import methods
from tfcausal.data.train_window import SLOT, SlotPopularity
from tfcausal.errors import InputError
from tfcausal.methods.pd import PDOptions
from tfcausal.methods.triplets import TripletMethod

GAMMA = 0.4
SLOTS = [2, 0, 1, 1, 2, 0]
COUNTS = [0, 8, 4, 4, 2, 2, 2, 1, 1, 0, 1, 1]
# (count + 1) / (all + items) from 1 / 37 to 9 / 37, of which min-max leaves count / 8.
GLOBAL = [count / 8 for count in COUNTS]


def slot_popularity() -> SlotPopularity:
    generator = np.random.default_rng(5)
    slots = generator.uniform(0, 1, (3, NUM_ITEMS))
    slots[1, 4] = 0.0
    return SlotPopularity(slots, generator.uniform(1e-9, 1, NUM_ITEMS))


def make(
    popularity: str = "slots",
    *,
    adjusted: bool = False,
    exact: str = "above",
    gamma: float = GAMMA,
) -> TripletMethod:
    model = methods.get("pd")(
        PDOptions(
            embedding_dim=4,
            num_negatives=NUM_NEGATIVES,
            gamma=gamma,
            adjusted=adjusted,
            popularity=popularity,
            exact=exact,
        ),
        num_users=NUM_USERS,
        num_items=NUM_ITEMS,
        window=window(COUNTS, slots=slot_popularity()),
    )
    randomise(model)
    return model


def elu(score: float) -> float:
    return score if score > 0 else math.exp(score) - 1


@pytest.mark.parametrize("popularity", ["slots", "global"])
def test_the_negative_takes_its_popularity_in_the_slot_of_the_positive(
    popularity: str,
) -> None:
    model = make(popularity)
    by_slot = slot_popularity().slots if popularity == "slots" else [GLOBAL] * 3
    given = batch({SLOT: SLOTS} if popularity == "slots" else None)
    assert model.row_facts() == tuple(given.facts)

    def formula() -> dict[str, float]:
        users, items = tables(model)

        def product(row: int, user: int, item: int) -> float:
            factor = by_slot[SLOTS[row]][item] ** GAMMA
            return float((elu(users[user] @ items[item]) + 1) * factor)

        losses = [
            bpr(product(row, user, positive), product(row, user, negative))
            for row, user, positive, negative in pairs(given)
        ]
        return {"click": float(np.mean(losses))}

    require_formula(model, given, formula)
    found = gradients(model, given)
    assert len(found) == 2
    assert all(np.abs(gradient).max() > 1e-3 for gradient in found)


def test_pd_ranks_by_the_match_alone() -> None:
    vectors = make().vectors()
    users, items = tables(make())
    np.testing.assert_allclose(vectors.queries[:, 0], users, rtol=1e-6)
    np.testing.assert_allclose(vectors.candidates, items, rtol=1e-6)
    assert list(vectors.causes) == ["match"]


@pytest.mark.parametrize("popularity", ["slots", "global"])
@pytest.mark.parametrize("exact", ["above", "below"])
def test_pda_ranks_scores_on_one_side_of_0_by_the_formula(
    exact: str, popularity: str
) -> None:
    model = make(popularity, adjusted=True, exact=exact)
    # All scores are of one sign, as all coordinates of users are above 0.
    sign = 1 if exact == "above" else -1
    model.users.table.assign(np.abs(model.users.table))
    model.items.table.assign(sign * np.abs(model.items.table))
    users, items = tables(model)
    following = (
        slot_popularity().following
        if popularity == "slots"
        else np.maximum(GLOBAL, 1e-9)
    )
    vectors = model.vectors()
    folded = (vectors.queries[:, 0] @ vectors.candidates.T)[:, 1:]
    formula = np.asarray(
        [
            [
                (elu(user @ item) + 1) * m**GAMMA
                for item, m in zip(items[1:], following[1:], strict=True)
            ]
            for user in users
        ]
    )
    products = folded if exact == "above" else np.exp(folded)
    np.testing.assert_allclose(products, formula, rtol=1e-4)
    assert np.array_equal(np.argsort(-folded, axis=1), np.argsort(-formula, axis=1))
    by_match = np.argsort(-(users @ items[1:].T), axis=1)
    assert not np.array_equal(np.argsort(-folded, axis=1), by_match)
    assert list(vectors.causes) == ["match", "popularity"]
    if exact == "below":
        without = vectors.weighted({"popularity": 0.0})
        scores = without.queries[:, 0] @ without.candidates.T
        assert np.array_equal(np.argsort(-scores[:, 1:], axis=1), by_match)


@pytest.mark.parametrize(("exact", "first"), [("above", 4), ("below", 3)])
def test_above_0_the_two_inner_products_differ(exact: str, first: int) -> None:
    # The formula has 3 * 0.6 = 1.8 < 2 * 1, but 2 + log 0.6 > 1 + log 1.
    model = make(adjusted=True, exact=exact)
    model.users.table.assign(np.ones((NUM_USERS, 4)))
    model.items.table.assign(np.ones((NUM_ITEMS, 4)) * 0.25)
    model.items.table[3].assign([0.5, 0.5, 0.5, 0.5])
    model.log_factors = np.log([1.0] * 3 + [0.6] + [1.0] * 8).astype(np.float32)
    vectors = model.vectors()
    scores = vectors.queries[0, 0] @ vectors.candidates.T
    wanted = {"above": (1.8, 2.0), "below": (2 + math.log(0.6), 1.0)}[exact]
    assert tuple(scores[[3, 4]]) == pytest.approx(wanted)
    assert max(3, 4, key=lambda item: scores[item]) == first


@pytest.mark.parametrize("exact", ["above", "below"])
def test_a_large_exponent_leaves_vectors_finite(exact: str) -> None:
    model = make("global", adjusted=True, exact=exact, gamma=6.0)
    vectors = model.vectors()
    assert np.isfinite(vectors.candidates).all()
    # Item 9 was never met: its popularity is taken as 1e-9.
    least = {"above": 0.0, "below": 6 * math.log(1e-9)}[exact]
    assert vectors.candidates[9, -1] == pytest.approx(least, abs=1e-4)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gamma.*>= 0; got -1"):
        PDOptions(gamma=-1.0)
    with pytest.raises(InputError, match=r"popularity.*daily"):
        PDOptions(popularity="daily")
    with pytest.raises(InputError, match=r"exact.*always"):
        PDOptions(exact="always")
    dataset = write_dataset(tmp_path / "data", num_users=12)
    with pytest.raises(InputError, match="must have time slots"):
        methods.get("pd").of_dataset(dataset)
    model = methods.get("pd").of_dataset(dataset, PDOptions(popularity="global"))
    assert model.factors.shape == (dataset.num_items, 1)
