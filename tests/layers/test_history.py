"""Encoders of histories against their formulae in float64, and what pads may not do."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tfcausal.errors import InputError
from tfcausal.layers.history import HistoryEncoder
from tfcausal.layers.history_attention import (
    AttentionEncoder,
    ConceptAttention,
    ConceptEncoder,
)
from tfcausal.layers.history_mean import MeanEncoder
from tfcausal.layers.history_recurrent import RecurrentEncoder
from tfcausal.layers.history_routing import RoutingEncoder

import tensorflow as tf  # isort: skip

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

DIM = 4
MAX_LENGTH = 6
SHORTEST = 1e-9
MIND: dict[str, Any] = {"maps": "shared", "initial_logits": "random"}
COMIREC: dict[str, Any] = {"maps": "positions", "initial_logits": "zeros"}


def float64(weight: Any) -> Floats:
    return np.asarray(weight.numpy(), np.float64)


def sigmoid(values: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-values)))


def softmax(values: Floats) -> Floats:
    powers = np.exp(values - values.max())
    return np.asarray(powers / powers.sum())


def mean_query(encoder: MeanEncoder, items: Floats) -> Floats:
    hidden = items.mean(axis=0) if len(items) else np.zeros(DIM)
    *inner, (kernel, bias) = zip(encoder.kernels, encoder.biases, strict=True)
    for weights, offset in inner:
        hidden = hidden @ float64(weights) + float64(offset)
        hidden = (
            np.tanh(hidden) if encoder.activation == "tanh" else hidden * (hidden > 0)
        )
    return np.asarray([hidden @ float64(kernel) + float64(bias)])


def last_state(encoder: RecurrentEncoder, items: Floats) -> Floats:
    kernel, recurrent, bias = map(float64, encoder.units.trainable_variables)
    of_z, of_r, of_c = (slice(part * DIM, (part + 1) * DIM) for part in range(3))
    state = np.zeros(DIM)
    for item in items:
        given = item @ kernel + bias
        z = sigmoid(given[of_z] + state @ recurrent[:, of_z])
        r = sigmoid(given[of_r] + state @ recurrent[:, of_r])
        c = np.tanh(given[of_c] + (r * state) @ recurrent[:, of_c])
        state = z * state + (1 - z) * c
    return state[None]


def routed(encoder: RoutingEncoder, items: Floats) -> list[tuple[Floats, Floats]]:
    """Returns of each iteration the weights [K, items] and the interests [K, DIM]."""
    count, length = encoder.num_queries, len(items)
    maps = float64(encoder.map)
    said = np.zeros((count, length, DIM))
    logits = np.zeros((count, length))
    for place, item in enumerate(items):
        for k in range(count):
            own = (
                maps
                if encoder.maps == "shared"
                else maps[place][:, k * DIM : (k + 1) * DIM]
            )
            said[k, place] = item @ own
            if encoder.initial_logits == "random":
                logits[k, place] = float64(encoder.logits)[k, place]
    found = []
    for _ in range(encoder.iterations):
        weights = np.zeros((count, length))
        for place in range(length):
            weights[:, place] = softmax(logits[:, place])
        interests = np.zeros((count, DIM))
        for k in range(count):
            total = np.zeros(DIM)
            for place in range(length):
                total += weights[k, place] * said[k, place]
            square = total @ total
            interests[k] = square / (1 + square) * total / np.sqrt(square + SHORTEST)
            for place in range(length):
                logits[k, place] += said[k, place] @ interests[k]
        found.append((weights, interests))
    return found


def routed_queries(encoder: RoutingEncoder, items: Floats) -> Floats:
    _, interests = routed(encoder, items)[-1]
    if encoder.projection:
        projected = interests @ float64(encoder.projection_kernel)
        interests = np.maximum(projected + float64(encoder.projection_bias), 0)
    return interests


def attended(encoder: AttentionEncoder, items: Floats) -> Floats:
    queries = np.zeros((encoder.num_queries, DIM))
    if len(items):
        placed = items + float64(encoder.positions)[: len(items)]
        hidden = placed @ float64(encoder.hidden) + float64(encoder.hidden_bias)
        logits = np.tanh(hidden) @ float64(encoder.heads)
        for k in range(encoder.num_queries):
            queries[k] = softmax(logits[:, k]) @ items
    return queries


def concept_weights(encoder: ConceptAttention, items: Floats) -> Floats:
    weights = np.zeros((encoder.num_queries, len(items)))
    if len(items):
        # As in the paper: W2 tanh(W1 X^T).
        first, second = float64(encoder.hidden).T, float64(encoder.heads).T
        logits = second @ np.tanh(first @ items.T)
        for k in range(encoder.num_queries):
            weights[k] = softmax(logits[k])
    return weights


def concepts(encoder: ConceptAttention, items: Floats) -> Floats:
    return np.asarray(concept_weights(encoder, items) @ items)


Make = Callable[[int], HistoryEncoder]
CASES: dict[str, tuple[Make, Callable[[Any, Floats], Floats]]] = {
    "mean": (lambda seed: MeanEncoder(DIM, (5, 3), seed=seed), mean_query),
    "tanh": (
        lambda seed: MeanEncoder(DIM, (5,), activation="tanh", seed=seed),
        mean_query,
    ),
    "linear": (lambda seed: MeanEncoder(DIM, (), seed=seed), mean_query),
    "recurrent": (lambda seed: RecurrentEncoder(DIM, seed=seed), last_state),
    "mind": (
        lambda seed: RoutingEncoder(DIM, 3, max_length=MAX_LENGTH, seed=seed, **MIND),
        routed_queries,
    ),
    "mind_projected": (
        lambda seed: RoutingEncoder(
            DIM,
            2,
            max_length=MAX_LENGTH,
            iterations=4,
            projection=True,
            seed=seed,
            **MIND,
        ),
        routed_queries,
    ),
    "comirec_dr": (
        lambda seed: RoutingEncoder(
            DIM, 3, max_length=MAX_LENGTH, iterations=2, seed=seed, **COMIREC
        ),
        routed_queries,
    ),
    "comirec_sa": (
        lambda seed: AttentionEncoder(DIM, 3, max_length=MAX_LENGTH, seed=seed),
        attended,
    ),
    "concepts": (
        lambda seed: ConceptAttention(DIM, 5, hidden_dim=7, seed=seed),
        concepts,
    ),
}
IN_ORDER = {name for name in CASES if name[:4] in ("recu", "mind", "comi")}
BOUNDED = {name for name in CASES if name[:4] in ("mind", "comi")}
every = pytest.mark.parametrize("name", CASES)


def make(name: str, seed: int = 1) -> HistoryEncoder:
    encoder = CASES[name][0](seed)
    encoder.build(None)
    return encoder


def learned(encoder: HistoryEncoder) -> HistoryEncoder:
    """Gives all weights values as if they had been learned."""
    random = np.random.default_rng(8)
    for weight in encoder.trainable_variables:
        weight.assign(random.normal(size=weight.shape))
    return encoder


def histories(seed: int = 0) -> list[Floats]:
    """One history of each length from 0 to the longest, twice."""
    random = np.random.default_rng(seed)
    lengths = [*range(MAX_LENGTH + 1), *range(MAX_LENGTH + 1)]
    return [random.normal(size=(length, DIM)) for length in lengths]


def padded(
    rows: list[Floats], side: str = "right", *, pad: float = 0.0
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns vectors and exists of histories, with pads on a side or anywhere."""
    random = np.random.default_rng(4)
    vectors = np.full((len(rows), MAX_LENGTH, DIM), pad)
    exists = np.zeros((len(rows), MAX_LENGTH), np.bool_)
    for row, items in enumerate(rows):
        places = np.arange(len(items))
        if side == "left":
            places += MAX_LENGTH - len(items)
        elif side == "between":
            chosen = random.choice(MAX_LENGTH, len(items), replace=False)
            places = np.sort(chosen)
        vectors[row, places] = items
        exists[row, places] = True
    return tf.constant(vectors, tf.float32), tf.constant(exists)


def gradients(
    encoder: HistoryEncoder, vectors: tf.Tensor, exists: tf.Tensor
) -> tuple[npt.NDArray[np.float32], list[npt.NDArray[np.float32]]]:
    """Returns the gradients of the items and of the weights."""
    slopes = np.random.default_rng(5).normal(size=(encoder.num_queries, DIM))
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        loss = tf.reduce_sum(encoder(vectors, exists) * slopes.astype(np.float32))
    first, *others = tape.gradient(loss, [vectors, *encoder.trainable_variables])
    return first.numpy(), [tf.convert_to_tensor(one).numpy() for one in others]


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


def reading(
    reader: HistoryEncoder, num_concepts: int, *, hidden_dim: int = 7, seed: int = 1
) -> ConceptEncoder:
    """Returns an encoder of concepts, with weights as if they had been learned."""
    attention = ConceptAttention(DIM, num_concepts, hidden_dim=hidden_dim, seed=seed)
    encoder = ConceptEncoder(attention, reader)
    encoder.build(None)
    learned(encoder)
    return encoder


READERS: dict[str, tuple[Make, Callable[[Any, Floats], Floats]]] = {
    name: CASES[name] for name in ("mean", "linear", "recurrent")
} | {
    "mind": (
        lambda seed: RoutingEncoder(DIM, 3, max_length=5, seed=seed, **MIND),
        routed_queries,
    ),
    "comirec_sa": (
        lambda seed: AttentionEncoder(DIM, 3, max_length=5, seed=seed),
        attended,
    ),
}


def of_concepts(name: str) -> Callable[[Any, Floats], Floats]:
    """Returns the formula of an encoder of concepts: no item, no concept."""

    def queries(encoder: ConceptEncoder, items: Floats) -> Floats:
        found = concepts(encoder.concepts, items) if len(items) else items
        return READERS[name][1](encoder.reader, found)

    return queries


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


SIZE = 9
NUM_SAMPLES = 4


def replacements(rows: list[Floats]) -> tuple[Bools, npt.NDArray[np.int64]]:
    """Returns which places of each sample are replaced, and by which rows.

    The last two samples of some rows replace nothing, the first one of others all.
    """
    random = np.random.default_rng(12)
    exists = padded(rows)[1].numpy()
    shape = (len(rows), NUM_SAMPLES, MAX_LENGTH)
    changes = (random.random(shape) < 0.5) & exists[:, None]
    changes[::3, 2:] = False
    changes[1::3, 0] = exists[1::3]
    return changes, random.integers(0, SIZE, shape)


REPLACED: dict[str, tuple[Callable[[], HistoryEncoder], Any]] = {
    "mean": (lambda: learned(make("mean")), CASES["mean"][1]),
    "tanh": (lambda: learned(make("tanh")), CASES["tanh"][1]),
    "linear": (lambda: learned(make("linear")), CASES["linear"][1]),
    "recurrent": (lambda: learned(make("recurrent")), CASES["recurrent"][1]),
    "of_concepts": (lambda: reading(READERS["mean"][0](3), 5), of_concepts("mean")),
    "of_concepts_in_order": (
        lambda: reading(READERS["recurrent"][0](3), 5),
        of_concepts("recurrent"),
    ),
    "mind": (lambda: learned(make("mind")), CASES["mind"][1]),
    "comirec_sa": (lambda: learned(make("comirec_sa")), CASES["comirec_sa"][1]),
}
every_replaced = pytest.mark.parametrize("name", REPLACED)


@every_replaced
@pytest.mark.parametrize("pad", [0.0, np.nan])
def test_replaced_items_are_encoded_as_if_they_had_been_there(
    name: str, pad: float
) -> None:
    encoder, rows = REPLACED[name][0](), histories()
    substitutes = np.random.default_rng(13).normal(size=(SIZE, DIM))
    changes, places = replacements(rows)
    found = encoder.encode_replaced(
        *padded(rows, pad=pad),
        tf.constant(changes),
        tf.constant(substitutes, tf.float32),
        tf.constant(places[changes]),
    )
    assert found.shape == (len(rows) * NUM_SAMPLES, encoder.num_queries, DIM)
    expected = []
    for row, items in enumerate(rows):
        for sample in range(NUM_SAMPLES):
            changed = items.copy()
            for place in np.flatnonzero(changes[row, sample]):
                changed[place] = substitutes[places[row, sample, place]]
            expected.append(REPLACED[name][1](encoder, changed))
    np.testing.assert_allclose(found, expected, rtol=3e-4, atol=3e-5)
    # What replaces nothing is the history itself.
    plain = encoder(*padded(rows)).numpy()
    queries = found.numpy().reshape(len(rows), NUM_SAMPLES, -1, DIM)
    for row, sample in np.argwhere(~changes.any(axis=2)):
        np.testing.assert_allclose(
            queries[row, sample], plain[row], rtol=1e-5, atol=1e-6
        )
    assert not np.allclose(queries[4, 0], plain[4], atol=1e-2)


@every_replaced
def test_gradients_of_replaced_items_are_those_of_the_changed_histories(
    name: str,
) -> None:
    encoder, rows = REPLACED[name][0](), histories(seed=3)
    vectors, exists = padded(rows)
    substitutes = tf.constant(
        np.random.default_rng(13).normal(size=(SIZE, DIM)), tf.float32
    )
    changes, places = replacements(rows)
    slopes = np.random.default_rng(14).normal(
        size=(len(rows) * NUM_SAMPLES, encoder.num_queries, DIM)
    )
    with tf.GradientTape() as tape:
        tape.watch([vectors, substitutes])
        found = encoder.encode_replaced(
            vectors,
            exists,
            tf.constant(changes),
            substitutes,
            tf.constant(places[changes]),
        )
        loss = tf.reduce_sum(found * slopes.astype(np.float32))
    sources = [vectors, substitutes, *encoder.trainable_variables]
    of_items, of_substitutes, *of_weights = (
        tf.convert_to_tensor(gradient).numpy()
        for gradient in tape.gradient(loss, sources)
    )

    # The histories as they are after it, built place by place, are leaves of their own.
    whole = np.repeat(vectors.numpy(), NUM_SAMPLES, axis=0)
    for row, sample, place in np.argwhere(changes):
        which = places[row, sample, place]
        whole[row * NUM_SAMPLES + sample, place] = substitutes[which]
    changed = tf.constant(whole)
    repeated = tf.constant(np.repeat(exists.numpy(), NUM_SAMPLES, axis=0))
    with tf.GradientTape() as tape:
        tape.watch(changed)
        expected = encoder(changed, repeated)
        loss = tf.reduce_sum(expected * slopes.astype(np.float32))
    of_changed, *weights = (
        tf.convert_to_tensor(gradient).numpy()
        for gradient in tape.gradient(loss, [changed, *encoder.trainable_variables])
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    by_sample = of_changed.reshape(len(rows), NUM_SAMPLES, MAX_LENGTH, DIM)
    items = np.where(changes[..., None], 0, by_sample).sum(axis=1)
    np.testing.assert_allclose(of_items, items, rtol=2e-3, atol=2e-4)
    into = np.zeros((SIZE, DIM))
    np.add.at(into, places[changes], by_sample[changes])
    np.testing.assert_allclose(of_substitutes, into, rtol=2e-3, atol=2e-4)
    assert of_items.any()
    assert of_substitutes.any()
    for gradient, expected_gradient in zip(of_weights, weights, strict=True):
        np.testing.assert_allclose(gradient, expected_gradient, rtol=2e-3, atol=1e-3)


@every_replaced
def test_replaced_items_of_any_number_of_rows_in_a_graph(name: str) -> None:
    encoder, rows = REPLACED[name][0](), histories()
    changes, places = replacements(rows)
    substitutes = np.random.default_rng(13).normal(size=(SIZE, DIM))
    call = tf.function(
        encoder.encode_replaced,
        input_signature=[
            tf.TensorSpec([None, MAX_LENGTH, DIM]),
            tf.TensorSpec([None, MAX_LENGTH], tf.bool),
            tf.TensorSpec([None, NUM_SAMPLES, MAX_LENGTH], tf.bool),
            tf.TensorSpec([None, DIM]),
            tf.TensorSpec([None], tf.int64),
        ],
    )
    vectors, exists = padded(rows)
    given = (vectors, exists, tf.constant(changes))
    memory = tf.constant(substitutes, tf.float32)
    came = tf.constant(places[changes])
    plain = encoder.encode_replaced(*given, memory, came)
    for count in (len(rows), 3, 0):
        found = call(
            *(part[:count] for part in given), memory, came[: changes[:count].sum()]
        )
        np.testing.assert_allclose(
            found, plain[: count * NUM_SAMPLES], rtol=1e-4, atol=1e-5
        )


@every_replaced
def test_substitutes_of_nothing_have_no_gradient(name: str) -> None:
    encoder, (vectors, exists) = REPLACED[name][0](), padded(histories())
    size = 20_000
    memory = tf.zeros([size, DIM])
    nothing = tf.zeros([len(vectors), NUM_SAMPLES, MAX_LENGTH], tf.bool)
    for _ in range(5):
        # Memory given back, so that what is left unwritten shows.
        tf.fill([size, DIM], np.float32(np.nan)).numpy()
        with tf.GradientTape() as tape:
            tape.watch(memory)
            found = encoder.encode_replaced(
                vectors, exists, nothing, memory, tf.zeros([0], tf.int64)
            )
            loss = tf.reduce_sum(found)
        gradient = tape.gradient(
            loss, memory, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        assert not tf.convert_to_tensor(gradient).numpy().any()
