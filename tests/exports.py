"""An exported model for tests of what reads one, made once for a process."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.datasets import write_dataset
from tests.runs import random_vectors, write_run
from tfcausal.serving.export import export

UNTRAINED = 5
NUM_USERS, NUM_ITEMS = 120, 80


@cache
def _scratch() -> TemporaryDirectory[str]:
    return TemporaryDirectory()


@cache
def exported_model() -> Path:
    """Returns a version's folder; who changes it copies it first.

    Users have two queries, and one user nothing that the model learned from.
    """
    root = Path(_scratch().name)
    dataset = write_dataset(
        root / "dataset",
        num_users=NUM_USERS,
        num_items=NUM_ITEMS,
        untrained=UNTRAINED,
    )
    vectors = random_vectors(NUM_USERS, NUM_ITEMS, num_queries=2)
    run = write_run(root / "run", dataset, vectors)
    return export(run, "dice", root / "saved_models")
