"""Methods on the backbone of features, and what a run of it gives back."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.datasets import write_dataset
from tests.methods.interrupted import OPTIONS, run_dice
from tfcausal import methods
from tfcausal.data.interactions import CheckedDataset
from tfcausal.errors import InputError
from tfcausal.methods.options import TowerOptions
from tfcausal.methods.towers import Towers
from tfcausal.methods.triplets import TripletBatch, TripletMethod
from tfcausal.schema.manifest import checksums
from tfcausal.schema.vectors import CausalVectors
from tfcausal.training.restored import load_model
from tfcausal.training.run import Run, load_run
from tfcausal.training.trainer import compile_model, training_batches

import tensorflow as tf  # isort: skip

TOWER: dict[str, Any] = {
    "backbone": "features",
    "hidden_dims": (8,),
    "feature_dim": 4,
    "unknown_share": 0.2,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    return write_dataset(tmp_path_factory.mktemp("dataset") / "data", features=True)


def make(name: str, dataset: CheckedDataset, **given: Any) -> TripletMethod:
    method = methods.get(name)
    options = method.options_class(embedding_dim=8, learning_rate=0.02, **given)
    return method.of_dataset(dataset, options, seed=4)


def first_batch(dataset: CheckedDataset, model: TripletMethod) -> TripletBatch:
    columns = next(iter(training_batches(dataset, model, OPTIONS).dataset(0, 1)))
    return TripletBatch.from_columns(columns)


@pytest.mark.parametrize("name", ["mf", "dice", "dccl", "two_tower"])
def test_a_method_begins_as_on_plain_vectors(
    dataset: CheckedDataset, name: str
) -> None:
    model, plain = make(name, dataset, **TOWER), make(name, dataset)
    assert len(model.trainable_variables) == len(plain.trainable_variables) + 10
    batch = first_batch(dataset, plain)
    found = model.loss_terms(batch, model.towers(training=False))
    expected = plain.loss_terms(batch, plain.towers(training=False))
    for term, value in expected.items():
        assert float(found[term]) == pytest.approx(float(value), rel=1e-5, abs=1e-6)
    vectors = model.vectors()
    np.testing.assert_allclose(vectors.queries, plain.vectors().queries, atol=1e-6)


def test_vectors_are_those_of_the_towers(dataset: CheckedDataset) -> None:
    model = make("dice", dataset, **TOWER)
    assert model.user_tower is not None
    assert model.item_tower is not None
    for weight in model.trainable_variables:
        weight.assign_add(tf.random.stateless_normal(weight.shape, [1, 2]))
    vectors = model.vectors()
    rows = tf.constant([0, 7, 8])
    assert np.array_equal(vectors.candidates.shape, (dataset.num_items, 16))
    for found, tower in (
        (vectors.queries[:, 0], model.user_tower),
        (vectors.candidates, model.item_tower),
    ):
        np.testing.assert_allclose(found[[0, 7, 8]], tower(rows), atol=1e-5)


def test_a_step_of_training_moves_what_a_batch_has_met(dataset: CheckedDataset) -> None:
    model = make("mf", dataset, **TOWER)
    compile_model(model, OPTIONS)
    batches = training_batches(dataset, model, OPTIONS)
    before = [weight.numpy() for weight in model.trainable_variables]
    model.fit(batches.dataset(0, 1), steps_per_epoch=2, verbose=0)
    # After one step the last kernel is not 0 any more, and all else moves too.
    for weight, old in zip(model.trainable_variables, before, strict=True):
        assert not np.array_equal(weight.numpy(), old), weight.name


def test_hidden_ids_change_with_the_step_and_only_in_training(
    dataset: CheckedDataset,
) -> None:
    model = make("dice", dataset, **TOWER)
    compile_model(model, OPTIONS)
    rows = tf.range(dataset.num_users)

    def hidden(*, training: bool = True) -> Any:
        found = model.towers(training=training).users(rows).numpy()
        return (found == model.users.table.numpy()[0]).all(axis=1)

    first = hidden()
    assert 0.05 < first.mean() < 0.45
    assert np.array_equal(first, hidden())
    model.optimizer.iterations.assign_add(1)
    assert not np.array_equal(first, hidden())
    assert hidden(training=False).tolist() == [True] + [False] * (len(rows) - 1)


@pytest.fixture(scope="module")
def run(dataset: CheckedDataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_dice(dataset, tmp_path_factory.mktemp("runs") / "unbroken", TOWER)


def test_stopped_and_run_again_gives_the_same_bytes(
    dataset: CheckedDataset, run: Run, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_dice(dataset, tmp_path / "again", TOWER, stop_at=2)
    again = run_dice(dataset, tmp_path / "again", TOWER)
    assert checksums(again.folder / "vectors") == checksums(run.folder / "vectors")
    # As run.json has lists for tuples: asked for again, it is the same run.
    assert run_dice(dataset, run.folder, TOWER).manifest == run.manifest


def test_an_option_that_has_come_since_counts_as_its_default(
    dataset: CheckedDataset, run: Run, tmp_path: Path
) -> None:
    copy = shutil.copytree(run.folder, tmp_path / "copy")
    description = json.loads((copy / "run.json").read_text())
    for name, refused in (("item_columns", False), ("unknown_share", True)):
        del description["options"][name]
        (copy / "run.json").write_text(json.dumps(description))
        if refused:
            with pytest.raises(InputError, match=r"unknown_share 0\.1 there, 0.2 here"):
                run_dice(dataset, copy, TOWER)
        else:
            assert run_dice(dataset, copy, TOWER).manifest == run.manifest


def test_a_run_gives_its_model_back(dataset: CheckedDataset, run: Run) -> None:
    model = load_model(run, dataset)
    assert model.options.hidden_dims == (8,)
    np.testing.assert_allclose(model.vectors().queries, run.vectors().queries)
    # The last of 3 epochs, or an earlier one: not the weights that it began with.
    assert np.abs(model.user_tower.kernels[-1].numpy()).max() > 0


def test_a_run_without_its_weights_gives_no_model(
    dataset: CheckedDataset, run: Run, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run.folder, copy)
    found = load_run(copy)
    vectors = run.vectors()
    CausalVectors(vectors.queries * 2, vectors.candidates, vectors.causes).save(
        copy / "vectors"
    )
    with pytest.raises(InputError, match="must give the vectors of its run"):
        load_model(found, dataset)
    other = tf.train.Checkpoint(variables=[tf.Variable(1.0)])
    shutil.rmtree(copy / "best")
    with pytest.raises(InputError, match="must hold the weights of the best epoch"):
        load_model(found, dataset)
    tf.train.CheckpointManager(other, str(copy / "best"), max_to_keep=1).save()
    with pytest.raises(InputError, match="must give the vectors of its run"):
        load_model(found, dataset)


def test_one_side_alone(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", features=True)
    dataset.folder.user_features.unlink()
    model = make("mf", dataset, **TOWER)
    assert model.user_tower is None
    assert model.item_tower is not None
    assert model.towers(training=True).users is model.users


def test_refusals(tmp_path: Path, dataset: CheckedDataset) -> None:
    for wrong, message in (
        ({"hidden_dims": (8, 0)}, r"hidden_dims.*>= 1; got \(8, 0\)"),
        ({"feature_dim": 0}, "feature_dim.*>= 1; got 0"),
        ({"hash_buckets": 0}, "hash_buckets.*>= 1; got 0"),
        ({"unknown_share": 1.0}, "unknown_share"),
        ({"unknown_share": -0.1}, "unknown_share"),
    ):
        with pytest.raises(InputError, match=message):
            TowerOptions(**wrong)
    with pytest.raises(
        InputError, match=r"Unknown column `grop`. Did you mean `group`"
    ):
        make("mf", dataset, backbone="features", item_columns=("grop",))
    plain = write_dataset(tmp_path / "plain", num_users=20, num_items=40)
    with pytest.raises(InputError, match=r"--user_features or --item_features"):
        make("mf", plain, backbone="features")
    with pytest.raises(InputError, match=r"--user_features or --item_features"):
        make("mf", dataset, backbone="features", user_columns=(), item_columns=())
    with pytest.raises(InputError, match=r"`features` must be given.*of_dataset"):
        methods.get("mf")(
            methods.get("mf").options_class(backbone="features"),
            num_users=3,
            num_items=4,
        )


def test_options_from_json_and_from_an_empty_text() -> None:
    options = TowerOptions(**{"hidden_dims": [4, 2], "user_columns": [""]})
    assert options == TowerOptions(hidden_dims=(4, 2), user_columns=())


@pytest.mark.parametrize("click_loss", ["bpr", "softmax"])
@pytest.mark.parametrize("name", ["dccl", "dice", "ips"])
def test_a_step_looks_its_users_up_once(
    dataset: CheckedDataset, name: str, click_loss: str
) -> None:
    # With features a lookup is a perceptron's work. The discrepancy has its own users.
    given = {"discrepancy": "none"} if name == "dice" else {}
    model = make(name, dataset, click_loss=click_loss, **given)
    towers, asked = model.towers(training=True), []

    def users(rows: tf.Tensor) -> tf.Tensor:
        asked.append(rows)
        return towers.users(rows)

    terms = model.loss_terms(first_batch(dataset, model), Towers(users, towers.items))
    assert np.isfinite([float(term) for term in terms.values()]).all()
    assert len(asked) == 1
