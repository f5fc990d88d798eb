"""Methods on LightGCN's backbone: propagated vectors in place of learned ones."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.datasets import write_dataset
from tests.methods.interrupted import OPTIONS, run_dice
from tests.stats.test_graph import normalised
from tfcausal import methods
from tfcausal.data.interactions import CheckedDataset, read_part
from tfcausal.errors import InputError
from tfcausal.methods.options import TowerOptions
from tfcausal.methods.triplets import TripletBatch, TripletMethod
from tfcausal.schema.dataset import TRAIN, TRAIN_INTERVENED
from tfcausal.schema.manifest import checksums
from tfcausal.schema.options import field_meanings
from tfcausal.training.trainer import compile_model, training_batches

import tensorflow as tf  # isort: skip

DICE_FORM = {
    "backbone": "lightgcn",
    "graph_layers": 2,
    "self_loops": True,
    "feature_dropout": 0.2,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    return write_dataset(tmp_path_factory.mktemp("dataset") / "data")


def make(name: str, dataset: CheckedDataset, **given: Any) -> TripletMethod:
    method = methods.get(name)
    options = method.options_class(embedding_dim=8, learning_rate=0.02, **given)
    return method.of_dataset(dataset, options, seed=4)


def slow_tables(
    model: TripletMethod,
    dataset: CheckedDataset,
    num_layers: int,
    *,
    self_loops: bool = False,
    parts: Sequence[str] = (TRAIN, TRAIN_INTERVENED),
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Users' and items' propagated tables, by a dense graph of the parts' rows."""
    return slowly_propagated(
        (model.users.table.numpy(), model.items.table.numpy()),
        dataset,
        num_layers,
        self_loops=self_loops,
        parts=parts,
    )


def slowly_propagated(
    tables: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    dataset: CheckedDataset,
    num_layers: int,
    *,
    self_loops: bool,
    parts: Sequence[str],
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    rows = read_part(dataset.folder, parts)
    met = np.zeros((dataset.num_users, dataset.num_items))
    met[rows.users, rows.items] = 1.0
    graph = normalised(met, "symmetric", self_loops)
    layers = [np.concatenate(tables)]
    for _ in range(num_layers):
        layers.append(graph @ layers[-1])
    users, items = np.split(np.mean(layers, axis=0), [dataset.num_users])
    return users, items


@pytest.mark.parametrize("self_loops", [False, True])
def test_vectors_are_propagated_over_the_training_rows(
    dataset: CheckedDataset, self_loops: bool
) -> None:
    model = make(
        "dice", dataset, backbone="lightgcn", graph_layers=2, self_loops=self_loops
    )
    users, items = slow_tables(model, dataset, 2, self_loops=self_loops)
    vectors = model.vectors()
    np.testing.assert_allclose(vectors.queries[:, 0], users, atol=1e-6)
    np.testing.assert_allclose(vectors.candidates, items, atol=1e-6)


@pytest.mark.parametrize("name", ["mf", "dice"])
def test_terms_are_those_of_the_propagated_tables(
    dataset: CheckedDataset, name: str
) -> None:
    model = make(name, dataset, backbone="lightgcn")
    plain = make(name, dataset)
    users, items = slow_tables(model, dataset, 3)
    plain.users.table.assign(users)
    plain.items.table.assign(items)
    columns = next(iter(training_batches(dataset, model, OPTIONS).dataset(0, 1)))
    batch = TripletBatch.from_columns(columns)
    found = model.loss_terms(batch, model.towers(training=True))
    expected = plain.loss_terms(batch, plain.towers(training=True))
    for term, value in expected.items():
        assert float(found[term]) == pytest.approx(float(value), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("serves", ["control", "treatment"])
def test_cause_propagates_each_pair_of_tables_over_its_own_rows(
    dataset: CheckedDataset, serves: str
) -> None:
    model = make("cause", dataset, backbone="lightgcn", serves=serves)
    control = slow_tables(model, dataset, 3, parts=[TRAIN])
    treated = slowly_propagated(
        (model.treatment_users.table.numpy(), model.treatment.table.numpy()),
        dataset,
        3,
        self_loops=False,
        parts=[TRAIN_INTERVENED],
    )
    vectors = model.vectors()
    users, items = control if serves == "control" else treated
    np.testing.assert_allclose(vectors.queries[:, 0], users, atol=1e-6)
    np.testing.assert_allclose(vectors.candidates, items, atol=1e-6)
    columns = next(iter(training_batches(dataset, model, OPTIONS).dataset(0, 1)))
    batch = TripletBatch.from_columns(columns)
    found = model.loss_terms(batch, model.towers(training=True))
    plain = make("cause", dataset)
    for term, (of_users, of_items), table in (
        ("click", control, plain.items),
        ("click_intervened", treated, plain.treatment),
    ):
        plain.users.table.assign(of_users)
        table.table.assign(of_items)
        expected = plain.loss_terms(batch, plain.towers(training=True))[term]
        assert float(found[term]) == pytest.approx(float(expected), rel=1e-4)
    exists = batch.exists.numpy()
    met = {*batch.positives.numpy().tolist(), *batch.negatives.numpy()[exists].tolist()}
    squares = [
        ((control[side][rows] - treated[side][rows]) ** 2).mean()
        for side, rows in ((0, sorted(set(batch.users.numpy()))), (1, sorted(met)))
    ]
    assert float(found["discrepancy"]) == pytest.approx(sum(squares), rel=1e-4)


def test_cause_draws_no_dropout_outside_of_training(dataset: CheckedDataset) -> None:
    model = make("cause", dataset, **DICE_FORM)
    compile_model(model, OPTIONS)
    columns = next(iter(training_batches(dataset, model, OPTIONS).dataset(0, 1)))
    batch = TripletBatch.from_columns(columns)

    def term(*, training: bool) -> float:
        towers = model.towers(training=training)
        return float(model.loss_terms(batch, towers)["click_intervened"])

    found = [term(training=False), term(training=True)]
    model.optimizer.iterations.assign_add(1)
    assert term(training=False) == found[0]
    assert term(training=True) != found[1]


def test_dropout_is_drawn_anew_in_each_step_of_training_and_nowhere_else(
    dataset: CheckedDataset,
) -> None:
    model = make("dice", dataset, **DICE_FORM)
    compile_model(model, OPTIONS)
    rows = tf.range(dataset.num_users)

    def users(*, training: bool = True) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = model.towers(training=training).users(rows).numpy()
        return found

    first, without = users(), users(training=False)
    assert np.array_equal(first, users())
    model.optimizer.iterations.assign_add(1)
    second = users()
    assert not np.array_equal(first, second)
    assert np.array_equal(without, users(training=False))


def test_stopped_and_run_again_gives_the_same_bytes(
    dataset: CheckedDataset, tmp_path: Path
) -> None:
    unbroken = run_dice(dataset, tmp_path / "unbroken", DICE_FORM)
    with pytest.raises(KeyboardInterrupt):
        run_dice(dataset, tmp_path / "again", DICE_FORM, stop_at=2)
    # The stop came in the middle of the second epoch.
    reader = tf.train.load_checkpoint(str(tmp_path / "again/checkpoints"))
    assert reader.get_tensor("progress/epoch/.ATTRIBUTES/VARIABLE_VALUE") == 1
    assert reader.get_tensor("progress/step/.ATTRIBUTES/VARIABLE_VALUE") > 0
    again = run_dice(dataset, tmp_path / "again", DICE_FORM)
    assert checksums(again.folder / "vectors") == checksums(unbroken.folder / "vectors")
    history = [run.folder / "history.json" for run in (again, unbroken)]
    assert history[0].read_text() == history[1].read_text()


@pytest.mark.parametrize("name", methods.names())
def test_options_of_the_base_keep_their_meanings(name: str) -> None:
    options_class = methods.get(name).options_class
    meanings = field_meanings(options_class)
    for field in dataclasses.fields(options_class):
        assert meanings[field.name].endswith("."), field.name
    if issubclass(options_class, TowerOptions):
        assert "propagates" in meanings["backbone"]


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"backbone.*lightgcn, features; got gcn"):
        TowerOptions(**{"backbone": "gcn"})
    with pytest.raises(InputError, match=r"graph_layers.*>= 1; got 0"):
        TowerOptions(graph_layers=0)
    for share in (-0.1, 1.0):
        with pytest.raises(InputError, match="feature_dropout"):
            TowerOptions(feature_dropout=share)
    with pytest.raises(InputError, match="of_dataset"):
        methods.get("mf")(
            methods.get("mf").options_class(backbone="lightgcn"),
            num_users=3,
            num_items=4,
        )
