"""Histories with items replaced, encoded as if they had always been so."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.layers.histories import (
    CASES,
    DIM,
    MAX_LENGTH,
    READERS,
    Bools,
    Floats,
    histories,
    learned,
    make,
    of_concepts,
    padded,
    reading,
)
from tfcausal.layers.history import HistoryEncoder
from tfcausal.layers.history_attention import ConceptEncoder

import tensorflow as tf  # isort: skip


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


def sharp(factor: float) -> ConceptEncoder:
    """Returns an encoder whose concepts look at one item each, nearly alone."""
    encoder = reading(READERS["mean"][0](3), 5)
    heads = encoder.concepts.heads
    heads.assign(factor * heads)
    return encoder


REPLACED: dict[str, tuple[Callable[[], HistoryEncoder], Any]] = {
    "mean": (lambda: learned(make("mean")), CASES["mean"][1]),
    "tanh": (lambda: learned(make("tanh")), CASES["tanh"][1]),
    "linear": (lambda: learned(make("linear")), CASES["linear"][1]),
    "recurrent": (lambda: learned(make("recurrent")), CASES["recurrent"][1]),
    "of_concepts": (lambda: reading(READERS["mean"][0](3), 5), of_concepts("mean")),
    # Logits that are up to 60 apart, and 250.
    "of_sharp_concepts": (lambda: sharp(5), of_concepts("mean")),
    "of_sharper_concepts": (lambda: sharp(20), of_concepts("mean")),
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


def test_a_history_replaced_by_one_item_alone_is_that_item() -> None:
    encoder = sharp(300)
    vectors, exists = padded(histories())
    memory = np.random.default_rng(13).normal(size=(SIZE, DIM)).astype(np.float32)
    changes = np.repeat(exists.numpy()[:, None], SIZE, axis=1)
    places = np.broadcast_to(np.arange(SIZE)[:, None], changes.shape)[changes]
    found = encoder.encode_replaced(
        vectors, exists, tf.constant(changes), tf.constant(memory), tf.constant(places)
    )
    alone = encoder(tf.constant(memory[:, None]), tf.ones([SIZE, 1], tf.bool))
    by_row = found.numpy().reshape(len(vectors), SIZE, DIM)
    some = exists.numpy().any(axis=1)
    expected = np.broadcast_to(alone[:, 0], by_row[some].shape)
    np.testing.assert_allclose(by_row[some], expected, rtol=1e-4, atol=1e-5)
