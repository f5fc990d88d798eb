"""CauseRec's terms against Eq. 9 and 10 in float64, and when its memories fill."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.layers.histories import CASES, concept_weights, mean_query
from tests.losses.test_counterfactual import slow_items, slow_users
from tests.methods.cases import window
from tfcausal import methods
from tfcausal.errors import InputError
from tfcausal.layers.history_attention import ConceptEncoder
from tfcausal.methods.causerec import CauseRec, CauseRecOptions
from tfcausal.samplers.counterfactuals import Memory, replaced
from tfcausal.samplers.mixing import word_of_step
from tfcausal.stats import mixing
from tfcausal.training.options import TrainingOptions
from tfcausal.training.trainer import compile_model

import tensorflow as tf  # isort: skip

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Queries = Callable[[Any, Floats], Floats]

DIM = 4
MAX_LENGTH = 6
NUM_CONCEPTS = 5
NUM_ITEMS = 30
SEED = 3
SMALL: dict[str, Any] = {
    "embedding_dim": DIM,
    "max_length": MAX_LENGTH,
    "num_concepts": NUM_CONCEPTS,
    "hidden_dims": (5,),
    "num_interests": 3,
    "num_positive": 2,
    "num_negative": 4,
    "memory_size": 17,
    "num_sampled": 20,
}
FORMULAS: dict[str, Queries] = {
    "mean": mean_query,
    "gru": CASES["recurrent"][1],
    "comirec_sa": CASES["comirec_sa"][1],
}
ENCODERS = ("mean", "youtube_dnn", "gru", "mind", "comirec_sa", "comirec_dr")


def make(**changes: Any) -> CauseRec:
    """Returns a model whose weights are as if they had been learned."""
    model = methods.get("causerec")(
        CauseRecOptions(**(SMALL | changes)),
        num_users=10,
        num_items=NUM_ITEMS,
        window=window([0, *range(1, NUM_ITEMS)]),
        seed=SEED,
    )
    assert isinstance(model, CauseRec)
    random = np.random.default_rng(8)
    for weight in model.trainable_variables:
        weight.assign(random.normal(0, 0.8, weight.shape))
    return model


def batch(seed: int, items: range = range(1, NUM_ITEMS)) -> dict[str, tf.Tensor]:
    """Histories of each length from 0 to the longest, twice, pads behind."""
    random = np.random.default_rng(seed)
    lengths = [*range(MAX_LENGTH + 1)] * 2
    histories = np.zeros((len(lengths), MAX_LENGTH), np.int32)
    for row, length in enumerate(lengths):
        histories[row, :length] = random.choice(items, length)
    return {
        "users": tf.range(1, len(lengths) + 1),
        "histories": tf.constant(histories),
        "lengths": tf.constant(lengths),
        "targets": tf.constant(random.choice(items, len(lengths)).astype(np.int32)),
    }


def terms_of(
    model: CauseRec, given: dict[str, tf.Tensor], *, training: bool = True
) -> dict[str, float]:
    terms = model.batch_terms(given, training=training)
    return {name: float(term) for name, term in terms.items()}


def word(purpose: str, step: int = 0) -> tf.Tensor:
    stream = mixing.stream(SEED, f"counterfactual {purpose}")
    return word_of_step(stream, tf.constant(step, tf.int64))


def best(queries: Floats, target: Floats) -> Floats:
    found: Floats = queries[int(np.argmax(queries @ target))]
    return found


def counterfactuals(
    level: str,
    rows: list[Floats],
    scores: list[Floats],
    memory: Floats,
    options: CauseRecOptions,
    step: int,
) -> tuple[npt.NDArray[np.bool_], list[list[Floats]]]:
    """Returns the histories after replacement, and which of them count.

    The half of the highest scores is indispensable, the middle one too: the others are
    replaced in positives, these in negatives. Which, and by what, is drawn.
    """
    length = MAX_LENGTH if level == "item" else NUM_CONCEPTS
    halves = {
        name: np.zeros((len(rows), length), bool) for name in ("positive", "negative")
    }
    for row, values in enumerate(scores):
        order = sorted(range(len(values)), key=lambda place: -values[place])
        upper = (len(values) + 1) // 2
        halves["negative"][row, order[:upper]] = True
        halves["positive"][row, order[upper:]] = True
    numbers = {
        "positive": options.num_positive,
        "negative": options.num_negative,
    }
    mask = np.concatenate(
        [
            replaced(
                tf.constant(halves[name]),
                word(f"{level} {name}", step),
                rate=options.replace_rate,
                num_samples=numbers[name],
            ).numpy()
            for name in numbers
        ],
        axis=1,
    )
    held = Memory(len(memory) or 1)
    held.count.assign(len(memory))
    places = np.zeros(mask.shape, np.int64)
    places[mask] = held.draw(word(f"{level} substitutes", step), [mask.sum()])
    changed = []
    for row, concepts in enumerate(rows):
        samples = [concepts.copy() for _ in range(mask.shape[1])]
        for sample, place in np.argwhere(mask[row]):
            if len(memory):
                samples[sample][place] = memory[places[row, sample, place]]
        changed.append(samples)
    exist = np.asarray(mask.any(axis=2) & bool(len(memory)), bool)
    return exist, changed


def slow_terms(
    model: CauseRec,
    given: dict[str, tf.Tensor],
    memories: Mapping[str, Floats],
    step: int = 0,
) -> dict[str, float]:
    """Eq. 9 and 10 over all levels' counterfactuals, one history after another.

    Args:
        model: The model, of whose weights all is made.
        given: The batch.
        memories: Vectors of what each memory holds, the oldest first.
        step: Number of the step.
    """
    options = model.options
    table = model.items.table.numpy().astype(np.float64)
    histories = given["histories"].numpy()
    rows = [table[history[history > 0]] for history in histories]
    targets = table[given["targets"].numpy()]
    scores = [items @ target for items, target in zip(rows, targets, strict=True)]
    read = FORMULAS[options.encoder]
    concepts_of: Callable[[Floats], Floats] | None = None
    reader: Any = model.encoder
    if options.level != "item":
        encoder = model.encoder
        assert isinstance(encoder, ConceptEncoder)
        attention, reader = encoder.concepts, encoder.reader

        def of_items(items: Floats) -> Floats:
            # Without an item there is no concept.
            return np.asarray(concept_weights(attention, items) @ items)[
                : NUM_CONCEPTS if len(items) else 0
            ]

        concepts_of = of_items

    def query(items: Floats, target: Floats) -> Floats:
        found = items if concepts_of is None else concepts_of(items)
        return best(read(reader, found), target)

    positives: list[list[Floats]] = [[] for _ in rows]
    negatives: list[list[Floats]] = [[] for _ in rows]
    counted: dict[str, list[list[bool]]] = {
        "positives": [[] for _ in rows],
        "negatives": [[] for _ in rows],
    }
    number = options.num_positive
    for level, memory in memories.items():
        of_level, level_scores, encode = rows, scores, query
        if level == "interest":
            assert concepts_of is not None
            of_level = [concepts_of(items) for items in rows]
            level_scores = [
                (concept_weights(attention, items) @ score)[: len(concepts)]
                for items, score, concepts in zip(rows, scores, of_level, strict=True)
            ]

            def query_of(items: Floats, target: Floats) -> Floats:
                return best(read(reader, items), target)

            encode = query_of
        exist, changed = counterfactuals(
            level, of_level, level_scores, memory, options, step
        )
        for row, samples in enumerate(changed):
            encoded = [encode(sample, targets[row]) for sample in samples]
            positives[row] += encoded[:number]
            negatives[row] += encoded[number:]
            counted["positives"][row] += exist[row, :number].tolist()
            counted["negatives"][row] += exist[row, number:].tolist()
    width = (len(rows), -1, DIM)
    arguments = (
        np.reshape(positives, width),
        np.reshape(negatives, width),
        np.asarray(counted["positives"], bool),
        np.asarray(counted["negatives"], bool),
    )
    queries = [
        query(items, target) for items, target in zip(rows, targets, strict=True)
    ]
    return {
        "users": slow_users(np.asarray(queries), *arguments, margin=1.0),
        "items": slow_items(targets, *arguments, margin=0.5),
    }


def held(model: CauseRec) -> dict[str, Floats]:
    """Returns the vectors of what the memories hold."""
    found = {}
    for level, memory in model.memories.items():
        values = memory.values.numpy()[: int(memory.count)]
        if level == "item":
            values = model.items.table.numpy()[values]
        found[level] = values.astype(np.float64)
    return found


@pytest.mark.parametrize(
    ("level", "encoder", "rate"),
    [
        ("item", "mean", 0.5),
        ("item", "gru", 0.3),
        ("item", "comirec_sa", 1.0),
        ("interest", "mean", 1.0),
        ("interest", "comirec_sa", 0.5),
        ("hierarchical", "mean", 0.5),
        ("hierarchical", "gru", 1.0),
    ],
)
def test_terms_are_equations_9_and_10(level: Any, encoder: Any, rate: float) -> None:
    model = make(level=level, encoder=encoder, replace_rate=rate)
    terms_of(model, batch(1))
    before = held(model)
    assert all(len(values) == 17 for values in before.values())
    found = terms_of(model, batch(2))
    expected = slow_terms(model, batch(2), before)
    assert set(found) == {"click", "users", "items"}
    for name, value in expected.items():
        assert value > 0.1
        assert found[name] == pytest.approx(value, rel=2e-4), name


def test_each_step_draws_anew() -> None:
    model = make()
    compile_model(model, TrainingOptions())
    terms_of(model, batch(1))
    before = held(model)
    first = terms_of(model, batch(2), training=False)
    assert terms_of(model, batch(2), training=False) == first
    model.optimizer.iterations.assign(5)
    found = terms_of(model, batch(2), training=False)
    expected = slow_terms(model, batch(2), before, step=5)
    assert found["users"] == pytest.approx(expected["users"], rel=2e-4)
    assert found["items"] == pytest.approx(expected["items"], rel=2e-4)
    assert found["users"] != pytest.approx(first["users"], rel=1e-3)


def test_the_item_memory_holds_the_batch_s_items() -> None:
    model = make(memory_size=50)
    memory = model.memories["item"]
    expected: list[int] = []
    for seed in range(1, 5):
        given = batch(seed)
        terms_of(model, given, training=False)
        assert memory.values.numpy()[: int(memory.count)].tolist() == expected
        terms_of(model, given)
        histories = given["histories"].numpy()
        expected = [*expected, *histories[histories > 0].tolist()][-50:]
        assert memory.values.numpy()[: int(memory.count)].tolist() == expected
    assert len(expected) == 50
    assert 0 not in expected


def test_the_interest_memory_holds_the_batch_s_concepts() -> None:
    model = make(level="interest", memory_size=70)
    memory = model.memories["interest"]
    encoder = model.encoder
    assert isinstance(encoder, ConceptEncoder)
    expected: list[Floats] = []
    for seed in (1, 2):
        given = batch(seed)
        terms_of(model, given, training=False)
        assert int(memory.count) == len(expected)
        terms_of(model, given)
        table = model.items.table.numpy().astype(np.float64)
        for history in given["histories"].numpy():
            items = table[history[history > 0]]
            if len(items):
                expected += [*(concept_weights(encoder.concepts, items) @ items)]
        expected = expected[-70:]
        np.testing.assert_allclose(
            memory.values.numpy()[: int(memory.count)], expected, rtol=1e-4, atol=1e-5
        )
    assert len(expected) == 70


@pytest.mark.parametrize("level", ["item", "interest", "hierarchical"])
def test_with_an_empty_memory_both_terms_are_0(level: Any) -> None:
    model = make(level=level)
    given = batch(1)
    with tf.GradientTape() as tape:
        terms = model.batch_terms(given, training=True)
        loss = tf.add_n(list(terms.values()))
    assert float(terms["users"]) == float(terms["items"]) == 0
    assert float(terms["click"]) > 0
    for gradient in tape.gradient(loss, model.trainable_variables):
        assert np.isfinite(tf.convert_to_tensor(gradient).numpy()).all()
    # It filled after the draws, so that the next batch is the first to be changed.
    assert min(terms_of(model, given)[name] for name in ("users", "items")) > 0


def test_vectors_of_remembered_items_are_those_of_today() -> None:
    model = make(memory_size=50)
    # The memory's items are in no batch that comes later.
    terms_of(model, batch(1, range(20, NUM_ITEMS)))
    given = batch(2, range(1, 20))
    with tf.GradientTape() as tape:
        terms = model.batch_terms(given, training=False)
        loss = terms["users"] + terms["items"]
    (gradient,) = tape.gradient(loss, [model.items.table])
    moved = np.flatnonzero(tf.convert_to_tensor(gradient).numpy().any(axis=1))
    # All but what a margin or relu keeps out.
    assert (moved >= 20).sum() >= 8
    first = float(terms["users"])
    table = model.items.table.numpy()
    table[20:] *= 2
    model.items.table.assign(table)
    again = terms_of(model, given, training=False)
    expected = slow_terms(model, given, held(model))
    assert again["users"] == pytest.approx(expected["users"], rel=2e-4)
    assert again["users"] != pytest.approx(first, rel=1e-2)


@pytest.mark.parametrize(
    ("level", "numbers"),
    [
        ("item", {"num_positive": 0}),
        ("item", {"num_negative": 0}),
        ("item", {"num_positive": 0, "num_negative": 0}),
        ("interest", {"num_positive": 0}),
        ("hierarchical", {"num_negative": 0}),
        ("hierarchical", {"num_positive": 0, "num_negative": 0}),
    ],
)
def test_ablations_leave_their_part_out(level: Any, numbers: dict[str, int]) -> None:
    model = make(level=level, **numbers)
    terms_of(model, batch(1))
    before = held(model)
    found = terms_of(model, batch(2))
    expected = slow_terms(model, batch(2), before)
    assert found["users"] == expected["users"] == 0
    assert found["items"] == pytest.approx(expected["items"], rel=2e-4)
    assert (found["items"] > 0) == (len(numbers) == 1)


def test_the_loss_weighs_the_terms() -> None:
    for user_weight, item_weight in ((0.0, 1.0), (0.0, 0.3), (2.0, 0.0)):
        model = make(user_weight=user_weight, item_weight=item_weight)
        terms_of(model, batch(1))
        terms = terms_of(model, batch(2), training=False)
        loss = float(model.compute_loss(batch(2)))
        expected = terms["click"]
        expected += user_weight * terms["users"] + item_weight * terms["items"]
        assert loss == pytest.approx(expected, rel=1e-6)


def test_without_a_level_there_is_the_click_alone() -> None:
    model = make(level="none")
    assert set(terms_of(model, batch(1))) == {"click"}
    assert set(model.initial_term_weights()) == {"click"}
    assert model.memories == {}
    # And the click is the same at every level whose encoder reads items.
    assert terms_of(make(), batch(1))["click"] == terms_of(model, batch(1))["click"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_positive": -1}, "`num_positive` must be >= 0"),
        ({"num_negative": -2}, "`num_negative` must be >= 0"),
        ({"level": "items"}, "Unknown level `items`. Did you mean `item`"),
        ({"encoder": "comirec"}, "Unknown encoder `comirec`"),
        ({"learning_rate": 0.0}, "`learning_rate` must be > 0"),
        ({"max_length": 0}, "`max_length` must be at least 1; got 0"),
        ({"negatives": "zipf"}, "Unknown negatives `zipf`"),
        ({"targets": "last"}, "Unknown targets `last`"),
    ],
)
def test_options_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        CauseRecOptions(**changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replace_rate": 0.0}, "`replace_rate` must be"),
        ({"replace_rate": 1.5}, "`replace_rate` must be"),
        ({"memory_size": 0}, "`memory_size` must be"),
    ],
)
def test_options_of_draws_are_refused_before_a_step_is_taken(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        CauseRecOptions(**changes)
    assert message in str(caught.value)
