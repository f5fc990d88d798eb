"""What embed writes, as the jobs after it read it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from tfcausal.schema.dataset import shard_name
from tfcausal.schema.exported import VectorsFolder, causes_of
from tfcausal.schema.manifest import Manifest
from tfcausal.schema.vectors import Float32s


@dataclass(frozen=True)
class CatalogueVectors:
    """Vectors of all users and items of an exported model; holds none of them.

    Attributes:
        folder: Where they lie.
        num_users: Users of the catalogue.
        num_items: Items of the catalogue.
        block_rows: Users or items in a file.
        causes: Ordered, name of the cause to its coordinates.
    """

    folder: VectorsFolder
    num_users: int
    num_items: int
    block_rows: int
    causes: Mapping[str, slice]

    @classmethod
    def of(cls, root: Path, manifest: Manifest) -> Self:
        """Returns those of a folder with that manifest."""
        return cls(
            VectorsFolder(root),
            num_users=manifest.counts["users"],
            num_items=manifest.counts["items"],
            block_rows=manifest.options["block_rows"],
            causes=causes_of(manifest),
        )

    @property
    def user_files(self) -> range:
        """Numbers of the files of users."""
        return range(math.ceil(self.num_users / self.block_rows))

    @property
    def item_files(self) -> range:
        """Numbers of the files of items."""
        return range(math.ceil(self.num_items / self.block_rows))

    def item_shards(self, items_per_shard: int) -> list[range]:
        """Cuts the files of items into shards of so many items, at least a file."""
        size = max(items_per_shard // self.block_rows, 1)
        return [
            self.item_files[first : first + size] for first in self.item_files[::size]
        ]

    def users(self, file: int, names: Sequence[str] | None = None) -> pa.Table:
        """Reads a file of users: all columns, or those of these names."""
        return pq.read_table(self.folder.users / shard_name(file), columns=names)

    def items(self, files: Sequence[int], names: Sequence[str]) -> pa.Table:
        """Reads columns of some files of items."""
        paths = [self.folder.items / shard_name(number) for number in files]
        return pa.concat_tables(pq.read_table(path, columns=names) for path in paths)


def in_rows(column: pa.ChunkedArray) -> Float32s:
    """Returns a column of lists of fixed size as an array, [n, ...] float32."""
    values = column.combine_chunks()
    shape = [len(values)]
    while pa.types.is_fixed_size_list(values.type):
        shape.append(values.type.list_size)
        values = values.flatten()
    found: Float32s = values.to_numpy().reshape(shape)
    return found
