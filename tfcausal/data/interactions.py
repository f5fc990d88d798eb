"""Interactions, vocabularies and popularity, read from a data set's folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.dataset import DatasetFolder
from tfcausal.schema.manifest import Manifest, read_manifest, require_input
from tfcausal.stats.negatives import Int32s, Int64s


@dataclass(frozen=True)
class Interactions:
    """Indexed interactions in memory, shard after shard.

    Attributes:
        users: [n] int32 user indices.
        items: [n] int32 item indices.
        occurrences: [n] int32, or None where no user meets an item twice.
        shard_ends: [num_shards] int64; shard s ends before row shard_ends[s].
        num_unknown: Rows of an outside set that were left out, since the data set does
            not know their user or item.
    """

    users: Int32s
    items: Int32s
    occurrences: Int32s | None
    shard_ends: Int64s
    num_unknown: int = 0

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True)
class CheckedDataset:
    """A data set whose manifests fit each other.

    Attributes:
        folder: Its paths.
        manifest: What ingest promised.
        splits: What the split promised.
    """

    folder: DatasetFolder
    manifest: Manifest
    splits: Manifest

    @property
    def num_users(self) -> int:
        """Rows of the user vocabulary, the unknown user included."""
        return int(pq.read_metadata(self.folder.users).num_rows)

    @property
    def num_items(self) -> int:
        """Rows of the item vocabulary, the unknown item included."""
        return int(pq.read_metadata(self.folder.items).num_rows)

    def parts(self, names: Sequence[str]) -> list[str]:
        """Returns those of `names` that this split has."""
        return [name for name in names if self.folder.part(name).is_dir()]


def open_dataset(root: Path | str) -> CheckedDataset:
    """Opens a data set that has been ingested and split.

    Args:
        root: Its folder.
    Raises:
        InputError: If a manifest is missing or the split is of another data set.
    """
    folder = DatasetFolder(Path(root))
    manifest = read_manifest(folder.root, kind="dataset")
    splits = read_manifest(folder.splits, kind="splits")
    require_input(splits, "dataset", manifest.fingerprint, folder.splits)
    return CheckedDataset(folder, manifest, splits)


def part_files(
    dataset: DatasetFolder, parts: Sequence[str]
) -> list[list[tuple[str, Path]]]:
    """Finds the files of parts of the split, in the order in which they are read.

    Args:
        dataset: The data set's paths.
        parts: Names such as `train`; a missing one is an error.
    Returns:
        For each shard, the name of the part and the file.
    Raises:
        InputError: If a part does not exist.
    """
    shards: dict[str, list[tuple[str, Path]]] = {}
    for part in parts:
        folder = dataset.part(part)
        paths = sorted(folder.glob("part-*.parquet"))
        if not paths:
            raise InputError(
                f"`{folder}` must hold the part `{part}` of a split; found no shard. "
                "Run beam_jobs.split, or choose another part."
            )
        for path in paths:
            shards.setdefault(path.name, []).append((part, path))
    return [shards[name] for name in sorted(shards)]


def _read_rows(path: Path) -> pa.Table:
    # The occurrence column is there only where repeats were kept.
    names = set(pq.read_schema(path).names)
    wanted = [columns.USER, columns.ITEM, columns.OCCURRENCE]
    return pq.read_table(path, columns=[name for name in wanted if name in names])


def read_part(dataset: DatasetFolder, parts: Sequence[str]) -> Interactions:
    """Reads parts of the split, joined within each shard.

    Args:
        dataset: The data set's paths.
        parts: Names such as `train`; a missing one is an error.
    Returns:
        The rows, 8 bytes each in memory (12 where repeats were kept).
    Raises:
        InputError: If a part does not exist.
    """
    tables = [
        pa.concat_tables(_read_rows(path) for _, path in files)
        for files in part_files(dataset, parts)
    ]
    table = pa.concat_tables(tables)
    ends = np.cumsum([len(shard) for shard in tables], dtype=np.int64)
    occurrences = (
        table[columns.OCCURRENCE].to_numpy()
        if columns.OCCURRENCE in table.column_names
        else None
    )
    return Interactions(
        table[columns.USER].to_numpy(),
        table[columns.ITEM].to_numpy(),
        occurrences,
        ends,
    )


def read_vocabulary(path: Path) -> pa.Array:
    """Reads a vocabulary's ids; row order is the index, row 0 the unknown one.

    Returns:
        String array of [num_users] or [num_items].
    """
    id_column = pq.read_schema(path).names[0]
    return pq.read_table(path, columns=[id_column])[id_column].combine_chunks()


def read_popularity(dataset: CheckedDataset, *, intervened: bool = False) -> Int64s:
    """Reads how often each item was met in the train window.

    Args:
        dataset: A data set whose popularity is counted.
        intervened: Whether the rows of `train_intervened` count too. They are drawn
            evenly over the items and say nothing of how popular these are.
    Returns:
        [num_items] int64, row order is the index.
    Raises:
        InputError: If it is missing or was counted on another split.
    """
    folder = dataset.folder.popularity
    manifest = read_manifest(folder, kind="popularity")
    require_input(manifest, "splits", dataset.splits.fingerprint, folder)
    counts = [columns.POPULARITY, columns.POPULARITY_INTERVENED][: 1 + intervened]
    table = pq.read_table(
        folder / "popularity.parquet", columns=[columns.ITEM, *counts]
    )
    popularity: Int64s = np.sum([table[count].to_numpy() for count in counts], axis=0)
    if len(popularity) != dataset.num_items:
        raise InputError(
            f"`{folder}` must have a row for each of {dataset.num_items} items; got "
            f"{len(popularity)}. Run beam_jobs.popularity again."
        )
    return popularity


def index_interactions(
    path: Path,
    dataset: CheckedDataset,
    *,
    user_column: str = columns.USER_ID,
    item_column: str = columns.ITEM_ID,
) -> Interactions:
    """Reads an outside set of interactions and looks its ids up.

    Args:
        path: A Parquet file, or a folder of them.
        dataset: The data set whose vocabularies count.
        user_column: Column of user ids, strings or integers.
        item_column: Column of item ids, strings or integers.
    Returns:
        The rows whose user and item the data set knows.
    Raises:
        InputError: If there is no file, a column is missing, or no row is known.
    """
    paths = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not paths or not paths[0].is_file():
        raise InputError(
            f"`{path}` must be a Parquet file or a folder of them; found none."
        )
    vocabularies = {
        user_column: read_vocabulary(dataset.folder.users),
        item_column: read_vocabulary(dataset.folder.items),
    }
    indices: dict[str, list[Int32s]] = {name: [] for name in vocabularies}
    for file in paths:
        found = pq.read_schema(file).names
        for name in vocabularies:
            if name not in found:
                raise InputError(
                    f"`{file}` must have the column `{name}`; got {', '.join(found)}."
                )
        table = pq.read_table(file, columns=list(vocabularies))
        for name, vocabulary in vocabularies.items():
            rows = pc.index_in(table[name].cast(pa.string()), vocabulary)
            indices[name].append(rows.fill_null(0).to_numpy().astype(np.int32))
    users, items = (np.concatenate(indices[name]) for name in vocabularies)
    known = (users != columns.UNKNOWN_INDEX) & (items != columns.UNKNOWN_INDEX)
    if not known.any():
        raise InputError(
            f"`{path}` must have users and items of `{dataset.folder.root}`; none of "
            f"its {len(users)} rows has both. Check the id columns."
        )
    num_unknown = int(np.sum(~known))
    users, items = users[known], items[known]
    ends = np.asarray([len(users)])
    return Interactions(users, items, None, ends, num_unknown=num_unknown)
