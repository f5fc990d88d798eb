"""What a raw input consists of: files, and the pieces of them that one worker reads."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from tfcausal.errors import InputError
from tfcausal.stats.cleaning import RawBlock

POSITION_BITS = 40
"""A file's rows have positions [number << 40, (number + 1) << 40)."""


@dataclass(frozen=True)
class ColumnNames:
    """The input's columns by their role; None where it has none."""

    user: str
    item: str
    rating: str | None = None
    timestamp: str | None = None


@dataclass(frozen=True)
class TextForm:
    """How a file of delimited text is written.

    Attributes:
        delimiter: One character.
        quoted: Whether a field may stand in double quotes.
        names: Column names where the file has no header; empty where it has one.
    """

    delimiter: str = ","
    quoted: bool = True
    names: tuple[str, ...] = ()


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
        kind: "text", "parquet" or "lines".
        columns: The columns to read.
        text: How the text is written, where it is text.
        row_group: Which row group of a Parquet file.
        first_row: Rows of the file before this piece.
    """

    file: InputFile
    kind: str
    columns: ColumnNames
    text: TextForm = TextForm()
    row_group: int = 0
    first_row: int = 0

    @property
    def first_position(self) -> int:
        """Position of the piece's first row in the order of the whole input."""
        return (self.file.number << POSITION_BITS) + self.first_row


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


def list_files(pattern: str, suffixes: Sequence[str] = ()) -> list[InputFile]:
    """Lists the files of an input, in the order of their names.

    Args:
        pattern: A file, a folder or a glob.
        suffixes: In a folder, only files with one of these endings; empty for all.
            Names that begin with "." or "_" are left out.
    Returns:
        At least one file.
    Raises:
        InputError: If there is none.
    """
    path = Path(pattern)
    if path.is_dir():
        found = [
            str(entry)
            for entry in path.iterdir()
            if entry.is_file()
            and not entry.name.startswith((".", "_"))
            and (not suffixes or entry.name.endswith(tuple(suffixes)))
        ]
        wanted = f" ending in {' or '.join(suffixes)}" if suffixes else ""
    else:
        found = [entry for entry in glob.glob(pattern) if Path(entry).is_file()]
        wanted = ""
    if not found:
        raise InputError(
            f"`--input` must name a file, a folder or a glob with files{wanted}; found "
            f"none at `{pattern}`. Check the path."
        )
    absolute = [os.path.abspath(entry) for entry in found]
    root = os.path.commonpath([os.path.dirname(entry) for entry in absolute])
    names = {os.path.relpath(entry, root): entry for entry in absolute}
    ordered = sorted(names, key=os.fsencode)
    return [InputFile(names[name], name, place) for place, name in enumerate(ordered)]
