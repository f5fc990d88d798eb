"""One exported model for all tests of what comes after export."""

from pathlib import Path

import pytest

from tests.datasets import write_dataset
from tests.runs import random_vectors, write_run
from tfcausal.data.interactions import CheckedDataset
from tfcausal.serving.export import export
from tfcausal.training.run import Run


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    return write_dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, dataset: CheckedDataset) -> Run:
    vectors = random_vectors(dataset.num_users, dataset.num_items, num_queries=2)
    return write_run(tmp_path_factory.mktemp("run"), dataset, vectors)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """A version's folder; tests that change it copy it first."""
    return export(run, "dice", tmp_path_factory.mktemp("saved_models"))
