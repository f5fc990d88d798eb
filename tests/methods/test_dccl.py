"""DCCL's terms against the formulas, row by row in float64."""

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest

from tests.methods.cases import bpr, randomise, require_formula, tables, window
from tfcausal import methods
from tfcausal.errors import InputError
from tfcausal.methods.dccl import DCCLOptions
from tfcausal.methods.triplets import TripletBatch, TripletMethod
from tfcausal.stats.negatives import PopularityMargin, Uniform

import tensorflow as tf  # isort: skip

POPULARITY = np.asarray([0, 40, 7, 1, 0, 12, 12])
USERS = [2, 3, 2, 1, 4, 3, 3]
ITEMS = [1, 5, 6, 1, 2, 5, 3]
NEGATIVES = [[2, 3], [1, 6], [5, 5], [2, 6], [4, 1], [2, 4], [6, 2]]
EXISTS = [[1, 1], [1, 0], [1, 1], [1, 1], [0, 0], [1, 1], [1, 1]]


def batch() -> TripletBatch:
    return TripletBatch(
        users=tf.constant(USERS, tf.int32),
        positives=tf.constant(ITEMS, tf.int32),
        negatives=tf.constant(NEGATIVES, tf.int32),
        case=tf.zeros((7, 2), tf.int8),
        support=tf.constant(EXISTS, tf.int32),
    )


def make(**changes: object) -> TripletMethod:
    options = dataclasses.replace(
        DCCLOptions(embedding_dim=4, num_negatives=2), **changes
    )
    return methods.get("dccl")(
        options, num_users=5, num_items=7, window=window(POPULARITY.tolist()), seed=1
    )


def unit(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.mark.parametrize("similarity", ["cosine", "product"])
@pytest.mark.parametrize("filtered", ["dropped", "zeroed"])
@pytest.mark.parametrize(("contrast_rows", "conformity_dim"), [(0, 0), (3, 2), (7, 5)])
def test_contrasts_weigh_and_filter_by_popularity(
    contrast_rows: int, conformity_dim: int, similarity: str, filtered: str
) -> None:
    model = make(
        contrast_similarity=similarity,
        filtered=filtered,
        contrast_temperature=0.7,
        contrast_rows=contrast_rows,
        conformity_dim=conformity_dim,
    )
    compare = unit if similarity == "cosine" else np.asarray
    randomise(model)

    def formula() -> dict[str, float]:
        users, items = tables(model)
        interest = compare(users[:, :4]) @ compare(items[:, :4]).T / 0.7
        conformity = compare(users[:, 4:]) @ compare(items[:, 4:]).T / 0.7
        sums = {"interest": 0.0, "conformity": 0.0}
        for row, (user, item) in enumerate(zip(USERS, ITEMS, strict=True)):
            # Rows 0 to 2, 3 to 5 and 6 by themselves, or all together.
            first = row // 3 * 3 if contrast_rows == 3 else 0
            among = slice(first, first + (contrast_rows or 7))
            rows_among = list(zip(USERS[among], ITEMS[among], strict=True))
            met = {i for u, i in rows_among if u == user}
            weight = np.exp(-POPULARITY[item] / 40)
            powers = [(i, np.exp(interest[user, i])) for _, i in rows_among]
            above = 0.1 + sum(power for i, power in powers if i in met)
            below = 0.1 + sum(power for _, power in powers)
            sums["interest"] -= weight * np.log(above / below)
            above, below = 0.1, 0.1
            for _, other in rows_among:
                power = np.exp(conformity[user, other])
                if POPULARITY[other] > POPULARITY[item]:
                    if filtered == "zeroed":
                        power = 1.0
                    elif other not in met:
                        power = 0.0
                below += power
                above += power if other in met else 0.0
            sums["conformity"] -= (1 - weight) * np.log(above / below)
        return {name: float(total / len(USERS)) for name, total in sums.items()}

    require_formula(model, batch(), formula, others=frozenset({"click"}))


def test_click_is_bpr_on_the_sum_of_both() -> None:
    model = make()

    def formula() -> dict[str, float]:
        users, items = tables(model)
        losses = [
            bpr(users[user] @ items[item], users[user] @ items[negative])
            for user, item, negatives, exist in zip(
                USERS, ITEMS, NEGATIVES, EXISTS, strict=True
            )
            for negative, there in zip(negatives, exist, strict=True)
            if there
        ]
        return {"click": float(np.mean(losses))}

    contrasts = frozenset({"interest", "conformity"})
    require_formula(model, batch(), formula, others=contrasts)


def test_softmax_takes_the_batch_and_draws_nothing() -> None:
    model = make(click_loss="softmax", similarity="cosine", temperature=0.5, log_q=0.0)
    assert model.negative_sampling() is None
    users, items = tables(model)
    scores = sum(
        unit(users[:, part]) @ unit(items[:, part]).T
        for part in (slice(0, 4), slice(4, 8))
    )
    losses = []
    for user, item in zip(USERS, ITEMS, strict=True):
        met = {i for u, i in zip(USERS, ITEMS, strict=True) if u == user}
        others = [np.exp(scores[user, i] / 0.5) for i in ITEMS if i not in met]
        own = np.exp(scores[user, item] / 0.5)
        losses.append(-np.log(own / (own + sum(others))))
    without = TripletBatch(tf.constant(USERS, tf.int32), tf.constant(ITEMS, tf.int32))
    terms = model.loss_terms(without, model.towers(training=True))
    assert float(terms["click"]) == pytest.approx(np.mean(losses), rel=1e-5)
    vectors = model.vectors()
    np.testing.assert_allclose(
        vectors.queries[:, 0] @ vectors.candidates.T, scores, atol=1e-5
    )


def test_each_contrast_teaches_its_own_cause() -> None:
    for name, others in (("interest", slice(4, 8)), ("conformity", slice(0, 4))):
        model = make()
        with tf.GradientTape() as tape:
            term = model.loss_terms(batch(), model.towers(training=True))[name]
        for gradient in tape.gradient(term, [model.users.table, model.items.table]):
            dense = tf.convert_to_tensor(gradient).numpy()
            assert np.abs(dense).max() > 1e-4
            assert np.abs(dense[:, others]).max() == 0.0


def test_a_contrast_of_weight_0_is_left_out() -> None:
    for weights, terms in (
        ({"conformity_weight": 0.0}, {"click", "interest"}),
        ({"interest_weight": 0.0}, {"click", "conformity"}),
    ):
        model = make(**weights)
        assert set(model.term_weights) == terms
        assert set(model.loss_terms(batch(), model.towers(training=True))) == terms


def test_causes_may_have_different_numbers_of_coordinates() -> None:
    model = make(conformity_dim=1)
    assert model.causes() == {"interest": slice(0, 4), "conformity": slice(4, 5)}
    assert model.vectors().candidates.shape == (7, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"filtered": "kept"}, r"filtered.*kept"),
        ({"click_loss": "hinge"}, r"click_loss.*hinge"),
        ({"similarity": "angle"}, r"similarity.*angle"),
        ({"contrast_rows": -1}, r"contrast_rows.*>= 0; got -1"),
        ({"conformity_dim": -1}, r"conformity_dim.*>= 0; got -1"),
        ({"contrast_similarity": "angle"}, r"contrast_similarity.*angle"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(DCCLOptions(), **changes)


def test_temperatures_must_be_above_0() -> None:
    with pytest.raises(InputError, match=r"`contrast_temperature` must be > 0; got -1"):
        make(contrast_temperature=-1.0)
    with pytest.raises(InputError, match=r"`temperature` must be > 0; got 0"):
        make(click_loss="softmax", temperature=0.0)


def test_negatives_follow_the_options() -> None:
    assert make().negative_sampling() == Uniform(2)
    margins = {"margin": 7.0, "decay": 0.8, "down_margin": 3.0, "min_pool": 9}
    found = make(negatives="popularity_margin", **margins).negative_sampling()
    assert found == PopularityMargin(
        2, margin=7.0, margin_decay=0.8, down_margin=3.0, min_pool=9
    )
    assert make(click_loss="softmax").negative_sampling() is None
    with pytest.raises(InputError, match="`negatives` must be uniform with click"):
        make(negatives="popularity_margin", click_loss="softmax")
    with pytest.raises(InputError, match=r"`negatives` must be one of.*got hard"):
        make(negatives="hard")
