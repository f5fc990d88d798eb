"""IPS: weights by hand, and the weighted loss pair by pair."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
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
from tfcausal.errors import InputError
from tfcausal.methods.ips import IPSOptions
from tfcausal.methods.triplets import TripletMethod

# Items 1 to 11 are met so often in training, the intervened part included; item 0 is
# the unknown one. An item that nobody met counts as met once.
COUNTS = [0, 8, 4, 4, 2, 2, 2, 1, 1, 0, 1, 1]
PLAIN = [8 / max(count, 1) for count in COUNTS[1:]]
# The sorted weights are 1 2 2 4 4 4 8 8 8 8 8, whose middle is 4.
CLIPPED = [min(weight, 4.0) for weight in PLAIN]
NORMALISED = [weight / 4 for weight in CLIPPED]
WEIGHTS = {
    "ips": PLAIN,
    "ips_c": CLIPPED,
    "ips_cn": NORMALISED,
    "ips_cnsr": [weight**0.3 for weight in NORMALISED],
}


def make(form: str, **given: Any) -> TripletMethod:
    rows = [item for item, count in enumerate(COUNTS) for _ in range(count)]
    model = methods.get("ips")(
        IPSOptions(
            embedding_dim=4,
            num_negatives=NUM_NEGATIVES,
            form=form,
            smoothness=0.3,
            **given,
        ),
        num_users=NUM_USERS,
        num_items=NUM_ITEMS,
        # The biased part alone counts otherwise, which must not matter.
        window=window([0, *range(11)], rows),
    )
    randomise(model)
    return model


@pytest.mark.parametrize("form", WEIGHTS)
def test_the_loss_is_the_weighted_mean_over_all_pairs(form: str) -> None:
    model = make(form)
    given = batch()

    def formula() -> dict[str, float]:
        users, items = tables(model)
        losses = [
            WEIGHTS[form][positive - 1]
            * bpr(users[user] @ items[positive], users[user] @ items[negative])
            for _, user, positive, negative in pairs(given)
        ]
        return {"click": float(np.mean(losses))}

    require_formula(model, given, formula)
    assert all(np.abs(found).max() > 1e-3 for found in gradients(model, given))


def test_softmax_weighs_each_row_by_its_positive() -> None:
    model = make("ips_cn", click_loss="softmax", similarity="cosine", temperature=0.5)
    assert model.negative_sampling() is None
    given = batch()
    rows = list(zip(given.users.numpy(), given.positives.numpy(), strict=True))
    shares = np.maximum([0, *range(11)], 1) / np.maximum([0, *range(11)], 1).sum()

    def formula() -> dict[str, float]:
        users, items = (
            table / np.linalg.norm(table, axis=1, keepdims=True)
            for table in tables(model)
        )
        losses = []
        for user, item in rows:
            met = {other for owner, other in rows if owner == user}
            own = np.exp(users[user] @ items[item] / 0.5) / shares[item]
            others = [
                np.exp(users[user] @ items[other] / 0.5) / shares[other]
                for _, other in rows
                if other not in met
            ]
            losses.append(NORMALISED[item - 1] * -np.log(own / (own + sum(others))))
        return {"click": float(np.mean(losses))}

    require_formula(model, given, formula)


def test_weights_count_both_training_parts(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", num_users=30)
    files = dataset.folder.splits.glob("train*/*.parquet")
    items = np.concatenate([pq.read_table(path)["item"].to_numpy() for path in files])
    pop = np.maximum(np.bincount(items, minlength=dataset.num_items)[1:], 1)
    model = methods.get("ips").of_dataset(dataset, IPSOptions(form="ips"))
    np.testing.assert_allclose(model.item_weights[1:], pop.max() / pop, rtol=1e-6)


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"form.*snips"):
        IPSOptions(form="snips")
    with pytest.raises(InputError, match=r"smoothness.*> 0; got 0"):
        IPSOptions(smoothness=0.0)
