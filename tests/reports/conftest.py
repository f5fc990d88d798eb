"""Exported models for the tests of their pages."""

from pathlib import Path

import pytest

from tests.datasets import write_dataset
from tests.runs import random_vectors, write_run
from tests.serving.served_histories import train_small
from tfcausal.data.interactions import CheckedDataset
from tfcausal.serving.export import export


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    return write_dataset(tmp_path_factory.mktemp("data") / "dataset", untrained=1)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, dataset: CheckedDataset) -> Path:
    """A model of two causes and two queries: which one wins hangs on the weights."""
    folder = tmp_path_factory.mktemp("page")
    vectors = random_vectors(dataset.num_users, dataset.num_items, num_queries=2)
    return export(write_run(folder / "run", dataset, vectors), "dice", folder).parent


@pytest.fixture(scope="session")
def history_model(
    tmp_path_factory: pytest.TempPathFactory, dataset: CheckedDataset
) -> Path:
    """A model whose users are histories."""
    folder = tmp_path_factory.mktemp("histories")
    run = train_small(dataset, "comirec", folder / "run", 1)
    return export(run, "comirec", folder).parent
