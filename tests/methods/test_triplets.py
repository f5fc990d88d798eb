"""What ranks and what is learned where items' norms count less."""

import numpy as np
import pytest

from tests.methods.cases import NUM_ITEMS, NUM_NEGATIVES, NUM_USERS, batch, window
from tfcausal import methods
from tfcausal.cli.options import build_options
from tfcausal.errors import InputError
from tfcausal.methods.triplets import TripletMethod

CASES: dict[str, dict[str, str]] = {
    "mf": {},
    "bias": {"biases": "both"},
    "macr": {"reference_score": "2"},
    "dice": {"num_negatives": str(NUM_NEGATIVES)},
    "dccl": {"click_loss": "softmax", "similarity": "cosine"},
    "two_tower": {"similarity": "product"},
}


def made(name: str, norm_power: float) -> TripletMethod:
    given = {"embedding_dim": "6", "norm_power": str(norm_power), **CASES[name]}
    (options,) = build_options([methods.get(name).options_class], given)
    popularity = np.arange(NUM_ITEMS).tolist()
    model = methods.get(name)(
        options,
        num_users=NUM_USERS,
        num_items=NUM_ITEMS,
        window=window(popularity, drawn=popularity),
        seed=3,
    )
    assert isinstance(model, TripletMethod)
    return model


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("norm_power", [0.5, 1.0])
def test_norms_of_causes_are_divided_out_of_items_alone(
    name: str, norm_power: float
) -> None:
    plain, changed = made(name, 0.0).vectors(), made(name, norm_power).vectors()
    np.testing.assert_array_equal(changed.queries, plain.queries)
    expected = np.array(plain.candidates, np.float64)
    for part in plain.causes.values():
        if part.stop - part.start > 1:
            norms = np.linalg.norm(expected[:, part], axis=1, keepdims=True)
            expected[:, part] /= norms**norm_power
    np.testing.assert_allclose(changed.candidates, expected, rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_what_is_learned_does_not_change(name: str) -> None:
    given = batch()
    losses = []
    for norm_power in (0.0, 0.5):
        model = made(name, norm_power)
        terms = model.loss_terms(given, model.towers(training=True))
        losses.append({term: float(value) for term, value in terms.items()})
    assert losses[0] == losses[1]


def test_a_power_outside_of_0_to_1_is_refused() -> None:
    with pytest.raises(InputError, match="norm_power"):
        made("mf", 1.5)
