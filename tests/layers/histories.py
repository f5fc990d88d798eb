"""Encoders of histories, their formulae in float64, and histories to read."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

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
