"""Counterfactual histories, row by row against plain Python."""

from collections import Counter, deque
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tfcausal.errors import InputError
from tfcausal.keras_compat import keras
from tfcausal.samplers.counterfactuals import Memory, halves, replaced, substituted
from tfcausal.stats import mixing

import tensorflow as tf  # isort: skip

LENGTH = 20
Mask = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float32]


def word(purpose: str, number: int = 0) -> tf.Tensor:
    return tf.constant(mixing.stream(number, purpose), tf.uint64)


def draws(words: tf.Tensor, *shape: int) -> mixing.UInt64s:
    """The draws in numpy: along each axis the stream of the draw before it."""
    drawn = words.numpy().astype(np.uint64)
    for size in shape:
        drawn = mixing.draws(drawn[..., None], np.arange(size))
    return drawn


def batch(seed: int = 0) -> tuple[Scores, Mask]:
    """Every length from 0 to 20: pads behind, pads in front, and pads in between."""
    generator = np.random.default_rng(seed)
    lengths = np.tile(np.arange(LENGTH + 1), 3)
    exists = np.arange(LENGTH) < lengths[:, None]
    third = LENGTH + 1
    exists[third : 2 * third] = exists[third : 2 * third, ::-1]
    exists[2 * third :] = generator.permuted(exists[2 * third :], axis=1)
    # Scores of few values have ties, and pads' are as high as any.
    scores = generator.integers(-3, 4, exists.shape).astype(np.float32)
    return np.where(exists, scores, 3).astype(np.float32), exists


def number_of(rate: float, size: int) -> int:
    """How many of a half are replaced: the product rounded, halves up, at least 1."""
    return max(1, int(np.floor(rate * size + 0.5))) if size else 0


def chi_square(counts: list[int]) -> float:
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts)


# Where a chi-square of so many degrees of freedom is once in 10,000 times.
CHI_SQUARE = {1: 15.1, 9: 33.7, 15: 44.3, 31: 72.0}


@pytest.mark.parametrize("seed", range(3))
def test_halves_are_those_of_a_sort(seed: int) -> None:
    scores, exists = batch(seed)
    found = tf.function(halves)(tf.constant(scores), tf.constant(exists))
    indispensable, dispensable = (half.numpy() for half in found)
    for row in range(len(exists)):
        own = np.flatnonzero(exists[row]).tolist()
        own.sort(key=lambda place: (-scores[row, place], place))
        upper = (len(own) + 1) // 2
        assert set(np.flatnonzero(indispensable[row])) == set(own[:upper])
        assert set(np.flatnonzero(dispensable[row])) == set(own[upper:])


def test_halves_by_hand() -> None:
    # 4 > 2 = 2 > 1: two and two, and of equal ones the first; 9 is a pad
    scores = tf.constant([[2.0, 9, 1, 2, 4], [5, 6, 7, 8, 9], [0, 0, 0, 0, 0]])
    exists = tf.constant([[1, 0, 1, 1, 1], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]) > 0
    upper, lower = halves(scores, exists)
    assert np.flatnonzero(upper[0]).tolist() == [0, 4]
    assert np.flatnonzero(lower[0]).tolist() == [2, 3]
    assert np.flatnonzero(upper[1]).tolist() == [2]
    assert not lower[1].numpy().any()
    assert not upper[2].numpy().any()
    assert not lower[2].numpy().any()


def test_a_score_of_minus_infinity_is_still_before_pads() -> None:
    scores = tf.constant([[np.inf, 0.0, -np.inf, -np.inf, -np.inf]])
    exists = tf.constant([[False, False, True, True, True]])
    upper, lower = halves(scores, exists)
    assert upper.numpy().tolist() == [[False, False, True, True, False]]
    assert lower.numpy().tolist() == [[False, False, False, False, True]]


@pytest.mark.parametrize("rate", [0.01, 0.25, 0.5, 0.7, 1.0])
def test_replaced_are_so_many_of_the_half_in_every_row(rate: float) -> None:
    scores, exists = batch()
    step = tf.function(
        lambda half, words: replaced(half, words, rate=rate, num_samples=7),
        input_signature=[
            tf.TensorSpec([None, LENGTH], tf.bool),
            tf.TensorSpec([], tf.uint64),
        ],
    )
    for side, half in enumerate(halves(tf.constant(scores), tf.constant(exists))):
        found = step(half, word("replaced", side)).numpy()
        assert found.shape == (len(exists), 7, LENGTH)
        assert not (found & ~half.numpy()[:, None]).any()
        assert not (found & ~exists[:, None]).any()
        for row, size in enumerate(half.numpy().sum(axis=1).tolist()):
            counts = found[row].sum(axis=1).tolist()
            assert counts == [number_of(rate, size)] * 7


def test_counts_of_the_paper() -> None:
    # rate 0.5: of 1, 1; of 2, 1; of 3, 1.5 is 2; of 4, 2; of 5, 2.5 is 3; ... of 10, 5
    half = tf.constant(np.arange(10) < np.arange(11)[:, None])
    found = replaced(half, word("counts"), rate=0.5, num_samples=1).numpy()
    assert found.sum(axis=(1, 2)).tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_replaced_are_those_of_numpy_bit_for_bit() -> None:
    scores, exists = batch(1)
    half = halves(tf.constant(scores), tf.constant(exists))[0]
    words = word("bits")
    found = replaced(half, words, rate=0.6, num_samples=4).numpy()
    uniforms = mixing.uniforms(draws(words, len(exists), 4, LENGTH))
    for row, sample in np.ndindex(len(exists), 4):
        places = np.flatnonzero(half[row].numpy()).tolist()
        to_come, to_take = len(places), number_of(0.6, len(places))
        expected = set()
        for place in places:
            if uniforms[row, sample, place] * to_come < to_take:
                expected.add(place)
                to_take -= 1
            to_come -= 1
        assert set(np.flatnonzero(found[row, sample])) == expected


def test_a_draw_depends_on_words_row_sample_and_place_alone() -> None:
    half = tf.constant(batch(2)[1])
    found = replaced(half, word("a"), rate=0.5, num_samples=6).numpy()
    again = replaced(half, word("a"), rate=0.5, num_samples=6).numpy()
    assert np.array_equal(found, again)
    signed = tf.cast(word("a"), tf.int64)
    assert int(signed) != mixing.stream(0, "a")
    again = replaced(half, signed, rate=0.5, num_samples=6).numpy()
    assert np.array_equal(found, again)
    fewer = replaced(half[:30], word("a"), rate=0.5, num_samples=2).numpy()
    assert np.array_equal(found[:30, :2], fewer)

    long = half.numpy().sum(axis=1) >= 8
    other = replaced(half, word("b"), rate=0.5, num_samples=6).numpy()
    # Of 8 concepts there are 70 sets of 4.
    assert (found != other).any(axis=2)[long].mean() > 0.9
    assert (found[:, 1:] != found[:, :-1]).any(axis=2)[long].mean() > 0.9
    full = replaced(tf.ones([40, 8], tf.bool), word("a"), rate=0.5, num_samples=1)
    assert len({row.tobytes() for row in full.numpy()}) > 20


@pytest.mark.parametrize(("rows", "samples"), [(1, 20_000), (20_000, 1), (200, 100)])
def test_every_set_has_the_same_chance(rows: int, samples: int) -> None:
    # Of 5 concepts among 9 places round(2.5) = 3 are replaced: 10 sets.
    half = np.zeros((rows, 9), bool)
    places = [0, 2, 3, 6, 8]
    half[:, places] = True
    found = replaced(
        tf.constant(half), word("sets", rows), rate=0.5, num_samples=samples
    )
    sets = found.numpy().reshape(rows * samples, 9)
    counts = Counter(tuple(np.flatnonzero(row).tolist()) for row in sets)
    assert set(counts) == set(combinations(places, 3))
    assert chi_square(list(counts.values())) < CHI_SQUARE[9]
    # Nor does a sample depend on the one before it.
    both = Counter(zip(sets[:-1:2, 0].tolist(), sets[1::2, 0].tolist(), strict=True))
    pairs = len(sets) // 2
    chances = {(a, b): (0.6, 0.4)[not a] * (0.6, 0.4)[not b] for a, b in both}
    assert len(both) == 4
    for pair, count in both.items():
        spread = np.sqrt(pairs * chances[pair] * (1 - chances[pair]))
        assert abs(count - pairs * chances[pair]) < 4 * spread


def test_no_samples_and_a_bad_rate() -> None:
    half = tf.constant(batch()[1])
    none = replaced(half, word("none"), rate=0.5, num_samples=0)
    assert none.shape == (len(half), 0, LENGTH)
    for rate in (0.0, -0.5, 1.5, float("nan")):
        with pytest.raises(InputError, match="`rate` must be above 0"):
            replaced(half, word("none"), rate=rate, num_samples=1)


def test_only_replaced_places_change_and_only_to_what_was_drawn() -> None:
    scores, exists = batch(3)
    generator = np.random.default_rng(0)
    history = np.where(exists, generator.integers(1, 100, exists.shape), 0)
    # What is in the memory is in no history, so that every change is seen.
    memory = Memory(16)
    memory.enqueue(tf.range(100, 130), tf.ones([30], tf.bool))
    in_memory = set(range(114, 130))
    rows = len(exists)

    @tf.function
    def step(
        scores: tf.Tensor, exists: tf.Tensor, history: tf.Tensor, number: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        outcomes = []
        for side, half in enumerate(halves(scores, exists)):
            where = replaced(
                half, word("where", side) + number, rate=0.5, num_samples=5
            )
            places = memory.draw(
                word("what", side) + number, (tf.shape(half)[0], 5, LENGTH)
            )
            drawn = tf.gather(memory.values, places)
            came = tf.boolean_mask(drawn, where)
            outcomes += [half, where, substituted(history, where, came)]
        return tuple(outcomes)

    given = (tf.constant(scores), tf.constant(exists), tf.constant(history, tf.int32))
    found = step(*given, tf.constant(0, tf.uint64))
    for outcomes in (found[:3], found[3:]):
        half, where, result = (outcome.numpy() for outcome in outcomes)
        assert result.dtype == np.int32
        for row, sample, place in np.ndindex(rows, 5, LENGTH):
            now = result[row, sample, place]
            if where[row, sample, place]:
                assert half[row, place]
                assert now in in_memory
            else:
                assert now == history[row, place]
        changed = (result != history[:, None]).sum(axis=2)
        expected = [number_of(0.5, size) for size in half.sum(axis=1).tolist()]
        assert changed.tolist() == [[count] * 5 for count in expected]
    again = step(*given, tf.constant(0, tf.uint64))
    other = step(*given, tf.constant(1, tf.uint64))
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
    assert not np.array_equal(found[2], other[2])
    assert not np.array_equal(found[5], other[5])


def test_vectors_are_substituted_as_a_whole() -> None:
    generator = np.random.default_rng(1)
    history = generator.normal(size=(6, 4, 3)).astype(np.float32)
    substitutes = generator.normal(size=(6, 5, 4, 3)).astype(np.float32)
    where = generator.random((6, 5, 4)) < 0.4
    found = substituted(
        tf.constant(history), tf.constant(where), tf.constant(substitutes[where])
    ).numpy()
    assert found.shape == (6, 5, 4, 3)
    for row, sample, place in np.ndindex(6, 5, 4):
        expected = (
            substitutes[row, sample, place]
            if where[row, sample, place]
            else history[row, place]
        )
        assert np.array_equal(found[row, sample, place], expected)


@pytest.mark.parametrize("dim", [None, 3])
@pytest.mark.parametrize("size", [1, 8, 50])
def test_memory_is_first_in_first_out(dim: int | None, size: int) -> None:
    memory = Memory(size, dim)
    kind = np.dtype(np.int32 if dim is None else np.float32)
    tail = () if dim is None else (dim,)
    enqueue = tf.function(
        memory.enqueue,
        input_signature=[
            tf.TensorSpec([None, None, *tail], kind),
            tf.TensorSpec([None, None], tf.bool),
        ],
    )
    generator = np.random.default_rng(size)
    expected: deque[npt.NDArray[np.generic]] = deque(maxlen=size)
    fullest = 0
    for turn in range(60):
        shape = tuple(generator.integers(0, 5, 2).tolist())
        values = generator.integers(1, 10**6, (*shape, *tail)).astype(kind)
        exists = generator.random(shape) < generator.random()
        assert bool(memory.is_empty) == (not expected)
        enqueue(values, exists)
        expected.extend(values[exists])
        fullest = max(fullest, int(exists.sum()))
        assert int(memory.count) == len(expected)
        held = memory.values.numpy()
        assert held.shape == (size, *tail)
        assert np.array_equal(
            held[: len(expected)], np.asarray(expected, kind).reshape(-1, *tail)
        )
        assert not held[len(expected) :].any()
        drawn = tf.gather(
            memory.values, memory.draw(word("fifo", turn), (2, 7))
        ).numpy()
        assert drawn.dtype == kind
        assert drawn.shape == (2, 7, *tail)
        uniforms = mixing.uniforms(draws(word("fifo", turn), 2, 7))
        for place in np.ndindex(2, 7):
            picked = int(uniforms[place] * len(expected))
            zeros = np.zeros(tail, kind)
            assert np.array_equal(drawn[place], expected[picked] if expected else zeros)
    assert len(expected) == size
    assert fullest > min(size, 8)


def test_more_than_fits_at_once_leaves_the_last() -> None:
    memory = Memory(4)
    memory.enqueue(tf.constant([7, 8]), tf.constant([True, True]))
    memory.enqueue(
        tf.reshape(tf.range(1, 13), [3, 4]),
        tf.constant(
            [[True] * 4, [True, False, True, True], [True, True, False, False]]
        ),
    )
    # 1 2 3 4, 5 7 8, 9 10
    assert memory.values.numpy().tolist() == [7, 8, 9, 10]
    memory.enqueue(tf.constant([20]), tf.constant([False]))
    memory.enqueue(tf.constant([21]), tf.constant([True]))
    assert memory.values.numpy().tolist() == [8, 9, 10, 21]


@pytest.mark.parametrize(("held", "size"), [(16, 16), (32, 100)])
def test_draws_are_uniform_over_what_is_held(held: int, size: int) -> None:
    memory = Memory(size)
    memory.enqueue(tf.range(1, held + 1), tf.ones([held], tf.bool))
    drawn = memory.draw(word("uniform", size), (100, 20, 20)).numpy()
    counts = Counter(drawn.reshape(-1).tolist())
    assert set(counts) == set(range(held))
    assert chi_square(list(counts.values())) < CHI_SQUARE[held - 1]
    other = memory.draw(word("other", size), (100, 20, 20)).numpy()
    same = (drawn == other).mean()
    assert abs(same - 1 / held) < 4 * np.sqrt(1 / held / drawn.size)


def test_what_is_in_memory_has_no_gradient() -> None:
    memory = Memory(4, 2)
    vectors = tf.Variable([[1.0, 2.0], [3.0, 4.0]])
    with tf.GradientTape() as tape:
        memory.enqueue(2 * vectors, tf.constant([True, True]))
        drawn = tf.gather(memory.values, memory.draw(word("gradient"), (5,)))
        loss = tf.reduce_sum(drawn)
        watched = tape.watched_variables()
    assert float(loss) > 0
    assert tape.gradient(loss, vectors) is None
    assert [variable.ref() for variable in watched] == [vectors.ref()]


class Owner(keras.Model):
    """A model with a memory of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.items = Memory(6)
        self.interests = Memory(5, 3, name="interests")


def test_a_checkpoint_of_the_owner_restores_the_memory(tmp_path: Path) -> None:
    model = Owner()
    generator = np.random.default_rng(3)
    model.items.enqueue(tf.range(1, 10), tf.constant(generator.random(9) < 0.9))
    vectors = generator.normal(size=(2, 3)).astype(np.float32)
    model.interests.enqueue(tf.constant(vectors), tf.constant([True, True]))
    assert model.trainable_variables == []
    assert {variable.name for variable in model.variables} == {
        "memory_values:0",
        "memory_count:0",
        "interests_values:0",
        "interests_count:0",
    }
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "at"))

    restored = Owner()
    assert bool(restored.items.is_empty)
    status = tf.train.Checkpoint(model=restored).restore(path)
    status.assert_existing_objects_matched()
    assert int(restored.interests.count) == 2
    new = (tf.constant([40, 41]), tf.constant([True, True]))
    for turn in range(3):
        for name, tail in (("items", ()), ("interests", (3,))):
            memories = [getattr(owner, name) for owner in (model, restored)]
            drawn = [
                tf.gather(one.values, one.draw(word(name, turn), (3, 4))).numpy()
                for one in memories
            ]
            assert drawn[0].shape == (3, 4, *tail)
            assert np.array_equal(*drawn)
        model.items.enqueue(*new)
        restored.items.enqueue(*new)


def test_a_memory_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="`size` must be at least 1; got 0"):
        Memory(0)
