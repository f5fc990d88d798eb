"""Opening the folders that earlier jobs wrote."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.dataset import DatasetFolder, shard_name
from tfcausal.schema.manifest import Manifest, read_manifest, require_input
from tfcausal.schema.paths import as_path


@dataclass(frozen=True)
class IngestedDataset:
    """A data set that ingest has finished.

    Attributes:
        folder: Its paths, absolute.
        manifest: What it promises.
    """

    folder: DatasetFolder
    manifest: Manifest

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return _promised(self, "options", "num_shards")

    @property
    def row_group_size(self) -> int:
        """Rows in a Parquet row group."""
        return _promised(self, "options", "row_group_size")

    @property
    def num_interactions(self) -> int:
        """Rows of all shards."""
        return _promised(self, "counts", "interactions")

    @property
    def num_items(self) -> int:
        """Rows of the item vocabulary, the unknown item included."""
        return _promised(self, "counts", "items") + 1


def _promised(dataset: IngestedDataset, field: str, name: str) -> int:
    value = getattr(dataset.manifest, field).get(name)
    if not isinstance(value, int):
        raise InputError(
            f"`{dataset.folder.root}`: {field}.{name} of its manifest must be a "
            f"number; got {value}. Run beam_jobs.ingest again."
        )
    return value


@dataclass(frozen=True)
class SplitDataset(IngestedDataset):
    """A data set that has been split.

    Attributes:
        splits: What the split promises.
    """

    splits: Manifest

    def has_part(self, name: str) -> bool:
        """Returns whether the split has that part."""
        return name in self.splits.details["parts"]


def open_ingested(dataset: Path) -> IngestedDataset:
    """Opens a data set.

    Raises:
        InputError: If it is none, or its shards do not hold what it promises.
    """
    folder = DatasetFolder(as_path(dataset))
    opened = IngestedDataset(folder, read_manifest(folder.root, kind="dataset"))
    _require_rows(folder.interactions, opened.num_shards, opened.num_interactions)
    return opened


def open_split(dataset: Path) -> SplitDataset:
    """Opens a data set and its split.

    Raises:
        InputError: If one of them is missing or does not fit.
    """
    opened = open_ingested(dataset)
    splits = read_manifest(opened.folder.splits, kind="splits")
    require_input(splits, "dataset", opened.manifest.fingerprint, opened.folder.splits)
    for name, rows in splits.details["parts"].items():
        _require_rows(opened.folder.part(name), opened.num_shards, rows)
    return SplitDataset(opened.folder, opened.manifest, splits)


def _require_rows(folder: Path, num_shards: int, num_rows: int) -> None:
    found = 0
    for shard in range(num_shards):
        path = folder / shard_name(shard)
        if not path.is_file():
            raise InputError(
                f"`{folder}` must have {num_shards} shards; {path.name} is missing. "
                "Run the job that writes it again."
            )
        found += pq.read_metadata(path).num_rows
    if found != num_rows:
        raise InputError(
            f"`{folder}` must have {num_rows} rows, as its manifest says; got {found}. "
            "Run the job that writes it again."
        )


def read_counts(vocabulary: Path) -> npt.NDArray[np.int64]:
    """Returns the counts of a vocabulary, [num_users] or [num_items]."""
    column = pq.read_table(vocabulary, columns=[columns.COUNT])[columns.COUNT]
    counts: npt.NDArray[np.int64] = column.to_numpy()
    return counts


def time_bounds(paths: Sequence[Path]) -> tuple[int, int]:
    """Returns the earliest and the latest timestamp, from the files' statistics.

    Args:
        paths: Parquet files with a column of timestamps, at least one row in all.
    """
    found = []
    for path in paths:
        metadata = pq.read_metadata(path)
        place = metadata.schema.names.index(columns.TIMESTAMP)
        for group in range(metadata.num_row_groups):
            # A group without rows has no statistics.
            if metadata.row_group(group).num_rows:
                statistics = metadata.row_group(group).column(place).statistics
                found += [statistics.min, statistics.max]
    return min(found), max(found)
