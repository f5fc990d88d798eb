"""MACR: three heads' losses score by score, and the order under the counterfactual."""

import numpy as np
import pytest

from tests.methods.cases import (
    NUM_ITEMS,
    NUM_NEGATIVES,
    NUM_USERS,
    Float64s,
    batch,
    bpr,
    gradients,
    log_loss,
    pairs,
    randomise,
    require_formula,
    sigmoid,
    tables,
)
from tfcausal import methods
from tfcausal.errors import InputError
from tfcausal.methods.macr import MACROptions
from tfcausal.methods.triplets import TripletMethod


def make(main_loss: str = "bce", reference_score: float = 1.5) -> TripletMethod:
    model = methods.get("macr")(
        MACROptions(
            embedding_dim=4,
            num_negatives=NUM_NEGATIVES,
            main_loss=main_loss,
            item_weight=0.5,
            user_weight=0.25,
            reference_score=reference_score,
        ),
        num_users=NUM_USERS,
        num_items=NUM_ITEMS,
    )
    randomise(model)
    return model


def item_logits(model: TripletMethod) -> Float64s:
    return tables(model)[1] @ model.item_head.kernel.numpy()[:, 0].astype(np.float64)


def user_logits(model: TripletMethod) -> Float64s:
    return tables(model)[0] @ model.user_head.kernel.numpy()[:, 0].astype(np.float64)


def test_terms_are_the_log_losses_of_the_three_heads() -> None:
    model = make()
    given = batch()

    def formula() -> dict[str, float]:
        users, items = tables(model)
        y_i, y_u = item_logits(model), user_logits(model)
        losses: dict[str, list[float]] = {"click": [], "item": [], "user": []}
        for _, user, positive, negative in pairs(given):
            by_label = {1: positive, 0: negative}
            pulls = {label: sigmoid(y_i[item]) for label, item in by_label.items()}
            y_ui = {
                label: users[user] @ items[item] * pulls[label] * sigmoid(y_u[user])
                for label, item in by_label.items()
            }
            for name, scores in {
                "click": y_ui,
                "item": {label: y_i[item] for label, item in by_label.items()},
                "user": {1: y_u[user], 0: y_u[user]},
            }.items():
                losses[name].append(sum(log_loss(*score) for score in scores.items()))
        return {name: float(np.mean(values)) for name, values in losses.items()}

    require_formula(model, given, formula)
    assert model.initial_term_weights() == {"click": 1.0, "item": 0.5, "user": 0.25}


def test_terms_on_pairs_have_no_user_head() -> None:
    model = make("bpr")
    given = batch()

    def formula() -> dict[str, float]:
        users, items = tables(model)
        y_i = item_logits(model)
        clicks, pulls = [], []
        for _, user, positive, negative in pairs(given):
            clicks.append(
                bpr(
                    users[user] @ items[positive] * sigmoid(y_i[positive]),
                    users[user] @ items[negative] * sigmoid(y_i[negative]),
                )
            )
            pulls.append(bpr(y_i[positive], y_i[negative]))
        return {"click": float(np.mean(clicks)), "item": float(np.mean(pulls))}

    require_formula(model, given, formula)
    assert model.initial_term_weights() == {"click": 1.0, "item": 0.5}


@pytest.mark.parametrize(("main_loss", "variables"), [("bce", 4), ("bpr", 3)])
def test_every_variable_learns(main_loss: str, variables: int) -> None:
    found = gradients(make(main_loss), batch())
    assert len(found) == variables
    assert all(np.abs(gradient).max() > 1e-3 for gradient in found)


@pytest.mark.parametrize("reference_score", [0.0, 1.5, 40.0])
def test_the_order_is_that_of_the_counterfactual(reference_score: float) -> None:
    model = make(reference_score=reference_score)
    users, items = tables(model)
    y_i, y_u = item_logits(model), user_logits(model)
    formula = np.asarray(
        [
            [
                (users[user] @ items[item] - reference_score)
                * sigmoid(y_i[item])
                * sigmoid(y_u[user])
                for item in range(NUM_ITEMS)
            ]
            for user in range(NUM_USERS)
        ]
    )
    vectors = model.vectors()
    folded = vectors.queries[:, 0] @ vectors.candidates.T
    assert np.array_equal(np.argsort(-folded, axis=1), np.argsort(-formula, axis=1))
    scale = np.asarray([[sigmoid(logit)] for logit in y_u])
    np.testing.assert_allclose(folded * scale, formula, rtol=1e-4, atol=1e-4)


def test_the_weight_of_the_item_scales_the_reference_score() -> None:
    model = make(reference_score=2.0)
    half = make(reference_score=1.0).vectors()
    weighted = model.vectors().weighted({"item": 0.5})
    assert list(weighted.causes) == ["match", "item"]
    np.testing.assert_allclose(
        weighted.queries[:, 0] @ weighted.candidates.T,
        half.queries[:, 0] @ half.candidates.T,
        rtol=1e-5,
        atol=1e-5,
    )


def test_heads_follow_the_seed_and_differ() -> None:
    def heads(seed: int) -> list[Float64s]:
        model = methods.get("macr")(MACROptions(), num_users=3, num_items=4, seed=seed)
        return [model.item_head.kernel.numpy(), model.user_head.kernel.numpy()]

    item, user = heads(1)
    assert np.array_equal(item, heads(1)[0])
    assert not np.array_equal(item, user)
    assert not np.array_equal(item, heads(2)[0])


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"main_loss.*hinge"):
        MACROptions(main_loss="hinge")
    with pytest.raises(InputError, match=r"reference_score.*nan"):
        MACROptions(reference_score=float("nan"))
