"""Encoders of histories against their formulae in float64, and what pads may not do."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tests.layers.histories import (
    BOUNDED,
    CASES,
    COMIREC,
    DIM,
    IN_ORDER,
    MAX_LENGTH,
    MIND,
    READERS,
    SHORTEST,
    Floats,
    concept_weights,
    every,
    float64,
    gradients,
    histories,
    learned,
    make,
    of_concepts,
    padded,
    reading,
    routed,
)
from tfcausal.errors import InputError
from tfcausal.layers.history import HistoryEncoder
from tfcausal.layers.history_attention import (
    AttentionEncoder,
    ConceptAttention,
    ConceptEncoder,
)
from tfcausal.layers.history_mean import MeanEncoder
from tfcausal.layers.history_routing import RoutingEncoder

import tensorflow as tf  # isort: skip


@every
def test_queries_follow_the_formula(name: str) -> None:
    encoder, rows = learned(make(name)), histories()
    found = encoder(*padded(rows))
    assert found.shape == (len(rows), encoder.num_queries, DIM)
    expected = [CASES[name][1](encoder, items) for items in rows]
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)


@every
@pytest.mark.parametrize("side", ["right", "left", "between"])
@pytest.mark.parametrize("pad", [0.0, -3e4, np.nan])
def test_pads_change_nothing_wherever_they_are(
    name: str, side: str, pad: float
) -> None:
    encoder, rows = learned(make(name)), histories()
    plain, given = padded(rows), padded(rows, side, pad=pad)
    np.testing.assert_allclose(encoder(*given), encoder(*plain), rtol=1e-5, atol=1e-6)
    plain_items, plain_weights = gradients(encoder, *plain)
    items, weights = gradients(encoder, *given)
    exists, first = given[1].numpy(), plain[1].numpy()
    assert not items[~exists].any()
    np.testing.assert_allclose(items[exists], plain_items[first], rtol=1e-4, atol=1e-5)
    for found, expected in zip(weights, plain_weights, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@every
def test_more_pads_change_nothing(name: str) -> None:
    encoder, rows = learned(make(name)), histories()[: MAX_LENGTH - 1]
    vectors, exists = padded(rows)
    short = encoder(vectors[:, :-2], exists[:, :-2])
    np.testing.assert_allclose(short, encoder(vectors, exists), rtol=1e-5, atol=1e-6)


@every
def test_a_row_without_items_is_finite(name: str) -> None:
    encoder = learned(make(name))
    vectors, exists = padded([np.zeros((0, DIM))] * 2, pad=7.0)
    queries = encoder(vectors, exists).numpy()
    assert np.isfinite(queries).all()
    if name in ("recurrent", "mind", "comirec_dr", "comirec_sa", "concepts"):
        assert not queries.any()
    items, weights = gradients(encoder, vectors, exists)
    assert not items.any()
    assert all(np.isfinite(gradient).all() for gradient in weights)


@every
def test_gradients_of_weights_are_slopes(name: str) -> None:
    encoder, rows = learned(make(name)), histories(seed=3)
    slopes = np.random.default_rng(5).normal(size=(encoder.num_queries, DIM))
    items, weights = gradients(encoder, *padded(rows))
    assert items[:, 0].any()
    for weight, gradient in zip(encoder.trainable_variables, weights, strict=True):
        assert gradient.any(), weight.name
    if name in BOUNDED - {"comirec_sa"}:
        # Their gradient leaves the routing out, and is no slope.
        return
    for weight, gradient in zip(encoder.trainable_variables, weights, strict=True):
        start = weight.numpy()
        place = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
        sums = []
        for change in (1e-3, -1e-3):
            moved = start.copy()
            moved[place] += change
            weight.assign(moved)
            queries = [CASES[name][1](encoder, items) for items in rows]
            sums.append((np.asarray(queries) * slopes).sum())
        weight.assign(start)
        slope = (sums[0] - sums[1]) / 2e-3
        assert gradient[place] == pytest.approx(slope, rel=5e-3), weight.name


@every
def test_order_matters_where_it_should(name: str) -> None:
    encoder, rows = learned(make(name)), histories()[3:6]
    found = encoder(*padded(rows)).numpy()
    turned = encoder(*padded([items[::-1] for items in rows])).numpy()
    assert np.allclose(found, turned, atol=1e-4) == (name not in IN_ORDER)


@every
def test_initial_values_follow_from_the_seed(name: str) -> None:
    first, again, other = make(name), make(name), make(name, seed=2)
    assert first.name != again.name
    assert len(first.weights) == len(again.weights) > 0
    for one, two in zip(first.weights, again.weights, strict=True):
        assert one.shape == two.shape
        assert one.numpy().tobytes() == two.numpy().tobytes()
    drawn = [
        (one.numpy(), two.numpy())
        for one, two in zip(first.weights, other.weights, strict=True)
        if "bias" not in one.name
    ]
    assert drawn
    assert not any(np.array_equal(one, two) for one, two in drawn)


@every
def test_a_traced_call_takes_any_number_of_rows(name: str) -> None:
    encoder, rows = CASES[name][0](1), histories()
    call = tf.function(
        encoder,
        input_signature=[
            tf.TensorSpec([None, None, DIM]),
            tf.TensorSpec([None, None], tf.bool),
        ],
    )
    for count, length in ((14, MAX_LENGTH), (5, 4), (0, 3)):
        vectors, exists = (part[:count, :length] for part in padded(rows))
        found = call(vectors, exists)
        assert found.shape == (count, encoder.num_queries, DIM)
        np.testing.assert_allclose(
            found, encoder(vectors, exists), rtol=1e-5, atol=1e-6
        )


@every
def test_a_config_rebuilds_the_layer(name: str) -> None:
    encoder, given = make(name, seed=5), padded(histories())
    again = type(encoder).from_config(encoder.get_config())
    assert again.get_config() == encoder.get_config()
    assert (again.dim, again.num_queries) == (encoder.dim, encoder.num_queries)
    np.testing.assert_array_equal(again(*given), encoder(*given))


def test_the_paper_s_perceptron_is_the_default() -> None:
    encoder = MeanEncoder(DIM, seed=1)
    encoder.build(None)
    assert [kernel.shape for kernel in encoder.kernels] == [
        (DIM, 256),
        (256, 256),
        (256, DIM),
    ]
    assert np.abs(encoder.kernels[0].numpy()).max() <= (6 / (DIM + 256)) ** 0.5
    concept = ConceptAttention(DIM, seed=1)
    concept.build(None)
    assert [weight.shape for weight in concept.weights] == [(DIM, 256), (256, 20)]


def test_gates_begin_as_in_the_cell_that_was_published() -> None:
    encoder = make("recurrent")
    kernel, recurrent, bias = (weight.numpy() for weight in encoder.weights)
    assert bias.tolist() == [1.0] * (2 * DIM) + [0.0] * DIM
    for drawn in (kernel, recurrent):
        assert 0 < np.abs(drawn).max() <= (6 / (4 * DIM)) ** 0.5
    assert not np.array_equal(kernel, recurrent)


@pytest.mark.parametrize("options", [MIND, COMIREC])
def test_routing_shares_items_out_and_settles(options: dict[str, Any]) -> None:
    encoder = RoutingEncoder(
        DIM, 3, max_length=MAX_LENGTH, iterations=60, seed=1, **options
    )
    encoder.build(None)
    # Two groups of items that point in two directions.
    random = np.random.default_rng(2)
    items = 0.1 * random.normal(size=(MAX_LENGTH, DIM))
    items[::2, 0] += 2
    items[1::2, 1] += 2
    steps = routed(encoder, items)
    for weights, interests in steps:
        np.testing.assert_allclose(weights.sum(axis=0), 1)
        assert (np.linalg.norm(interests, axis=1) < 1).all()
    moved = [np.abs(after[1] - before[1]).max() for before, after in pairwise(steps)]
    assert max(moved[-5:]) < 0.05 * max(moved[:5])
    # An item ends with the interests that it agrees with most.
    assert steps[-1][0].max(axis=0).mean() > steps[0][0].max(axis=0).mean()
    found = encoder(*padded([items]))[0]
    np.testing.assert_allclose(found, steps[-1][1], rtol=1e-3, atol=1e-4)


def test_routing_logits_are_one_table_for_all_calls() -> None:
    encoder = RoutingEncoder(DIM, 40, max_length=500, seed=1, **MIND)
    encoder.build(None)
    assert [weight.shape for weight in encoder.non_trainable_variables] == [(40, 500)]
    logits = encoder.logits.numpy()
    assert np.abs(logits).max() <= 2
    # The normal law cut at 2: its deviation is 0.8796, and 0.7153 lie within +-1.
    assert logits.mean() == pytest.approx(0, abs=0.03)
    assert logits.std() == pytest.approx(0.8796, abs=0.01)
    assert np.mean(np.abs(logits) < 1) == pytest.approx(0.7153, abs=0.015)
    given = padded(histories())
    np.testing.assert_array_equal(encoder(*given), encoder(*given))


def test_maps_of_positions_are_normal() -> None:
    encoder = RoutingEncoder(16, 4, max_length=20, seed=1, **COMIREC)
    encoder.build(None)
    assert encoder.non_trainable_variables == []
    maps = encoder.map.numpy()
    assert maps.shape == (20, 16, 4 * 16)
    assert maps.mean() == pytest.approx(0, abs=0.03)
    assert maps.std() == pytest.approx(1, abs=0.02)
    assert np.mean(np.abs(maps) < 1) == pytest.approx(0.6827, abs=0.015)


def test_gradients_leave_the_routing_out() -> None:
    encoder, (items,) = learned(make("mind")), histories()[4:5]
    found, _ = gradients(encoder, *padded([items]))
    slopes = np.random.default_rng(5).normal(size=(encoder.num_queries, DIM))
    weights, _ = routed(encoder, items)[-1]

    def loss(changed: Floats) -> float:
        totals = weights @ (changed @ float64(encoder.map))
        squares = (totals**2).sum(axis=1, keepdims=True)
        queries = squares / (1 + squares) * totals / np.sqrt(squares + SHORTEST)
        return float((queries * slopes).sum())

    for place in np.ndindex(items.shape):
        step = np.zeros(items.shape)
        step[place] = 1e-5
        slope = (loss(items + step) - loss(items - step)) / 2e-5
        assert found[0][place] == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_concepts_come_with_their_weights() -> None:
    encoder, rows = make("concepts"), histories()
    assert isinstance(encoder, ConceptAttention)
    learned(encoder)
    for side in ("right", "left", "between"):
        vectors, exists = padded(rows, side, pad=np.nan)
        found, weights = (part.numpy() for part in encoder.attend(vectors, exists))
        np.testing.assert_array_equal(found, encoder(vectors, exists))
        assert weights.shape == (len(rows), 5, MAX_LENGTH)
        for row, items in enumerate(rows):
            own = exists[row].numpy()
            assert not weights[row][:, ~own].any()
            np.testing.assert_allclose(
                weights[row][:, own],
                concept_weights(encoder, items),
                rtol=1e-4,
                atol=1e-6,
            )
            np.testing.assert_allclose(
                weights[row].sum(axis=1), float(len(items) > 0), rtol=1e-5
            )


@pytest.mark.parametrize("name", sorted(BOUNDED))
def test_histories_that_are_too_long_are_refused(name: str) -> None:
    encoder = make(name)
    vectors = tf.zeros([2, MAX_LENGTH + 1, DIM])
    exists = tf.ones([2, MAX_LENGTH + 1], tf.bool)
    with pytest.raises(InputError, match="`vectors` must have a length <= 6"):
        encoder(vectors, exists)
    call = tf.function(
        encoder,
        input_signature=[
            tf.TensorSpec([None, None, DIM]),
            tf.TensorSpec([None, None], tf.bool),
        ],
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="a length <= 6"):
        call(vectors, exists)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MeanEncoder(0, seed=1), "`dim` must be >= 1; got 0"),
        (lambda: MeanEncoder(2, (3, 0), seed=1), "`hidden_dims` must be >= 1; got 0"),
        (
            lambda: MeanEncoder(2, activation="rellu", seed=1),
            "Unknown activation `rellu`. Did you mean `relu`",
        ),
        (
            lambda: RoutingEncoder(2, max_length=0, seed=1, **MIND),
            "`max_length` must be >= 1; got 0",
        ),
        (
            lambda: RoutingEncoder(2, max_length=3, iterations=0, seed=1, **MIND),
            "`iterations` must be >= 1; got 0",
        ),
        (
            lambda: RoutingEncoder(
                2, max_length=3, seed=1, **(MIND | {"maps": "share"})
            ),
            "Unknown maps `share`",
        ),
        (
            lambda: RoutingEncoder(
                2, max_length=3, seed=1, **(MIND | {"initial_logits": "ones"})
            ),
            "Unknown initial_logits `ones`",
        ),
        (
            lambda: RoutingEncoder(
                2, max_length=3, seed=1, **(MIND | {"initial_logits": "zeros"})
            ),
            '`initial_logits` must be "random"',
        ),
        (
            lambda: AttentionEncoder(2, 0, max_length=3, seed=1),
            "`num_interests` must be >= 1; got 0",
        ),
        (
            lambda: AttentionEncoder(2, max_length=3, hidden_dim=0, seed=1),
            "`hidden_dim` must be >= 1; got 0",
        ),
        (
            lambda: ConceptAttention(2, 0, seed=1),
            "`num_concepts` must be >= 1; got 0",
        ),
    ],
)
def test_wrong_options_are_refused(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        build()
    assert message in str(caught.value)


def test_a_base_without_a_formula_says_so() -> None:
    encoder = HistoryEncoder(DIM, 1, seed=1)
    with pytest.raises(NotImplementedError):
        encoder(*padded(histories()))


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("side", ["right", "left", "between"])
def test_concepts_are_read_in_place_of_items(name: str, side: str) -> None:
    encoder, rows = reading(READERS[name][0](3), 5), histories()
    vectors, exists = padded(rows, side, pad=np.nan)
    found = encoder(vectors, exists)
    expected = [of_concepts(name)(encoder, items) for items in rows]
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)
    assert (encoder.dim, encoder.num_queries) == (DIM, encoder.reader.num_queries)
    of_each = encoder.exists(exists).numpy()
    assert of_each.tolist() == [[len(items) > 0] * 5 for items in rows]


def test_an_encoder_of_concepts_has_the_weights_of_both() -> None:
    # Without relu, so that no row is without a gradient.
    encoder = reading(CASES["tanh"][0](3), 5)
    names = {weight.ref() for weight in encoder.trainable_variables}
    both = encoder.concepts.trainable_variables + encoder.reader.trainable_variables
    assert names == {weight.ref() for weight in both}
    assert len(names) == 2 + 4
    items, weights = gradients(encoder, *padded(histories()))
    assert all(gradient.any() for gradient in weights)
    exists = padded(histories())[1].numpy()
    assert not items[~exists].any()
    assert items[exists].any(axis=1).all()


def test_a_config_rebuilds_an_encoder_of_concepts() -> None:
    attention = ConceptAttention(DIM, 5, hidden_dim=7, seed=2)
    encoder = ConceptEncoder(attention, MeanEncoder(DIM, (5,), seed=3))
    again = ConceptEncoder.from_config(encoder.get_config())
    assert again.get_config() == encoder.get_config()
    given = padded(histories())
    np.testing.assert_array_equal(again(*given), encoder(*given))
