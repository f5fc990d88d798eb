"""Parquet files, some row groups at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_jobs.sources.text import first_line
from beam_jobs.sources.units import SourceBlock, SourceBlocks, SourceUnit
from tfcausal.errors import InputError
from tfcausal.stats.cleaning import REJECTED_SCHEMA

PIECE_ROWS = 1 << 21
"""Small row groups are read together, until there are about so many rows: what is done
once for each distinct id of a block is then done less often."""

# What damaged files have been seen to end in; ArrowInvalid is a ValueError.
_FAULTS = (pa.ArrowException, OSError, ValueError)


@dataclass(frozen=True)
class ParquetHead:
    """What the foot of a Parquet file says of it.

    Attributes:
        schema: Its columns.
        group_rows: Rows of each row group.
    """

    schema: pa.Schema
    group_rows: tuple[int, ...]

    def pieces(self) -> Iterator[tuple[tuple[int, ...], int]]:
        """Yields row groups to be read together, and how many rows are before them.

        A file without rows has no row group, or one without rows; the latter still
        says that the file was looked at.
        """
        before = list(accumulate(self.group_rows, initial=0))
        groups = range(len(self.group_rows))
        for _, together in groupby(groups, lambda group: before[group] // PIECE_ROWS):
            first, *others = together
            yield (first, *others), before[first]


def head(path: str) -> ParquetHead:
    """Reads the metadata of a Parquet file.

    Raises:
        InputError: If it is none.
    """
    try:
        with pq.ParquetFile(path) as file:
            metadata = file.metadata
            groups = range(metadata.num_row_groups)
            return ParquetHead(
                file.schema_arrow, tuple(metadata.row_group(g).num_rows for g in groups)
            )
    except _FAULTS as error:
        raise InputError(
            f"`{path}` must be a Parquet file; {first_line(error)}. Check the file and "
            "--format."
        ) from error


def read_row_groups(unit: SourceUnit) -> SourceBlocks:
    """Reads row groups, only the columns that are needed.

    Args:
        unit: Row groups of a file of kind "parquet".
    Yields:
        Its rows in one block.
    Raises:
        InputError: If the file is damaged.
    """
    names = unit.columns
    with (
        _refused(unit.file.path),
        pq.ParquetFile(
            unit.file.path,
            # Texts are most often stored as dictionaries, which a block wants anyway.
            read_dictionary=[names.user, names.item],
            page_checksum_verification=True,
        ) as file,
    ):
        table = file.read_row_groups(unit.row_groups, columns=names.wanted)
        _require_sound(table)
    table = table.unify_dictionaries()
    ordinals = np.arange(len(table), dtype=np.int64)

    raw = unit.columns.raw_block(
        lambda name: _joined(table[name]),
        unit.first_row + ordinals + 1,
        unit.first_position + ordinals,
    )
    yield SourceBlock(raw, REJECTED_SCHEMA.empty_table())


def read_whole(path: str) -> pa.Table:
    """Reads a small file.

    Raises:
        InputError: If it is damaged.
    """
    with _refused(path):
        table = pq.read_table(path, page_checksum_verification=True)
        table.validate(full=True)
    return table


@contextmanager
def _refused(path: str) -> Iterator[None]:
    try:
        yield
    except _FAULTS as error:
        raise InputError(
            f"`{path}` must be readable to its end; {first_line(error)}. Copy the file "
            "again."
        ) from error


def _require_sound(table: pa.Table) -> None:
    """Raises ValueError if a value of a dictionary column lies beyond its dictionary.

    Arrow takes them as they stand in the file, and would read beyond the end.
    """
    for chunk in (chunk for column in table.columns for chunk in column.chunks):
        if pa.types.is_dictionary(chunk.type) and len(chunk) > chunk.null_count:
            bounds = pc.min_max(chunk.indices).as_py()
            if bounds["min"] < 0 or bounds["max"] >= len(chunk.dictionary):
                raise ValueError("a value lies beyond its column's dictionary")


def _joined(column: pa.ChunkedArray) -> pa.Array:
    joined = column.combine_chunks()
    if isinstance(joined, pa.ChunkedArray):
        joined = pa.concat_arrays(joined.chunks)
    return joined
