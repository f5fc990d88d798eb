"""CauseRec trained on a data set: every encoder, what recommends, interruptions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.datasets import write_dataset
from tests.methods.interrupted import train_until
from tests.methods.test_causerec import DIM, ENCODERS, SMALL, batch, terms_of
from tfcausal.data.interactions import CheckedDataset
from tfcausal.methods.causerec import CauseRec, CauseRecOptions
from tfcausal.schema.manifest import checksums
from tfcausal.training.batches import training_batches
from tfcausal.training.options import TrainingOptions
from tfcausal.training.run import Run
from tfcausal.training.trainer import compile_model

import tensorflow as tf  # isort: skip

OPTIONS = TrainingOptions(
    epochs=2,
    batch_size=64,
    checkpoint_steps=2,
    steps_per_execution=2,
    monitor="recall@20",
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    return write_dataset(tmp_path_factory.mktemp("dataset") / "data", num_users=60)


@pytest.fixture(scope="module")
def two_batches(dataset: CheckedDataset) -> list[dict[str, tf.Tensor]]:
    """Returns what all encoders learn from."""
    model = CauseRec.of_dataset(dataset, CauseRecOptions(**SMALL))
    batches = training_batches(dataset, model, TrainingOptions(batch_size=48))
    return list(batches.dataset(0, 1).take(2))


@pytest.mark.parametrize("level", ["item", "interest", "hierarchical"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_learns(
    dataset: CheckedDataset,
    two_batches: list[dict[str, tf.Tensor]],
    encoder: Any,
    level: Any,
) -> None:
    method_options = CauseRecOptions(
        **(SMALL | {"level": level, "encoder": encoder, "learning_rate": 0.01})
    )
    model = CauseRec.of_dataset(dataset, method_options, seed=1)
    compile_model(model, TrainingOptions())
    before = [weight.numpy() for weight in model.trainable_variables]
    logs: dict[str, Any] = {}
    for inputs in two_batches:
        logs = model.train_step(inputs)
    assert set(logs) == {"loss", "click", "users", "items"}
    # The mean of a first step without them, and of a second one with them.
    assert all(0 < float(value) < np.inf for value in logs.values())
    for weight, start in zip(model.trainable_variables, before, strict=True):
        assert np.isfinite(weight.numpy()).all()
        assert not np.array_equal(weight.numpy(), start), weight.name
    queries = model.query_vectors(tf.constant([1, 2, 3]))
    interests = encoder in ("mind", "comirec_sa", "comirec_dr")
    assert queries.shape == (3, 3 if interests else 1, DIM)


@pytest.mark.parametrize("level", ["item", "interest"])
def test_queries_that_recommend_do_not_depend_on_the_memory(
    dataset: CheckedDataset, level: Any
) -> None:
    model = CauseRec.of_dataset(
        dataset, CauseRecOptions(**(SMALL | {"level": level})), seed=1
    )
    before = model.vectors()
    terms_of(model, batch(1))
    assert not bool(model.memories[level].is_empty)
    after = model.vectors()
    np.testing.assert_array_equal(before.queries, after.queries)
    np.testing.assert_array_equal(before.candidates, after.candidates)
    assert int(model.memories[level].count) == 17


def trained(dataset: CheckedDataset, folder: Path, *, stop_at: int = -1) -> Run:
    changes = {
        "level": "hierarchical",
        "learning_rate": 0.02,
        "memory_size": 100,
        # Graphs of short sequences are made faster.
        "max_length": 3,
        "num_concepts": 2,
    }
    method_options = CauseRecOptions(**(SMALL | changes))
    return train_until(
        dataset, method_options, OPTIONS, folder, method="causerec", stop_at=stop_at
    )


def test_stopped_and_run_again_gives_the_same_bytes(
    dataset: CheckedDataset, tmp_path: Path
) -> None:
    unbroken = trained(dataset, tmp_path / "unbroken")
    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        trained(dataset, folder, stop_at=1)
    newest = tf.train.latest_checkpoint(str(folder / "checkpoints"))
    saved = {name for name, _ in tf.train.list_variables(newest)}
    for level in ("item", "interest"):
        for part in ("values", "count"):
            name = f"model/memories/{level}/{part}/.ATTRIBUTES/VARIABLE_VALUE"
            assert name in saved
            assert tf.train.load_variable(newest, name).any()
    again = trained(dataset, folder)
    assert checksums(again.folder / "vectors") == checksums(unbroken.folder / "vectors")
    for name in ("metrics.json", "history.json", "manifest.json"):
        assert (folder / name).read_text() == (unbroken.folder / name).read_text()
