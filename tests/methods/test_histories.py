"""Methods of histories: their click, their queries, and whence their samples come."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from beam_jobs.popularity import PopularityOptions
from beam_jobs.popularity import run as count_popularity
from beam_jobs.sequences import SequenceOptions
from beam_jobs.sequences import run as sequences
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from tests.beam_jobs.raw import raw_rows, read_interactions, write_csv
from tests.methods.cases import window
from tfcausal import methods
from tfcausal.data.histories import read_histories
from tfcausal.data.interactions import CheckedDataset, open_dataset
from tfcausal.errors import InputError
from tfcausal.evaluation.validation import validator
from tfcausal.layers.history_mean import MeanEncoder
from tfcausal.methods.histories import HistoryMethod, best_query
from tfcausal.methods.options import HistoryOptions
from tfcausal.samplers.mixing import word_of_step
from tfcausal.samplers.shared_negatives import ItemSampler, item_probabilities
from tfcausal.schema.manifest import checksums
from tfcausal.stats import mixing
from tfcausal.training.batches import training_batches
from tfcausal.training.options import TrainingOptions
from tfcausal.training.run import Run
from tfcausal.training.trainer import train

import tensorflow as tf  # isort: skip

LOCAL = PipelineOptions(["--runner=local"])
MAX_LENGTH = 6
NAMES = [
    name for name in methods.names() if issubclass(methods.get(name), HistoryMethod)
]
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in NAMES),
    *(("causerec", {"level": level}) for level in ("none", "interest", "hierarchical")),
    ("comirec", {"extraction": "routing"}),
]
OPTIONS = TrainingOptions(
    seed=7, epochs=2, batch_size=64, monitor="recall@20", steps_per_execution=4
)


def small(name: str, **changes: Any) -> HistoryOptions:
    """Options fit for a hundred items; what a method lacks is left out."""
    wanted: dict[str, Any] = {
        "embedding_dim": 4,
        "max_length": MAX_LENGTH,
        "num_sampled": 20,
        "hidden_dims": (8,),
        "num_interests": 3,
        "num_concepts": 5,
        "memory_size": 50,
        **changes,
    }
    options_class = methods.get(name).options_class
    fields = {field.name for field in dataclasses.fields(options_class)}
    made = options_class(**{k: v for k, v in wanted.items() if k in fields})
    assert isinstance(made, HistoryOptions)
    return made


def test_the_methods_are_those_of_histories() -> None:
    assert {"youtube_dnn", "gru4rec", "mind", "comirec", "causerec"} <= set(NAMES)


POPULARITY = np.asarray([0, 9, 5, 0, 5, 1, 3, 20, 7, 0, 2, 2], np.int64)
HISTORIES = [[3, 1, 4, 1, 5, 9], [2, 6, 5], [8], [], [7, 7], [10, 11, 1, 2, 8]]
TARGETS = [2, 6, 7, 7, 1, 11]


def logarithms(law: str) -> npt.NDArray[np.float64]:
    """The log-probability of each item under the law, from its formula."""
    if law in ("popularity", "in_batch"):
        weights = np.maximum(POPULARITY[1:], 1).astype(np.float64)
    elif law == "uniform":
        weights = np.ones(11)
    else:
        order = sorted(range(11), key=lambda item: -POPULARITY[1 + item])
        weights = np.log1p(1 / (1.0 + np.argsort(order)))
    return np.append(0.0, np.log(weights / weights.sum()))


@pytest.mark.parametrize("law", ["log_uniform", "uniform", "popularity", "in_batch"])
@pytest.mark.parametrize("mask_history", [True, False])
@pytest.mark.parametrize("log_q", [1.0, 0.0])
def test_click_of_the_mean_is_the_softmax(
    law: Any, mask_history: bool, log_q: float
) -> None:
    seed = 3
    model = methods.get("youtube_dnn")(
        small("youtube_dnn", negatives=law, mask_history=mask_history, log_q=log_q),
        num_users=10,
        num_items=12,
        window=window(POPULARITY.tolist()),
        seed=seed,
    )
    assert isinstance(model, HistoryMethod)
    assert isinstance(model.encoder, MeanEncoder)
    random = np.random.default_rng(1)
    for weight in model.trainable_variables:
        weight.assign(random.normal(size=weight.shape))
    table = model.items.table.numpy().astype(np.float64)
    kernel, bias = (
        weight.numpy().astype(np.float64)
        for weight in (model.encoder.kernels[0], model.encoder.biases[0])
    )
    drawn = list(TARGETS)
    if law != "in_batch":
        sampler = ItemSampler(item_probabilities(POPULARITY, law))
        stream = mixing.stream(seed, "shared negatives")
        drawn = sampler(word_of_step(stream, tf.constant(0, tf.int64)), 20).numpy()
    corrections = log_q * logarithms(law)
    total = 0.0
    for history, target in zip(HISTORIES, TARGETS, strict=True):
        mean = table[history].mean(axis=0) if history else np.zeros(4)
        scores = table @ (mean @ kernel + bias) - corrections
        gone = {target, *(history if mask_history else [])}
        exponents = [scores[target], *(scores[j] for j in drawn if j not in gone)]
        total -= scores[target] - np.log(np.exp(exponents).sum())
    inputs = {
        "users": tf.range(1, 7),
        "histories": tf.constant(
            [items + [0] * (MAX_LENGTH - len(items)) for items in HISTORIES]
        ),
        "lengths": tf.constant([len(items) for items in HISTORIES]),
        "targets": tf.constant(TARGETS),
    }
    terms = model.batch_terms(inputs, training=True)
    assert set(terms) == {"click"}
    assert float(terms["click"]) == pytest.approx(total / len(TARGETS), rel=2e-6)


def test_the_best_query_is_the_one_of_the_highest_score() -> None:
    random = np.random.default_rng(4)
    queries = random.normal(size=(50, 3, 4)).astype(np.float32)
    targets = random.normal(size=(50, 4)).astype(np.float32)
    found = best_query(tf.constant(queries), tf.constant(targets)).numpy()
    chosen = set()
    for row in range(50):
        scores = [float(query @ targets[row]) for query in queries[row]]
        best = scores.index(max(scores))
        chosen.add(best)
        np.testing.assert_array_equal(found[row], queries[row, best])
    assert chosen == {0, 1, 2}
    alone = best_query(tf.constant(queries[:, :1]), tf.constant(targets))
    np.testing.assert_array_equal(alone, queries[:, 0])


def test_only_the_best_query_has_a_gradient() -> None:
    queries = tf.constant([[[1.0, 0.0], [0.0, 3.0], [2.0, 2.0]]])
    targets = tf.constant([[1.0, 1.0]])
    # 1, 3 and 4
    with tf.GradientTape() as tape:
        tape.watch(queries)
        loss = tf.reduce_sum(best_query(queries, targets) * [[5.0, 7.0]])
    assert float(loss) == 24
    found = tape.gradient(loss, queries)
    assert found.numpy().tolist() == [[[0.0, 0.0], [0.0, 0.0], [5.0, 7.0]]]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    """Returns a data set with users who are held out, and counted popularity."""
    folder = tmp_path_factory.mktemp("histories")
    raw = write_csv(folder / "raw.csv", raw_rows())
    root = folder / "dataset"
    ingest(IngestOptions(str(raw), "csv", root), LOCAL)
    held_out = SplitOptions(
        root, "held_out_sequences", user_fractions=(0.7, 0.15, 0.15), fold_in=0.6
    )
    split(held_out, LOCAL)
    count_popularity(PopularityOptions(root), LOCAL)
    return open_dataset(root)


@pytest.mark.parametrize(("name", "changes"), VARIANTS)
def test_queries_of_all_users_are_those_of_their_histories(
    dataset: CheckedDataset, name: str, changes: dict[str, Any]
) -> None:
    model = methods.get(name).of_dataset(dataset, small(name, **changes), seed=2)
    assert isinstance(model, HistoryMethod)
    histories = read_histories(dataset, MAX_LENGTH)
    vectors = model.vectors()
    expected = model.queries_of(tf.constant(histories)).numpy()
    assert vectors.queries.shape == expected.shape
    assert len(expected) == dataset.num_users
    np.testing.assert_allclose(vectors.queries, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(vectors.candidates, model.items.table.numpy())
    # Nobody has met anything as user 0, and no row hangs on the others.
    assert not histories[0].any()
    assert np.isfinite(vectors.queries).all()
    some = tf.constant([0, 5, 17, 5])
    np.testing.assert_allclose(
        model.query_vectors(some), expected[some.numpy()], rtol=1e-5, atol=1e-6
    )
    # Whoever is held out is known by what is folded in.
    held_out = {
        user
        for part in ("validation_fold_in", "test_fold_in")
        for user in read_interactions(dataset.folder.part(part))["user"].to_pylist()
    }
    assert len(held_out) > 5
    unlike = vectors.queries[sorted(held_out)] != vectors.queries[0]
    assert unlike.any(axis=(1, 2)).all()


def cut(dataset: CheckedDataset, targets: Any, **changes: Any) -> None:
    """Cuts the samples that training by OPTIONS asks for."""
    fitting: dict[str, Any] = {
        "targets": targets,
        "epochs": OPTIONS.epochs if targets == "sampled" else 1,
        "max_length": MAX_LENGTH,
        "min_length": 2,
        "seed": OPTIONS.seed,
    }
    options = SequenceOptions(
        dataset.folder.root, overwrite=True, **(fitting | changes)
    )
    sequences(options, LOCAL)


def from_shards(**changes: Any) -> TrainingOptions:
    return dataclasses.replace(OPTIONS, triplets="shards", **changes)


def run(
    dataset: CheckedDataset, folder: Path, targets: Any, options: TrainingOptions
) -> Run:
    return train(
        dataset,
        "youtube_dnn",
        small("youtube_dnn", targets=targets, min_length=2, learning_rate=0.02),
        options,
        folder,
        validator(dataset, monitor=options.monitor),
        verbose=0,
    )


@pytest.mark.parametrize("targets", ["every_prefix", "sampled"])
def test_shards_give_the_batches_of_memory(
    dataset: CheckedDataset, targets: Any
) -> None:
    cut(dataset, targets)
    model = methods.get("youtube_dnn").of_dataset(
        dataset, small("youtube_dnn", targets=targets, min_length=2)
    )
    sources = [
        training_batches(dataset, model, options)
        for options in (OPTIONS, from_shards())
    ]
    steps = sources[0].steps_per_epoch
    assert steps == sources[1].steps_per_epoch > 0
    memory, shards = (list(source.dataset(0, OPTIONS.epochs)) for source in sources)
    assert len(memory) == len(shards) == OPTIONS.epochs * steps
    for own, other in zip(memory, shards, strict=True):
        assert own.keys() == other.keys()
        for name in own:
            np.testing.assert_array_equal(own[name], other[name])
    first, second = (
        np.concatenate([batch["targets"] for batch in part])
        for part in (memory[:steps], memory[steps:])
    )
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("targets", ["every_prefix", "sampled"])
def test_shards_and_memory_train_to_the_same_bytes(
    dataset: CheckedDataset, tmp_path: Path, targets: Any
) -> None:
    cut(dataset, targets)
    memory = run(dataset, tmp_path / "memory", targets, OPTIONS)
    shards = run(dataset, tmp_path / "shards", targets, from_shards())
    found, expected = (checksums(one.folder / "vectors") for one in (shards, memory))
    assert found == expected
    for name in ("metrics.json", "history.json"):
        own = (shards.folder / name).read_text()
        assert own == (memory.folder / name).read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"max_length": 5},
            "max_length must be 6, as this training has it; got 5. Run "
            "beam_jobs.sequences with --max_length=6, or train with triplets=graph.",
        ),
        ({"min_length": 1}, "min_length must be 2, as this training has it; got 1."),
        ({"seed": 8}, "seed must be 7, as this training has it; got 8."),
        ({"order": "by_user"}, "order must be mixed, as this training has it; got by_"),
        ({"padding": "left"}, "padding must be right, as this training has it; got"),
        ({"block_rows": 50}, "block_rows must be 8192, as this training has it; got 5"),
        ({"targets": "last"}, "targets must be every_prefix, as this training has it;"),
    ],
)
def test_other_shards_are_refused(
    dataset: CheckedDataset, changes: dict[str, Any], message: str
) -> None:
    cut(dataset, **({"targets": "every_prefix"} | changes))
    model = methods.get("youtube_dnn").of_dataset(
        dataset, small("youtube_dnn", min_length=2)
    )
    with pytest.raises(InputError) as caught:
        training_batches(dataset, model, from_shards())
    assert message in str(caught.value)
    assert str(dataset.folder.sequences("train")) in str(caught.value)


def test_too_few_epochs_are_refused(dataset: CheckedDataset) -> None:
    cut(dataset, "sampled")
    model = methods.get("youtube_dnn").of_dataset(
        dataset, small("youtube_dnn", targets="sampled", min_length=2)
    )
    with pytest.raises(InputError, match=r"must hold 3 epochs; got 2"):
        training_batches(dataset, model, from_shards(epochs=3))


def test_histories_cannot_be_drawn_by_user(dataset: CheckedDataset) -> None:
    model = methods.get("youtube_dnn").of_dataset(dataset, small("youtube_dnn"))
    with pytest.raises(InputError, match="`draw_positives` must be each for youtube"):
        training_batches(dataset, model, TrainingOptions(draw_positives="by_user"))


def test_two_seeds_differ_in_samples_weights_and_negatives(
    dataset: CheckedDataset,
) -> None:
    found = []
    for seed in (7, 8):
        options = dataclasses.replace(OPTIONS, seed=seed)
        model = methods.get("youtube_dnn").of_dataset(
            dataset, small("youtube_dnn", targets="sampled"), seed=seed
        )
        batches = training_batches(dataset, model, options)
        found.append((model, list(batches.dataset(0, 1))))
    (first, of_first), (second, of_second) = found
    for one, other in zip(
        first.trainable_variables, second.trainable_variables, strict=True
    ):
        # Biases begin at 0.
        equal = np.array_equal(one.numpy(), other.numpy())
        assert equal == ("bias" in one.name)
    targets = [
        np.concatenate([batch["targets"] for batch in batches])
        for batches in (of_first, of_second)
    ]
    assert sorted(targets[0].tolist()) != sorted(targets[1].tolist())
    # With the same weights and batch, other negatives.
    for one, other in zip(
        first.trainable_variables, second.trainable_variables, strict=True
    ):
        other.assign(one)
    losses = [
        float(model.batch_terms(of_first[0], training=True)["click"])
        for model in (first, second)
    ]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.5)
