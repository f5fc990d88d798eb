"""Negatives that a batch shares: their law by hand, their draws and who leaves whom."""

import math
from collections import Counter

import numpy as np
import pytest

from tfcausal.samplers.shared_negatives import (
    ItemLaw,
    ItemSampler,
    SharedNegatives,
    item_probabilities,
)
from tfcausal.stats import mixing

import tensorflow as tf  # isort: skip

POPULARITY = np.asarray([0, 3, 0, 7, 3, 1], np.int64)
LAWS: tuple[ItemLaw, ...] = ("uniform", "log_uniform", "popularity")
every_law = pytest.mark.parametrize("law", LAWS)


def word(number: int) -> tf.Tensor:
    return tf.constant(mixing.stream(number, "test of shared negatives"), tf.uint64)


def test_uniform_by_hand() -> None:
    found = item_probabilities(POPULARITY, "uniform")
    assert found.tolist() == [0.0, 0.2, 0.2, 0.2, 0.2, 0.2]


def test_popularity_by_hand() -> None:
    # Item 2 without rows counts as one: 3 + 1 + 7 + 3 + 1 = 15.
    found = item_probabilities(POPULARITY, "popularity")
    expected = [0, 3 / 15, 1 / 15, 7 / 15, 3 / 15, 1 / 15]
    np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_log_uniform_by_hand() -> None:
    # By rows: item 3 (7), 1 and 4 (3 each, by index), 5 (1), 2 (0).
    ranks = {3: 1, 1: 2, 4: 3, 5: 4, 2: 5}
    expected = [0.0] + [
        math.log((ranks[item] + 1) / ranks[item]) / math.log(6) for item in range(1, 6)
    ]
    found = item_probabilities(POPULARITY, "log_uniform")
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    # log 2 / log 6 and log(6 / 5) / log 6
    assert found[3] == pytest.approx(0.3868528072, abs=1e-9)
    assert found[2] == pytest.approx(0.1017555983, abs=1e-9)


@every_law
@pytest.mark.parametrize("seed", range(3))
def test_laws_sum_to_1_and_follow_the_items(law: ItemLaw, seed: int) -> None:
    generator = np.random.default_rng(seed)
    popularity = generator.permutation(1_000)
    popularity[0] = 0
    found = item_probabilities(popularity, law)
    assert found.dtype == np.float64
    assert found[0] == 0
    assert found[1:].min() > 0
    assert found.sum() == pytest.approx(1, abs=1e-12)
    # Whoever is named anew keeps its chance, as no two are equally popular.
    order = generator.permutation(np.arange(1, 1_000))
    turned = item_probabilities(np.append(0, popularity[order]), law)
    np.testing.assert_allclose(turned[1:], found[order], rtol=1e-12)
    # More rows, no less chance.
    ranked = found[1:][np.argsort(popularity[1:])]
    assert (np.diff(ranked) >= 0).all()


@every_law
def test_one_item_has_the_whole_law(law: ItemLaw) -> None:
    found = item_probabilities(np.asarray([0, 0], np.int64), law)
    assert found.tolist() == [0.0, 1.0]
    assert set(ItemSampler(found)(word(0), 50).numpy().tolist()) == {1}


@every_law
def test_draws_are_as_frequent_as_the_law_says(law: ItemLaw) -> None:
    generator = np.random.default_rng(2)
    popularity = np.append(0, generator.pareto(1.0, 40) * 5).astype(np.int64)
    probabilities = item_probabilities(popularity, law)
    number = 200_000
    drawn = tf.function(ItemSampler(probabilities))(word(3), number)
    assert drawn.dtype == tf.int32
    assert drawn.shape == (number,)
    counts = np.bincount(drawn.numpy(), minlength=41)
    assert len(counts) == 41
    assert counts[0] == 0
    spread = np.sqrt(number * probabilities * (1 - probabilities))
    assert (np.abs(counts - number * probabilities) <= 4 * spread).all()
    # Nor does a draw depend on the one before it: of pairs as of two draws.
    best = int(np.argmax(probabilities))
    hits = drawn.numpy() == best
    both = float((hits[1::2] & hits[::2]).sum())
    chance = probabilities[best] ** 2
    pairs = number // 2
    deviation = math.sqrt(pairs * chance * (1 - chance))
    assert abs(both - pairs * chance) < 4 * deviation


def test_draws_are_those_of_numpy() -> None:
    probabilities = item_probabilities(POPULARITY, "popularity")
    found = ItemSampler(probabilities)(word(8), 2_000).numpy()
    start = np.asarray(mixing.stream(8, "test of shared negatives"), np.uint64)
    uniforms = mixing.uniforms(mixing.draws(start, np.arange(2_000)))
    # Item i has the draws in [p_1 + ... + p_(i-1), p_1 + ... + p_i).
    expected = [
        next(
            item
            for item in range(1, 6)
            if one < probabilities[: item + 1].sum() - 1e-15
        )
        for one in uniforms
    ]
    assert found.tolist() == expected


def test_draws_follow_from_the_word_alone() -> None:
    sampler = ItemSampler(item_probabilities(np.arange(1_000), "uniform"))
    first = sampler(word(1), 500).numpy()
    again = tf.function(sampler)(word(1), 500).numpy()
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(sampler(word(1), 200).numpy(), first[:200])
    other = sampler(word(2), 500).numpy()
    # Of 500 about one half in 1,000 agrees.
    assert (first == other).sum() < 10
    assert sampler(word(1), 0).shape == (0,)


@every_law
def test_log_q_is_the_logarithm_of_the_law(law: ItemLaw) -> None:
    probabilities = item_probabilities(POPULARITY, law)
    sampler = ItemSampler(probabilities)
    assert sampler.log_q.dtype == tf.float32
    found = sampler.log_q.numpy()
    assert found[0] == 0
    for item in range(1, 6):
        assert found[item] == pytest.approx(math.log(probabilities[item]), rel=1e-6)
    assert sampler.trainable_variables == ()


NUM_ITEMS = 15


def case(seed: int) -> tuple[list[int], list[list[int]]]:
    """Draws with repeats; rows whose targets are among them, twice, or not at all."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(1, NUM_ITEMS, 12).tolist()
    targets = generator.integers(1, NUM_ITEMS, 9)
    targets[:3] = drawn[0]
    histories = generator.integers(0, NUM_ITEMS, (9, 5))
    # Pads behind, a row of pads alone, and an item that stands twice in a history.
    histories[:, 4] = 0
    histories[4] = 0
    histories[5, :2] = drawn[1]
    return drawn, np.column_stack([targets, histories]).tolist()


@pytest.mark.parametrize("seed", range(4))
def test_who_leaves_out_whom(seed: int) -> None:
    drawn, left_out = case(seed)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None, None], tf.int32),
        ]
    )
    def of(drawn: tf.Tensor, left_out: tf.Tensor) -> dict[str, tf.Tensor]:
        return vars(SharedNegatives.of(drawn, left_out, NUM_ITEMS))

    shared = SharedNegatives(**of(tf.constant(drawn), tf.constant(left_out)))
    items = shared.items.numpy().tolist()
    assert len(items) == len(set(items)) < len(drawn)
    counts = dict(zip(items, shared.counts.numpy().tolist(), strict=True))
    assert counts == Counter(drawn)
    rows = shared.met_rows.numpy().tolist()
    columns = shared.met_columns.numpy().tolist()
    assert rows == sorted(rows)
    assert shared.met_rows.dtype == shared.met_columns.dtype == tf.int32
    found: list[set[int]] = [set() for _ in left_out]
    for row, column in zip(rows, columns, strict=True):
        found[row].add(items[column])
    assert found == [set(drawn) & set(row) for row in left_out]
    # Pads are no items, and were not drawn.
    assert not any(0 in row for row in found)
    assert drawn[0] in found[0]


def test_nothing_is_left_out_of_what_was_not_drawn() -> None:
    shared = SharedNegatives.of(
        tf.constant([4, 4, 2]), tf.constant([[1, 0], [3, 5]]), NUM_ITEMS
    )
    assert sorted(shared.items.numpy().tolist()) == [2, 4]
    assert shared.met_rows.shape == shared.met_columns.shape == (0,)
    none = SharedNegatives.of(
        tf.constant([4, 4, 2]), tf.zeros([3, 0], tf.int32), NUM_ITEMS
    )
    assert none.met_rows.shape == (0,)
