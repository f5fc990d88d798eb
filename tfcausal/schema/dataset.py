"""Where everything lies in a data set's folder.

DATASET/manifest.json                     kind "dataset"
DATASET/interactions/part-00000.parquet   every row of a user in one shard
DATASET/users.parquet, items.parquet      vocabularies, row 0 the unknown one
DATASET/user_features.parquet, ...        features of users and items, where given
DATASET/rejected/part-00000.parquet       rows that could not be read, and why
DATASET/splits/manifest.json              kind "splits"
DATASET/splits/PART/part-00000.parquet    same shards, same users in each
DATASET/features/popularity/              kind "popularity": popularity.parquet, ...
DATASET/features/item_concepts/CONCEPT/   kind "item_concepts": see ConceptFolder
DATASET/triplets/epoch-0000/              kind "triplets": part-00000.tfrecord
DATASET/sequences/PART/                   kind "sequences": epoch-0000/part-00000.arrow
DATASET/graph/PART+PART/                  kind "graph": see GraphFolder
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TRAIN = "train"
TRAIN_INTERVENED = "train_intervened"
VALIDATION = "validation"
TEST = "test"
VALIDATION_FOLD_IN = "validation_fold_in"
TEST_FOLD_IN = "test_fold_in"
FOLD_IN_PARTS = {VALIDATION: VALIDATION_FOLD_IN, TEST: TEST_FOLD_IN}
"""Where users are held out: what is known of those whose targets are in a part."""
TRAINING_PARTS = (TRAIN, TRAIN_INTERVENED)
"""The parts a model learns from and whose items are a user's history."""
ALL_ROWS = "all"
"""Stands for every row of the data set where a part may be named."""


def popular_test_part(share: float) -> str:
    """Returns the name of the test part with this share of rows on popular items.

    Args:
        share: A whole number of percent, such as 0.3 for test_popular_30.
    """
    return f"{TEST}_popular_{round(100 * share):02d}"


def shard_name(index: int, suffix: str = "parquet") -> str:
    """Returns the file name of shard `index`, such as part-00003.parquet."""
    return f"part-{index:05d}.{suffix}"


def epoch_name(epoch: int) -> str:
    """Returns the folder name of an epoch, such as epoch-0003."""
    return f"epoch-{epoch:04d}"


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
    def user_features(self) -> Path:
        """Features of users, a row for each row of the vocabulary; may be missing."""
        return self.root / "user_features.parquet"

    @property
    def item_features(self) -> Path:
        """Features of items, a row for each row of the vocabulary; may be missing."""
        return self.root / "item_features.parquet"

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
    def item_concepts(self) -> Path:
        """Concepts of items and the users' shares in their values."""
        return self.root / "features" / "item_concepts"

    @property
    def triplets(self) -> Path:
        """Training triplets drawn ahead, an epoch a folder."""
        return self.root / "triplets"

    def sequences(self, part: str) -> Path:
        """Histories and targets cut from one part of the split, or from `all`."""
        return self.root / "sequences" / part

    def graph(self, parts: Sequence[str]) -> Path:
        """The adjacency of users and items in some parts of the split."""
        return self.root / "graph" / "+".join(sorted(parts))


@dataclass(frozen=True)
class GraphFolder:
    """The paths below one graph's folder; touches no file."""

    root: Path

    @property
    def by_user(self) -> Path:
        """The neighbours of each user, in the same shards as the data set."""
        return self.root / "by_user"

    @property
    def by_item(self) -> Path:
        """The neighbours of each item, in shards of successive items."""
        return self.root / "by_item"

    @property
    def user_degrees(self) -> Path:
        """Number of neighbours of each user; row order is the index."""
        return self.root / "user_degrees.parquet"

    @property
    def item_degrees(self) -> Path:
        """Number of neighbours of each item; row order is the index."""
        return self.root / "item_degrees.parquet"


@dataclass(frozen=True)
class ConceptFolder:
    """The paths below one concept's folder; touches no file."""

    root: Path

    @property
    def values(self) -> Path:
        """The values; row order is the index, row 0 the unknown one."""
        return self.root / "values.parquet"

    @property
    def items(self) -> Path:
        """The values of each item, a row for each row of the vocabulary."""
        return self.root / "items.parquet"

    def users(self, part: str) -> Path:
        """The shares of the users of a part, in the same shards as the data set."""
        return self.root / "users" / part
