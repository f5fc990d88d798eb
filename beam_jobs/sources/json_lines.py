"""A JSON object on each line, read by Arrow."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from beam_jobs.sources.lines import line_blocks
from beam_jobs.sources.units import (
    ColumnNames,
    InputFile,
    SourceBlock,
    SourceBlocks,
    SourceUnit,
)
from tfcausal.errors import InputError
from tfcausal.stats.cleaning import BAD_JSON, rejected_table
from tfcausal.stats.raw_columns import Bools

# Arrow's parser is only given what looks like an object: a null instead of one ends the
# process.
_OBJECT = r"^\{(?s:.*)\}$"


def first_object(file: InputFile) -> dict[str, Any] | None:
    """Returns the object on the first line of a file; None for an empty file.

    Raises:
        InputError: If the line holds no JSON object.
    """
    columns = ColumnNames("user", "item")
    for block in line_blocks(SourceUnit(file, "json", columns)):
        (line,) = block.texts.slice(0, 1).view(pa.binary()).to_pylist()
        try:
            # Unlike Arrow's parser, Python's tells the kinds of values apart.
            found = json.loads(line.decode())
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise InputError(
                f"`{file.path}` must have a JSON object on each line; its first line "
                f"is {line[:60]!r}. Check the file and --format."
            )
        return found
    return None


def read_json(unit: SourceUnit) -> SourceBlocks:
    """Reads members of the objects on lines; others may be anything.

    Args:
        unit: A file of kind "json", or a range of it. Values that have another type
            than those of the file's first line make a row that is rejected.
    Yields:
        Its rows in order.
    Raises:
        InputError: If the file ends amid a compressed block or a line is too long.
    """
    done = 0
    first = first_object(unit.file)
    if first is None:
        return
    schema = _schema(unit.columns, first)
    for block in line_blocks(unit):
        fits = pc.match_substring_regex(block.texts, _OBJECT)
        lines = block.texts.view(pa.binary())
        is_object = fits.to_numpy(zero_copy_only=False) & _is_utf8(lines)
        parsed = list(_parse(lines, np.flatnonzero(is_object), schema))
        tables = [schema.empty_table(), *(table for _, table in parsed)]
        table = pa.concat_tables(tables).combine_chunks()
        good = np.concatenate([np.empty(0, np.int64), *(rows for rows, _ in parsed)])
        positions = done + np.arange(len(good), dtype=np.int64)
        done += len(good)
        bad = np.setdiff1d(np.arange(len(lines)), good)
        rejected = rejected_table(
            unit.file.name,
            block.numbers[bad],
            [BAD_JSON] * len(bad),
            [
                text.decode("utf-8", "backslashreplace")
                for text in lines.take(pa.array(bad)).to_pylist()
            ],
        )
        raw = unit.columns.raw_block(
            {name: table[name].combine_chunks() for name in schema.names}.__getitem__,
            block.numbers[good],
            unit.first_position + positions,
        )
        yield SourceBlock(raw, rejected)


def _schema(columns: ColumnNames, first: dict[str, Any]) -> pa.Schema:
    """Returns the types of the members to read, by those of the first object."""
    integers = {columns.user, columns.item}
    integers |= {column.name for column in columns.carried if column.is_integer}

    def type_of(name: str) -> pa.DataType:
        value = first.get(name)
        if isinstance(value, bool) and name not in integers:
            return pa.bool_()
        if isinstance(value, int | float):
            return pa.int64() if name in integers else pa.float64()
        return pa.string()

    return pa.schema([(name, type_of(name)) for name in columns.wanted])


def _is_utf8(lines: pa.Array) -> Bools:
    """Returns [n] whether lines are UTF-8, which Arrow's parser takes for granted."""
    try:
        lines.cast(pa.string())
    except pa.ArrowInvalid:
        return np.asarray([_decodes(line) for line in lines.to_pylist()], bool)
    return np.ones(len(lines), bool)


def _decodes(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _parse(
    lines: pa.Array, rows: npt.NDArray[np.int64], schema: pa.Schema
) -> Iterator[tuple[npt.NDArray[np.int64], pa.Table]]:
    """Parses lines, and halves them until what cannot be parsed stands alone.

    Yields:
        Rows and what they hold, in order.
    """
    if not len(rows):
        return
    chosen = lines if len(rows) == len(lines) else lines.take(pa.array(rows))
    whole = pa.ListArray.from_arrays(pa.array([0, len(chosen)], pa.int32()), chosen)
    content = pc.binary_join(whole, b"\n")[0].as_buffer()
    try:
        table = pa_json.read_json(
            pa.BufferReader(content),
            # One block: cut by size, a line could fall into two.
            read_options=pa_json.ReadOptions(
                use_threads=False, block_size=len(content) + 1
            ),
            parse_options=pa_json.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior="ignore"
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        table = None
    # More rows than lines: several objects on one of them.
    if table is not None and len(table) == len(rows):
        yield rows, table
    elif len(rows) > 1:
        half = len(rows) // 2
        yield from _parse(lines, rows[:half], schema)
        yield from _parse(lines, rows[half:], schema)
