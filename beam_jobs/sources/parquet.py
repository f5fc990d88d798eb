"""Parquet files, a row group at a time."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.sources.units import SourceBlock, SourceBlocks, SourceUnit
from tfcausal.errors import InputError
from tfcausal.stats.cleaning import REJECTED_SCHEMA


@dataclass(frozen=True)
class ParquetHead:
    """What the foot of a Parquet file says of it.

    Attributes:
        schema: Its columns.
        group_rows: Rows of each row group.
    """

    schema: pa.Schema
    group_rows: tuple[int, ...]


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
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"`{path}` must be a Parquet file; {str(error).splitlines()[0]} Check the "
            "file and --format."
        ) from error


def read_row_group(unit: SourceUnit) -> SourceBlocks:
    """Reads one row group, only the columns that are needed.

    Args:
        unit: A row group of a file of kind "parquet".
    Yields:
        Its rows in one block.
    Raises:
        InputError: If the file is damaged.
    """
    try:
        with pq.ParquetFile(unit.file.path) as file:
            table = file.read_row_group(unit.row_group, columns=unit.columns.wanted)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"`{unit.file.path}` must be readable to its end; "
            f"{str(error).splitlines()[0]}. Copy the file again."
        ) from error
    table = table.unify_dictionaries()
    ordinals = np.arange(len(table), dtype=np.int64)

    raw = unit.columns.raw_block(
        lambda name: _joined(table[name]),
        unit.first_row + ordinals + 1,
        unit.first_position + ordinals,
    )
    yield SourceBlock(raw, REJECTED_SCHEMA.empty_table())


def _joined(column: pa.ChunkedArray) -> pa.Array:
    joined = column.combine_chunks()
    if isinstance(joined, pa.ChunkedArray):
        joined = pa.concat_arrays(joined.chunks)
    return joined
