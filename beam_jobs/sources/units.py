"""What a raw input consists of: files, and the pieces of them that one worker reads."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

import pyarrow as pa

from tfcausal.errors import InputError
from tfcausal.schema.paths import as_path, find_files
from tfcausal.stats.cleaning import CarriedColumn, RawBlock
from tfcausal.stats.raw_columns import Int64s, TimestampUnit

POSITION_BITS = 40
"""A file's rows have positions [number << 40, (number + 1) << 40)."""


@dataclass(frozen=True)
class ColumnNames:
    """The input's columns by their role; None where it has none.

    Attributes:
        user: Column of user ids.
        item: Column of item ids.
        rating: Column of ratings.
        timestamp: Column of times.
        timestamp_unit: What the times count.
        carried: Labels and declared columns, to be carried along.
    """

    user: str
    item: str
    rating: str | None = None
    timestamp: str | None = None
    timestamp_unit: TimestampUnit = "s"
    carried: tuple[CarriedColumn, ...] = ()

    @property
    def wanted(self) -> list[str]:
        """Every column to read, once."""
        roles = (self.user, self.item, self.rating, self.timestamp)
        given = [name for name in roles if name is not None]
        return list(dict.fromkeys([*given, *(column.name for column in self.carried)]))

    def raw_block(
        self, column: Callable[[str], pa.Array], rows: Int64s, positions: Int64s
    ) -> RawBlock:
        """Builds a block of raw rows.

        Args:
            column: Gives a column by its name.
            rows: [n] numbers of the rows in their file.
            positions: [n] their places in the order of the whole input.
        """
        return RawBlock(
            column(self.user),
            column(self.item),
            None if self.rating is None else column(self.rating),
            None if self.timestamp is None else column(self.timestamp),
            rows,
            positions,
            self.timestamp_unit,
            tuple((carried, column(carried.name)) for carried in self.carried),
        )


@dataclass(frozen=True)
class TextForm:
    """How a file of delimited text is written.

    Attributes:
        delimiter: One character.
        quoted: Whether a field may stand in double quotes.
        names: Column names where the file has no header; empty where it has one.
        between: Which of these stand for no field and must be empty, where it takes
            several delimiters to part fields.
        hidden: Characters of ASCII that the parser must not see as they are.
    """

    delimiter: str = ","
    quoted: bool = True
    names: tuple[str, ...] = ()
    between: tuple[str, ...] = ()
    hidden: str = ""


@dataclass(frozen=True)
class InputFile:
    """One file of the input.

    Attributes:
        path: Where it lies.
        name: Its path relative to the folder of all, for reports.
        number: Its place in the order of names, from 0.
    """

    path: str
    name: str
    number: int


@dataclass(frozen=True)
class SourceUnit:
    """A piece of the input that one worker reads.

    Attributes:
        file: The file.
        kind: Which reader reads it, one of `forms.READERS`.
        columns: The columns to read.
        text: How the text is written, where it is text.
        row_groups: Which row groups of a Parquet file, one after the other.
        first_row: Rows of the file before this piece.
        begin: Bytes of the file before this piece, where it is a range of bytes.
        end: Where the range of bytes ends; None for a piece that is none.
    """

    file: InputFile
    kind: str
    columns: ColumnNames
    text: TextForm = TextForm()
    row_groups: tuple[int, ...] = ()
    first_row: int = 0
    begin: int = 0
    end: int | None = None

    @property
    def first_position(self) -> int:
        """Position of the piece's first row in the order of the whole input."""
        # No interaction takes less than a byte: the positions of ranges lie apart.
        return (self.file.number << POSITION_BITS) + self.begin + self.first_row


class SourceBlock(NamedTuple):
    """Some rows of a piece, and the rows that have the wrong form altogether.

    Attributes:
        raw: The rows whose fields could be told apart.
        rejected: The others, of REJECTED_SCHEMA.
        blank: Lines that name a user and no item.
    """

    raw: RawBlock
    rejected: pa.Table
    blank: int = 0


SourceBlocks = Iterator[SourceBlock]


def list_files(pattern: str, names: Sequence[str] = ()) -> list[InputFile]:
    """Lists the files of an input, in the order of their names.

    Args:
        pattern: A file, a folder or a glob.
        names: In a folder, only files that fit one of these patterns, such as "*.csv";
            empty for all. Names that begin with "." or "_" are left out.
    Returns:
        At least one file.
    Raises:
        InputError: If there is none.
    """
    path = as_path(pattern)
    if path.is_dir():
        found = [
            entry
            for entry in path.iterdir()
            if entry.is_file()
            and not entry.name.startswith((".", "_"))
            and (not names or any(fnmatchcase(entry.name, name) for name in names))
        ]
        wanted = f" named {' or '.join(names)}" if names else ""
    else:
        found = find_files(pattern)
        wanted = ""
    if not found:
        raise InputError(
            f"`--input` must name a file, a folder or a glob with files{wanted}; found "
            f"none at `{pattern}`. Check the path."
        )
    root = os.path.commonpath([str(entry.parent) for entry in found])
    relative = {os.path.relpath(entry, root): str(entry) for entry in found}
    ordered = sorted(relative, key=os.fsencode)
    return [
        InputFile(relative[name], name, place) for place, name in enumerate(ordered)
    ]
