"""CausE: both kinds of rows and the distance of the tables, score by score."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.datasets import write_dataset
from tests.methods.cases import (
    NUM_ITEMS,
    NUM_NEGATIVES,
    NUM_ROWS,
    NUM_USERS,
    batch,
    bpr,
    gradients,
    log_loss,
    pairs,
    randomise,
    require_formula,
    tables,
)
from tfcausal import methods
from tfcausal.data.train_window import INTERVENED
from tfcausal.errors import InputError
from tfcausal.methods.cause import CausEOptions
from tfcausal.methods.triplets import TripletMethod

MIXED = [0, 1, 1, 0, 1, 0]


def make(**given: str) -> TripletMethod:
    model = methods.get("cause")(
        CausEOptions(embedding_dim=4, num_negatives=NUM_NEGATIVES, **given),
        num_users=NUM_USERS,
        num_items=NUM_ITEMS,
    )
    randomise(model)
    return model


@pytest.mark.parametrize("main_loss", ["bce", "bpr"])
@pytest.mark.parametrize("intervened", [MIXED, [0] * NUM_ROWS, [1] * NUM_ROWS])
def test_terms_are_the_means_of_their_own_rows(
    main_loss: str, intervened: list[int]
) -> None:
    model = make(main_loss=main_loss)
    given = batch({INTERVENED: intervened})
    met = {int(item) for item in given.positives} | {pair[3] for pair in pairs(given)}
    assert 0 not in met
    rows = sorted(met)

    def formula() -> dict[str, float]:
        users, control = tables(model)
        treatment = model.treatment.table.numpy().astype(np.float64)
        losses: dict[int, list[float]] = {0: [], 1: []}

        def score(row: int, user: int, item: int) -> float:
            table = treatment if intervened[row] else control
            return float(users[user] @ table[item])

        if main_loss == "bce":
            for row in range(NUM_ROWS):
                user, positive = int(given.users[row]), int(given.positives[row])
                losses[intervened[row]].append(log_loss(1, score(row, user, positive)))
        for row, user, positive, negative in pairs(given):
            losses[intervened[row]].append(
                log_loss(0, score(row, user, negative))
                if main_loss == "bce"
                else bpr(score(row, user, positive), score(row, user, negative))
            )
        return {
            "click": float(np.mean(losses[0])) if losses[0] else 0.0,
            "click_intervened": float(np.mean(losses[1])) if losses[1] else 0.0,
            "discrepancy": float(((control[rows] - treatment[rows]) ** 2).mean()),
        }

    require_formula(model, given, formula)


@pytest.mark.parametrize("intervened", [0, 1])
def test_both_tables_are_pulled_and_only_their_own_rows_teach_them(
    intervened: int,
) -> None:
    model = make()
    given = batch({INTERVENED: [intervened] * NUM_ROWS})
    tables_of_items = [model.items.table, model.treatment.table]
    own, other = tables_of_items[intervened], tables_of_items[1 - intervened]
    of_users, of_own, of_other = gradients(
        model, given, [model.users.table, own, other]
    )
    rows = sorted(
        {int(item) for item in given.positives} | {pair[3] for pair in pairs(given)}
    )
    # The distance alone moves the table that no row of the batch is of.
    pull = np.zeros((NUM_ITEMS, 4))
    pull[rows] = 0.01 * 2 * (other.numpy() - own.numpy())[rows] / (len(rows) * 4)
    np.testing.assert_allclose(of_other, pull, rtol=1e-4, atol=1e-7)
    assert np.abs(of_own + pull).max() > 1e-2
    assert np.abs(of_users).max() > 1e-2
    assert len(model.trainable_variables) == 3


@pytest.mark.parametrize("serves", ["control", "treatment"])
def test_the_table_that_serves(serves: str) -> None:
    model = make(serves=serves)
    control = model.items.table.numpy()
    treatment = model.treatment.table.numpy()
    expected = control if serves == "control" else treatment
    assert np.array_equal(model.vectors().candidates, expected)
    assert np.array_equal(model.vectors().queries[:, 0], model.users.table.numpy())


def test_tables_begin_apart() -> None:
    model = methods.get("cause")(CausEOptions(), num_users=3, num_items=4)
    difference = model.items.table.numpy() - model.treatment.table.numpy()
    assert np.abs(difference).mean() > 0.01


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"main_loss.*mse"):
        CausEOptions(main_loss="mse")
    with pytest.raises(InputError, match=r"serves.*both"):
        CausEOptions(serves="both")
    dataset = write_dataset(tmp_path / "data", num_users=12)
    assert methods.get("cause").of_dataset(dataset).items.num_rows == dataset.num_items
    shutil.rmtree(dataset.folder.part("train_intervened"))
    with pytest.raises(InputError, match=r"must have the part `train_intervened`"):
        methods.get("cause").of_dataset(dataset)
