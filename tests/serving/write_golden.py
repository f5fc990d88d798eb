"""Adds a version to the golden exports, which every later version must still serve.

    python -m tests.serving.write_golden

writes saved_models/golden/NAME/VERSION for two tiny models on planted data: one of
users with two causes, one of histories. To be run when what an export holds has changed
on purpose; the versions that are there stay.
"""

import tempfile
from pathlib import Path

from tests.datasets import write_dataset
from tests.serving.served_histories import train_small
from tfcausal.serving.export import export

GOLDEN = Path(__file__).parents[2] / "saved_models" / "golden"
METHODS = ("dice", "causerec")


def main() -> None:
    """Trains and exports both models."""
    with tempfile.TemporaryDirectory() as scratch:
        dataset = write_dataset(Path(scratch, "dataset"), num_users=40, num_items=30)
        for name in METHODS:
            run = train_small(dataset, name, Path(scratch, name), 3, min_pool=5)
            print(export(run, name, GOLDEN, k=5))


if __name__ == "__main__":
    main()
