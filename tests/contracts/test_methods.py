"""What every method promises; a new one is tested here without being named."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.datasets import write_dataset
from tfcausal import methods
from tfcausal.cli.options import build_options
from tfcausal.data.interactions import CheckedDataset
from tfcausal.evaluation.evaluator import evaluate
from tfcausal.evaluation.validation import evaluation_set, validator
from tfcausal.methods.base import Method
from tfcausal.methods.causerec import CauseRec
from tfcausal.methods.histories import HistoryMethod
from tfcausal.methods.options import Backbone
from tfcausal.schema.protocol import protocol
from tfcausal.schema.vectors import CausalVectors
from tfcausal.training.options import TrainingOptions
from tfcausal.training.trainer import compile_model, train, training_batches

import tensorflow as tf  # isort: skip

OPTIONS = TrainingOptions(
    epochs=12, batch_size=64, monitor="recall@20", steps_per_execution=8
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    root = tmp_path_factory.mktemp("dataset") / "data"
    return write_dataset(root, num_users=300, features=True)


@pytest.fixture(params=methods.names())
def method(request: pytest.FixtureRequest) -> type[Method]:
    return methods.get(request.param)


# What backbones add is tested in tests/methods; all methods on each take long.
@pytest.fixture(
    params=[
        "mf",
        pytest.param("lightgcn", marks=pytest.mark.slow),
        pytest.param("features", marks=pytest.mark.slow),
    ]
)
def backbone(request: pytest.FixtureRequest, method: type[Method]) -> Backbone:
    found: Backbone = request.param
    if found != "mf" and issubclass(method, HistoryMethod):
        pytest.skip("histories have no backbone")
    return found


def small_options(method: type[Method], backbone: Backbone = "mf") -> Any:
    """Options fit for eighty items; what a method lacks is left out."""
    wanted: dict[str, Any] = {
        "embedding_dim": 8,
        "learning_rate": 0.02,
        "margin": 3.0,
        "min_pool": 5,
        "discrepancy_rows": 32,
        "popularity": "global",
        "reference_score": 1.0,
        "num_sampled": 40,
        "max_length": 6,
        "memory_size": 200,
    }
    if backbone == "lightgcn":
        graph = {"graph_layers": 2, "self_loops": True, "feature_dropout": 0.2}
        wanted |= {"backbone": backbone, **graph}
    if backbone == "features":
        tower = {"hidden_dims": (16, 8), "feature_dim": 4, "unknown_share": 0.05}
        wanted |= {"backbone": backbone, **tower, "user_columns": ("group", "length")}
    if method is CauseRec:
        # At weights of 1 the contrasts outweigh the click for long.
        wanted |= {"user_weight": 0.1, "item_weight": 0.1}
    names = {field.name for field in dataclasses.fields(method.options_class)}
    return method.options_class(**{k: v for k, v in wanted.items() if k in names})


def make(
    method: type[Method], dataset: CheckedDataset, backbone: Backbone = "mf"
) -> Method:
    return method.of_dataset(dataset, small_options(method, backbone))


def batches_of(model: Method, dataset: CheckedDataset) -> list[dict[str, tf.Tensor]]:
    return list(training_batches(dataset, model, OPTIONS).dataset(0, 1))


def test_options_survive_json_and_the_command_line(
    method: type[Method], backbone: Backbone
) -> None:
    options = small_options(method, backbone)
    again = method.options_class(**json.loads(json.dumps(dataclasses.asdict(options))))
    assert again == options
    texts = {
        name: ",".join(map(str, value))
        if isinstance(value, tuple)
        else str(value).lower()
        for name, value in dataclasses.asdict(options).items()
    }
    (parsed,) = build_options([method.options_class], texts)
    assert parsed == options
    assert parsed != method.options_class()


def test_loss_terms_are_finite_scalars_with_weights(
    method: type[Method], backbone: Backbone, dataset: CheckedDataset
) -> None:
    model = make(method, dataset, backbone)
    for batch in batches_of(model, dataset)[:3]:
        terms = model.batch_terms(batch, training=True)
        assert set(terms) == set(model.initial_term_weights())
        for term in terms.values():
            assert term.shape == ()
            assert np.isfinite(float(term))
    assert set(model.term_weight_decays()) <= set(model.initial_term_weights())


def test_gradients_are_finite_also_where_no_negative_exists(
    method: type[Method], backbone: Backbone, dataset: CheckedDataset
) -> None:
    model = make(method, dataset, backbone)
    batch = dict(batches_of(model, dataset)[0])
    # Nor a history.
    for name in batch.keys() & {"negatives", "case", "support", "histories"}:
        batch[name] = tf.zeros_like(batch[name])
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch, training=True)
    assert np.isfinite(float(loss))
    for gradient in tape.gradient(loss, model.trainable_variables):
        assert np.isfinite(tf.convert_to_tensor(gradient).numpy()).all()


def test_vectors_are_the_towers_and_causes_add_up(
    method: type[Method], backbone: Backbone, dataset: CheckedDataset
) -> None:
    model = make(method, dataset, backbone)
    vectors = model.vectors()
    users = tf.constant([1, 5, 7])
    items = tf.constant([2, 3, 4, 9])
    scores = tf.einsum(
        "bqd,id->bqi", model.query_vectors(users), model.candidate_vectors(items)
    ).numpy()
    whole = vectors.queries[[1, 5, 7]] @ vectors.candidates[[2, 3, 4, 9]].T
    np.testing.assert_allclose(whole, scores, atol=1e-5)
    by_cause = sum(
        vectors.only(cause).queries[[1, 5, 7]]
        @ vectors.only(cause).candidates[[2, 3, 4, 9]].T
        for cause in vectors.causes
    )
    np.testing.assert_allclose(by_cause, scores, atol=1e-5)


def test_it_learns_what_was_planted(
    method: type[Method],
    backbone: Backbone,
    dataset: CheckedDataset,
    tmp_path: Path,
) -> None:
    validate = validator(dataset, monitor=OPTIONS.monitor)
    run = train(
        dataset,
        method.registered_name,
        small_options(method, backbone),
        OPTIONS,
        tmp_path / "run",
        validate,
        verbose=0,
    )
    history = json.loads((run.folder / "history.json").read_text())
    assert history[-1]["click"] < 0.85 * history[0]["click"]
    against = evaluation_set(dataset, "test", protocol("dice"))
    popular = CausalVectors(
        np.ones((dataset.num_users, 1, 1), np.float32),
        against.popularity.astype(np.float32)[:, None],
        {"popularity": slice(0, 1)},
    )
    learned = evaluate(run.vectors(), against, protocol("dice")).metrics["ndcg@20"]
    baseline = evaluate(popular, against, protocol("dice")).metrics["ndcg@20"]
    assert learned > 1.3 * baseline


def test_two_models_of_a_seed_are_equal_and_of_two_seeds_are_not(
    method: type[Method], backbone: Backbone, dataset: CheckedDataset
) -> None:
    def after_steps(seed: int) -> Any:
        # One step at a time is traced in half the time.
        options = dataclasses.replace(OPTIONS, seed=seed, steps_per_execution=1)
        model = method.of_dataset(dataset, small_options(method, backbone), seed=seed)
        compile_model(model, options)
        batches = training_batches(dataset, model, options)
        model.fit(batches.dataset(0, 1), steps_per_epoch=8, verbose=0)
        return model.vectors().candidates

    assert np.array_equal(after_steps(3), after_steps(3))
    assert not np.array_equal(after_steps(3), after_steps(4))
