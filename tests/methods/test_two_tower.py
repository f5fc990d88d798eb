"""In-batch softmax against its formula, row by row in float64."""

import numpy as np
import pytest

from tests.methods.cases import Float64s, require_formula, tables, window
from tfcausal import methods
from tfcausal.errors import InputError
from tfcausal.methods.triplets import TripletBatch
from tfcausal.methods.two_tower import TwoTowerOptions

import tensorflow as tf  # isort: skip

POPULARITY = np.asarray([0, 40, 7, 1, 0, 12, 3])
# Rows of the intervened part are drawn too.
DRAWN = np.asarray([0, 42, 9, 4, 2, 13, 8])
USERS = [2, 3, 2, 1, 4, 3]
ITEMS = [1, 5, 6, 1, 2, 5]


@pytest.mark.parametrize("similarity", ["cosine", "product"])
@pytest.mark.parametrize("log_q", [1.0, 0.4])
def test_click_is_the_corrected_cross_entropy(similarity: str, log_q: float) -> None:
    options = TwoTowerOptions(
        embedding_dim=4, similarity=similarity, temperature=0.3, log_q=log_q
    )
    model = methods.get("two_tower")(
        options,
        num_users=5,
        num_items=7,
        window=window(POPULARITY.tolist(), drawn=DRAWN.tolist()),
        seed=1,
    )
    share = np.maximum(DRAWN, 1) / np.maximum(DRAWN, 1).sum()

    def compared() -> tuple[Float64s, Float64s]:
        users, items = tables(model)
        if similarity == "cosine":
            users /= np.linalg.norm(users, axis=1, keepdims=True)
            items /= np.linalg.norm(items, axis=1, keepdims=True)
        return users, items

    def formula() -> dict[str, float]:
        users, items = compared()
        total = 0.0
        for user, item in zip(USERS, ITEMS, strict=True):
            met = {i for u, i in zip(USERS, ITEMS, strict=True) if u == user}
            scores = items @ users[user] / 0.3 - log_q * np.log(share)
            others = sum(np.exp(scores[other]) for other in ITEMS if other not in met)
            total -= np.log(np.exp(scores[item]) / (np.exp(scores[item]) + others))
        return {"click": total / len(USERS)}

    batch = TripletBatch(tf.constant(USERS, tf.int32), tf.constant(ITEMS, tf.int32))
    require_formula(model, batch, formula)
    assert list(model.term_weights) == ["click"]

    users, items = compared()
    vectors = model.vectors()
    np.testing.assert_allclose(
        vectors.queries[:, 0] @ vectors.candidates.T, users @ items.T, atol=1e-5
    )


def test_options_that_make_no_sense_are_refused() -> None:
    def make(options: TwoTowerOptions, *, looks: bool = True) -> None:
        methods.get("two_tower")(
            options,
            num_users=5,
            num_items=7,
            window=window(POPULARITY.tolist()) if looks else None,
        ).vectors()

    with pytest.raises(InputError, match="`temperature` must be > 0; got 0"):
        make(TwoTowerOptions(temperature=0.0))
    with pytest.raises(InputError, match=r"similarity.*angle"):
        make(TwoTowerOptions(similarity="angle"))
    with pytest.raises(InputError, match=r"`window` must be given for .* two_tower"):
        make(TwoTowerOptions(), looks=False)
