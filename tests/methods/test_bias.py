"""BIAS-U, BIAS-I and BIAS-UI: the loss pair by pair, and what cancels."""

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
    rankings,
    require_formula,
    tables,
)
from tfcausal import methods
from tfcausal.errors import InputError
from tfcausal.methods.bias import BiasOptions
from tfcausal.methods.mf import MFOptions
from tfcausal.methods.options import MethodOptions
from tfcausal.methods.triplets import TripletMethod
from tfcausal.training.options import TrainingOptions
from tfcausal.training.trainer import compile_model, training_batches


def make(biases: str) -> TripletMethod:
    model = methods.get("bias")(
        BiasOptions(embedding_dim=4, num_negatives=NUM_NEGATIVES, biases=biases),
        num_users=NUM_USERS,
        num_items=NUM_ITEMS,
    )
    randomise(model)
    return model


@pytest.mark.parametrize("biases", ["item", "user", "both"])
def test_the_loss_is_bpr_on_scores_with_biases(biases: str) -> None:
    model = make(biases)
    given = batch()

    def formula() -> dict[str, float]:
        users, items = tables(model)
        of_user, of_item = np.zeros(NUM_USERS), np.zeros(NUM_ITEMS)
        if biases != "item":
            of_user += model.user_biases.numpy()
        if biases != "user":
            of_item += model.item_biases.numpy()

        def score(user: int, item: int) -> float:
            return float(users[user] @ items[item] + of_user[user] + of_item[item])

        losses = [
            bpr(score(user, positive), score(user, negative))
            for _, user, positive, negative in pairs(given)
        ]
        return {"click": float(np.mean(losses))}

    require_formula(model, given, formula)


@pytest.mark.parametrize("biases", ["item", "both"])
def test_the_item_bias_is_a_cause_and_a_coordinate(biases: str) -> None:
    model = make(biases)
    users, items = tables(model)
    vectors = model.vectors()
    scores = np.einsum("ud,id->ui", vectors.queries[:, 0], vectors.candidates)
    expected = users @ items.T + model.item_biases.numpy()
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    assert list(vectors.causes) == ["preference", "bias"]
    without = vectors.weighted({"bias": 0.0})
    plain = without.queries[:, 0] @ without.candidates.T
    np.testing.assert_allclose(plain, users @ items.T, rtol=1e-4, atol=1e-5)


def test_a_user_bias_gets_no_gradient_and_an_item_bias_does() -> None:
    model = make("both")
    variables = (
        model.user_biases,
        model.item_biases,
        model.users.table,
        model.items.table,
    )
    assert len(model.trainable_variables) == len(variables)
    of_user, *others = gradients(model, batch(), variables)
    assert np.abs(of_user).max() < 1e-7
    assert all(np.abs(gradient).max() > 1e-2 for gradient in others)


def test_what_cancels_on_pairs_changes_no_ranking(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", num_users=60)
    training = TrainingOptions(batch_size=64)

    def made(name: str, options: MethodOptions) -> TripletMethod:
        return methods.get(name).of_dataset(dataset, options, seed=3)

    plain = made("mf", MFOptions(embedding_dim=8, learning_rate=0.02))
    user, item, both = (
        made("bias", BiasOptions(embedding_dim=8, learning_rate=0.02, biases=biases))
        for biases in ("user", "item", "both")
    )
    batches = list(training_batches(dataset, plain, training).dataset(0, 1))
    for model in (plain, user, item, both):
        compile_model(model, training)
        for given in batches:
            model.train_step(given)
    assert np.array_equal(rankings(user), rankings(plain))
    assert np.array_equal(rankings(both), rankings(item))
    assert not np.array_equal(rankings(item), rankings(plain))
    popular = np.argsort(-item.window.popularity)[:10]
    learned = item.item_biases.numpy()
    assert learned[popular].mean() > learned[1:].mean() + 0.05


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"biases.*items"):
        BiasOptions(biases="items")
