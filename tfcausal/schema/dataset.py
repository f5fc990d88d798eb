"""Where everything lies in a data set's folder.

DATASET/manifest.json                     kind "dataset"
DATASET/interactions/part-00000.parquet   every row of a user in one shard
DATASET/users.parquet, items.parquet      vocabularies, row 0 the unknown one
DATASET/rejected/part-00000.parquet       rows that could not be read, and why
DATASET/splits/manifest.json              kind "splits"
DATASET/splits/PART/part-00000.parquet    same shards, same users in each
DATASET/features/popularity/              kind "popularity": popularity.parquet
DATASET/triplets/epoch-0000/              kind "triplets": part-00000.tfrecord
"""

from dataclasses import dataclass
from pathlib import Path

TRAIN = "train"
TRAIN_INTERVENED = "train_intervened"
VALIDATION = "validation"
TEST = "test"
TRAINING_PARTS = (TRAIN, TRAIN_INTERVENED)
"""The parts a model learns from and whose items are a user's history."""


def shard_name(index: int, suffix: str = "parquet") -> str:
    """Returns the file name of shard `index`, such as part-00003.parquet."""
    return f"part-{index:05d}.{suffix}"


@dataclass(frozen=True)
class DatasetFolder:
    """The paths below one data set's folder; touches no file."""

    root: Path

    @property
    def interactions(self) -> Path:
        """Indexed interactions, in shards by user."""
        return self.root / "interactions"

    @property
    def users(self) -> Path:
        """The user vocabulary."""
        return self.root / "users.parquet"

    @property
    def items(self) -> Path:
        """The item vocabulary."""
        return self.root / "items.parquet"

    @property
    def rejected(self) -> Path:
        """Dead letters of ingest."""
        return self.root / "rejected"

    @property
    def splits(self) -> Path:
        """The parts of the split."""
        return self.root / "splits"

    def part(self, name: str) -> Path:
        """One part of the split, such as `train`."""
        return self.splits / name

    @property
    def popularity(self) -> Path:
        """Item popularity in the train window."""
        return self.root / "features" / "popularity"

    @property
    def triplets(self) -> Path:
        """Training triplets drawn ahead, an epoch a folder."""
        return self.root / "triplets"
