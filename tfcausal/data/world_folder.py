"""A synthetic world on disk.

    WORLD/manifest.json                     kind "world"
    WORLD/log/part-00000.parquet, ...       the biased log, in the order of time
    WORLD/test_observational/part-00000.parquet
    WORLD/test_equal_exposure/...           do(equal exposure)
    WORLD/test_no_conformity/...            do(equal exposure, conformity = 0)
    WORLD/truth/                            see tfcausal.data.world_truth

Log and test sets have the columns user_id, item_id (strings) and timestamp (int64 s).
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tfcausal.data.world import Progress, Rows, World, concentration
from tfcausal.data.world_causes import WorldOptions
from tfcausal.data.world_truth import KIND, item_ids, user_ids, write_truth
from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.dataset import shard_name
from tfcausal.schema.folders import staged_folder
from tfcausal.schema.manifest import (
    Manifest,
    checksums,
    library_versions,
    write_manifest,
)

LOG = "log"
ROW_GROUP_ROWS = 1 << 16
ROWS_PER_SHARD = 1 << 20


def write_world(
    output: Path,
    options: WorldOptions,
    *,
    overwrite: bool = False,
    rows_per_shard: int = ROWS_PER_SHARD,
    block_users: int = 8_192,
    workers: int | None = None,
    progress: Progress = lambda _: None,
) -> Manifest:
    """Draws a world and writes it; the folder appears whole or not at all.

    Args:
        output: The folder to make.
        options: What decides the world.
        overwrite: Whether a finished folder there may be replaced.
        rows_per_shard: Rows of a shard, at least 1; the last one may have fewer.
        block_users: Users worked on at a time by one thread. Changes no row.
        workers: Threads; None for one a core. Changes no row.
        progress: Is told of interactions as they are drawn.
    Returns:
        The folder's manifest.
    Raises:
        InputError: If the folder is there already and may not be replaced.
    """
    if rows_per_shard < 1:
        raise InputError(f"`rows_per_shard` must be at least 1; got {rows_per_shard}.")
    with staged_folder(output, KIND, overwrite=overwrite) as folder:
        world = World(
            options, block_users=block_users, workers=workers, progress=progress
        )
        shards = _Shards(options, rows_per_shard)
        counts = {"users": options.num_users, "items": options.num_items}
        counts[LOG] = shards.write(folder / LOG, world.log())
        for name, rows in world.tests():
            counts[name] = shards.write(folder / name, [rows])
        write_truth(folder, world.causes, world.appeal)
        manifest = Manifest(
            kind=KIND,
            options=asdict(options) | {"rows_per_shard": rows_per_shard},
            counts=counts,
            files=checksums(folder),
            details={"popularity": dict(concentration(world.popularity))},
            versions=library_versions("numpy", "pyarrow"),
        )
        write_manifest(folder, manifest)
    return manifest


class _Shards:
    """Writes rows as Parquet shards, cut alike however they come."""

    def __init__(self, options: WorldOptions, rows_per_shard: int) -> None:
        self._users = user_ids(options.num_users)
        self._items = item_ids(options.num_items)
        self._rows_per_shard = rows_per_shard

    def write(self, folder: Path, parts: Iterable[Rows]) -> int:
        """Writes all parts and returns the number of their rows."""
        folder.mkdir()
        pending: list[pa.Table] = []
        waiting, shard, total = 0, 0, 0
        for part in parts:
            pending.append(self._table(part))
            waiting += len(part)
            total += len(part)
            while waiting >= self._rows_per_shard:
                joined = pa.concat_tables(pending)
                self._shard(folder, shard, joined.slice(0, self._rows_per_shard))
                pending = [joined.slice(self._rows_per_shard)]
                waiting -= self._rows_per_shard
                shard += 1
        if waiting or not shard:
            self._shard(folder, shard, pa.concat_tables(pending))
        return total

    def _shard(self, folder: Path, number: int, table: pa.Table) -> None:
        pq.write_table(
            table.combine_chunks(),
            folder / shard_name(number),
            row_group_size=ROW_GROUP_ROWS,
        )

    def _table(self, rows: Rows) -> pa.Table:
        return pa.table(
            {
                columns.USER_ID: self._users.take(pa.array(rows.users)),
                columns.ITEM_ID: self._items.take(pa.array(rows.items)),
                columns.TIMESTAMP: pa.array(rows.timestamps),
            }
        )
