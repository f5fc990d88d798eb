"""DICE's terms against the formulas of the paper, pair by pair in float64."""

import math
from typing import Any

import numpy as np
import pytest

from tests.losses.test_discrepancy import slow_distance_correlation
from tests.methods.cases import bpr, randomise, require_formula, tables, window
from tfcausal import methods
from tfcausal.errors import InputError
from tfcausal.methods.dice import DICEOptions
from tfcausal.methods.triplets import TripletBatch
from tfcausal.stats.negatives import NegativeSampling, PopularityMargin, Uniform

import tensorflow as tf  # isort: skip

FIELDS = ("negatives", "case", "support")


def batch() -> TripletBatch:
    generator = np.random.default_rng(0)
    return TripletBatch(
        users=tf.constant(generator.integers(1, 9, 6), tf.int32),
        positives=tf.constant(generator.integers(1, 12, 6), tf.int32),
        negatives=tf.constant(generator.integers(1, 12, (6, 3)), tf.int32),
        case=tf.constant(generator.integers(0, 3, (6, 3)), tf.int8),
        support=tf.constant(generator.integers(0, 4, (6, 3)), tf.int32),
    )


@pytest.mark.parametrize("discrepancy", ["dcor", "l1", "l2"])
def test_terms_are_equations_6_to_8(discrepancy: str) -> None:
    model = methods.get("dice")(
        DICEOptions(embedding_dim=4, num_negatives=3, discrepancy=discrepancy),
        num_users=10,
        num_items=12,
        seed=1,
    )
    randomise(model)
    given = batch()
    slow = {
        "dcor": lambda x: slow_distance_correlation(x[:, :4], x[:, 4:]),
        "l1": lambda x: -np.abs(x[:, :4] - x[:, 4:]).mean(),
        "l2": lambda x: -((x[:, :4] - x[:, 4:]) ** 2).mean(),
    }[discrepancy]

    def formula() -> dict[str, float]:
        users, items = tables(model)
        sums = {"click": 0.0, "interest": 0.0, "conformity": 0.0}
        num_pairs = 0
        for row in range(6):
            query = users[int(given.users[row])]
            positive = items[int(given.positives[row])]
            interest_p = query[:4] @ positive[:4]
            conformity_p = query[4:] @ positive[4:]
            for column in range(3):
                if int(given.support[row, column]) == 0:
                    continue
                num_pairs += 1
                negative = items[int(given.negatives[row, column])]
                interest_n = query[:4] @ negative[:4]
                conformity_n = query[4:] @ negative[4:]
                sums["click"] += bpr(
                    interest_p + conformity_p, interest_n + conformity_n
                )
                case = int(given.case[row, column])
                if case == 2:
                    sums["interest"] += bpr(interest_p, interest_n)
                    sums["conformity"] += bpr(conformity_n, conformity_p)
                elif case == 1:
                    sums["conformity"] += bpr(conformity_p, conformity_n)
        distinct_users = users[np.unique(given.users.numpy())]
        distinct_items = items[np.unique(given.items.numpy())]
        return {name: total / num_pairs for name, total in sums.items()} | {
            "discrepancy": float(slow(distinct_users) + slow(distinct_items))
        }

    # Under its roots dCor adds a little, so that no gradient is infinite.
    require_formula(model, given, formula, rel=1e-4 if discrepancy == "dcor" else 1e-5)


def test_total_is_equation_10_with_the_curriculum() -> None:
    from tfcausal.training.callbacks import Curriculum

    model = methods.get("dice")(
        DICEOptions(embedding_dim=4, num_negatives=3, decay=0.5),
        num_users=10,
        num_items=12,
    )
    curriculum = Curriculum()
    curriculum.set_model(model)
    curriculum.on_epoch_begin(2)
    given = batch()
    found = model.loss_terms(given, model.towers(training=True))
    terms = {name: float(term) for name, term in found.items()}
    inputs = {name: getattr(given, name) for name in given.__dataclass_fields__}
    inputs.pop("facts")
    expected = (
        terms["click"]
        + 0.1 * 0.25 * (terms["interest"] + terms["conformity"])
        + 0.01 * terms["discrepancy"]
    )
    assert float(model.compute_loss(inputs)) == pytest.approx(expected, rel=1e-5)


def test_the_cap_on_rows_takes_the_first_distinct_ones() -> None:
    model = methods.get("dice")(
        DICEOptions(embedding_dim=4, num_negatives=3, discrepancy_rows=3),
        num_users=10,
        num_items=12,
    )
    given = batch()
    total = 0.0
    for tower, rows in ((model.users, given.users), (model.items, given.items)):
        seen: list[int] = []
        for row in rows.numpy().ravel().tolist():
            if row not in seen:
                seen.append(row)
        values = tower.table.numpy().astype(np.float64)[seen[:3]]
        total += slow_distance_correlation(values[:, :4], values[:, 4:])
    found = float(model.loss_terms(given, model.towers(training=True))["discrepancy"])
    assert found == pytest.approx(total, rel=2e-3)


def test_negatives_follow_the_option() -> None:
    def sampling(**given: Any) -> NegativeSampling:
        options = DICEOptions(num_negatives=3, **given)
        model = methods.get("dice")(options, num_users=3, num_items=4)
        return model.negative_sampling()

    assert sampling(margin=7.0, decay=0.8, min_pool=9) == PopularityMargin(
        num_negatives=3, margin=7.0, margin_decay=0.8, min_pool=9
    )
    assert sampling(negatives="uniform") == Uniform(num_negatives=3)


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"negatives.*hard"):
        DICEOptions(negatives="hard")
    with pytest.raises(InputError, match="discrepancy"):
        DICEOptions(discrepancy="hsic")
    with pytest.raises(InputError, match="learning_rate"):
        DICEOptions(learning_rate=0.0)


def test_softmax_against_the_batch_with_the_cosine_of_each_cause() -> None:
    options = DICEOptions(
        embedding_dim=4,
        num_negatives=3,
        discrepancy="none",
        click_loss="softmax",
        similarity="cosine",
        temperature=0.5,
    )
    popularity = np.arange(12) % 5
    model = methods.get("dice")(
        options, num_users=10, num_items=12, window=window(popularity.tolist()), seed=1
    )
    given = batch()
    causes = []
    for part in (slice(0, 4), slice(4, 8)):
        users, items = (
            table.numpy().astype(np.float64)[:, part]
            for table in (model.users.table, model.items.table)
        )
        users /= np.linalg.norm(users, axis=1, keepdims=True)
        items /= np.linalg.norm(items, axis=1, keepdims=True)
        causes.append(users @ items.T / 0.5)
    share = np.maximum(popularity, 1) / np.maximum(popularity, 1).sum()
    scores = causes[0] + causes[1] - np.log(share)
    clicks = list(zip(given.users.numpy(), given.positives.numpy(), strict=True))
    click = 0.0
    for user, item in clicks:
        met = {i for u, i in clicks if u == user}
        others = sum(np.exp(scores[user, i]) for _, i in clicks if i not in met)
        own = np.exp(scores[user, item])
        click -= math.log(own / (own + others)) / len(clicks)
    interest = [
        bpr(causes[0][user, item], causes[0][user, negative]) * (case == 2)
        for (user, item), negatives, cases, supports in zip(
            clicks, *(getattr(given, n).numpy() for n in FIELDS), strict=True
        )
        for negative, case, support in zip(negatives, cases, supports, strict=True)
        if support
    ]
    terms = model.loss_terms(given, model.towers(training=True))
    assert terms.keys() == {"click", "interest", "conformity"}
    assert float(terms["click"]) == pytest.approx(click, rel=1e-5)
    assert float(terms["interest"]) == pytest.approx(np.mean(interest), rel=1e-5)
