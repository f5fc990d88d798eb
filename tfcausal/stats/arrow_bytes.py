"""Arrow tables as bytes, the form in which they cross a shuffle.

What a shuffle costs is in proportion to its bytes. Whole numbers cross it in as few as
they need, counted from the least one: indices, times and the codes of dictionaries
need one to four of the four or eight that their columns have for each.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_LEAST = b"least"
_TYPE = b"type"
_WIDE = (b"int32", b"int64")


def table_to_bytes(table: pa.Table) -> bytes:
    """Returns the table as an Arrow IPC stream, its whole numbers narrowed."""
    narrow = _each_column(table, _narrowed)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, narrow.schema) as writer:
        writer.write_table(narrow)
    result: bytes = sink.getvalue().to_pybytes()
    return result


def table_from_bytes(content: bytes) -> pa.Table:
    """Reads what `table_to_bytes` wrote; only what was narrowed is copied."""
    table = pa.ipc.open_stream(pa.py_buffer(content)).read_all()
    return _each_column(table, _widened)


_Column = tuple[pa.Field, pa.ChunkedArray]


def _each_column(
    table: pa.Table, change: Callable[[pa.Field, pa.ChunkedArray], _Column]
) -> pa.Table:
    changed = [
        change(field, column)
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    schema = pa.schema([field for field, _ in changed], table.schema.metadata)
    return pa.table([column for _, column in changed], schema=schema)


def _narrowed(field: pa.Field, column: pa.ChunkedArray) -> _Column:
    is_dictionary = pa.types.is_dictionary(field.type)
    wide = field.type.index_type if is_dictionary else field.type
    if str(wide).encode() not in _WIDE or column.null_count or not len(column):
        return field, column
    if is_dictionary:
        least, largest = 0, max(len(chunk.dictionary) for chunk in column.chunks)
    else:
        least, largest = (bound.as_py() for bound in pc.min_max(column).values())
    kind = np.min_scalar_type(largest - least)
    if kind.itemsize >= wide.bit_width // 8:
        return field, column
    notes = {**(field.metadata or {}), _LEAST: str(least), _TYPE: str(wide)}
    return _with_numbers(
        field.with_metadata(notes),
        column,
        partial(_computed, np.subtract, least, kind),
    )


def _widened(field: pa.Field, column: pa.ChunkedArray) -> _Column:
    notes = dict(field.metadata or {})
    if _LEAST not in notes:
        return field, column
    least, kind = int(notes.pop(_LEAST)), np.dtype(notes.pop(_TYPE).decode())
    return _with_numbers(
        field.with_metadata(notes or None),
        column,
        partial(_computed, np.add, least, kind),
    )


def _computed(
    function: np.ufunc, least: int, kind: np.dtype[Any], numbers: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    result: npt.NDArray[Any] = np.empty(len(numbers), kind)
    function(numbers, least, out=result, dtype=np.int64, casting="unsafe")
    return result


def _with_numbers(
    field: pa.Field,
    column: pa.ChunkedArray,
    change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
) -> _Column:
    """Changes the values of a column, or the codes of a dictionary's."""
    chunks = []
    for chunk in column.chunks:
        is_dictionary = pa.types.is_dictionary(chunk.type)
        numbers = pa.array(
            change((chunk.indices if is_dictionary else chunk).to_numpy())
        )
        if is_dictionary:
            numbers = pa.DictionaryArray.from_arrays(numbers, chunk.dictionary)
        chunks.append(numbers)
    return field.with_type(chunks[0].type), pa.chunked_array(chunks)
