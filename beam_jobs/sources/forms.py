"""The forms of raw input: which files, which columns, which pieces of work."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from beam_jobs.sources import parquet, text
from beam_jobs.sources.units import (
    ColumnNames,
    InputFile,
    SourceBlocks,
    SourceUnit,
    TextForm,
    list_files,
)
from tfcausal.errors import InputError, unknown_name
from tfcausal.schema import columns
from tfcausal.stats.cleaning import require_types

FORMATS = ("csv", "parquet", "movielens", "lines")

_TEXT_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")

_MOVIELENS_COLUMNS = ("user", "item", "rating", "timestamp")
_MOVIELENS: dict[str, tuple[TextForm, ColumnNames]] = {
    "u.data": (
        TextForm("\t", quoted=False, names=_MOVIELENS_COLUMNS),
        ColumnNames(*_MOVIELENS_COLUMNS),
    ),
    # `::` between fields reads as an empty field between single colons.
    "ratings.dat": (
        TextForm(
            ":",
            quoted=False,
            names=("user", "1", "item", "2", "rating", "3", "timestamp"),
        ),
        ColumnNames(*_MOVIELENS_COLUMNS),
    ),
    "ratings.csv": (
        TextForm(),
        ColumnNames("userId", "movieId", "rating", "timestamp"),
    ),
}


@dataclass(frozen=True)
class AskedColumns:
    """The columns that the user named; None for the usual name."""

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None


@dataclass(frozen=True)
class RawInput:
    """An input whose files have been looked at.

    Attributes:
        files: Its files, in order.
        units: The pieces of work.
        columns: Its columns.
        num_bytes: Size of all files.
    """

    files: tuple[InputFile, ...]
    units: tuple[SourceUnit, ...]
    columns: ColumnNames
    num_bytes: int


def open_input(pattern: str, form: str, asked: AskedColumns) -> RawInput:
    """Looks at the files of an input and decides how to read them.

    Args:
        pattern: A file, a folder or a glob.
        form: One of FORMATS.
        asked: The columns that the user named.
    Returns:
        The input.
    Raises:
        InputError: If there is no file, or one misses a column or is of another form.
    """
    if form not in FORMATS:
        raise unknown_name("format", form, FORMATS)
    if form in ("movielens", "lines") and asked != AskedColumns():
        raise InputError(
            f"Columns must not be named for --format={form}, which has its own; got "
            f"{asked}. Leave them out, or use --format=csv."
        )
    if form == "csv":
        units = _csv_units(list_files(pattern, _TEXT_SUFFIXES), asked)
    elif form == "parquet":
        units = _parquet_units(list_files(pattern, (".parquet",)), asked)
    elif form == "lines":
        names = ColumnNames("user", "item")
        units = [SourceUnit(file, "lines", names) for file in list_files(pattern)]
    else:
        units = [_movielens_unit(pattern)]
    files = tuple({unit.file.number: unit.file for unit in units}.values())
    size = sum(os.path.getsize(file.path) for file in files)
    return RawInput(files, tuple(units), units[0].columns, size)


def read_unit(unit: SourceUnit) -> SourceBlocks:
    """Reads a piece of the input in blocks.

    Raises:
        InputError: If the file is damaged.
    """
    readers = {
        "text": text.read_text,
        "lines": text.read_lines,
        "parquet": parquet.read_row_group,
    }
    return readers[unit.kind](unit)


def _csv_units(files: Sequence[InputFile], asked: AskedColumns) -> list[SourceUnit]:
    units = []
    for file in files:
        tabs = file.name.removesuffix(".gz").endswith(".tsv")
        form = TextForm("\t" if tabs else ",")
        found = text.header(file.path, form)
        # An empty file has no header, and no row that would need one.
        if found:
            names = _resolve(asked, found, file)
            units.append(SourceUnit(file, "text", names, form))
    if not units:
        raise InputError(
            f"`--input` must have at least one row; all {len(files)} files are empty. "
            "Check the path."
        )
    _require_equal(units)
    return units


def _parquet_units(files: Sequence[InputFile], asked: AskedColumns) -> list[SourceUnit]:
    units = []
    for file in files:
        head = parquet.head(file.path)
        names = _resolve(asked, head.schema.names, file)
        roles = {
            "user": names.user,
            "item": names.item,
            columns.RATING: names.rating,
            columns.TIMESTAMP: names.timestamp,
        }
        require_types(head.schema, roles, file.path)
        first_row = 0
        # A file without rows has no row group; it still says that it was looked at.
        for group, rows in enumerate(head.group_rows):
            unit = SourceUnit(file, "parquet", names)
            units.append(replace(unit, row_group=group, first_row=first_row))
            first_row += rows
    if not units:
        raise InputError(
            f"`--input` must have at least one row; all {len(files)} files have none. "
            "Check the path."
        )
    _require_equal(units)
    return units


def _movielens_unit(pattern: str) -> SourceUnit:
    path = Path(pattern)
    if path.is_dir():
        found = [name for name in _MOVIELENS if (path / name).is_file()]
        if len(found) != 1:
            raise InputError(
                f"`{pattern}` must hold one of {', '.join(_MOVIELENS)}; got "
                f"{', '.join(found) or 'none'}. Name the file itself."
            )
        path = path / found[0]
    if path.name not in _MOVIELENS:
        raise InputError(
            f"A MovieLens file must be named one of {', '.join(_MOVIELENS)}; got "
            f"`{path.name}`. Use --format=csv for another form."
        )
    form, names = _MOVIELENS[path.name]
    (file,) = list_files(str(path))
    if not form.names:
        asked = AskedColumns(names.user, names.item, names.rating, names.timestamp)
        names = _resolve(asked, text.header(file.path, form), file)
    return SourceUnit(file, "text", names, form)


def _resolve(asked: AskedColumns, found: Sequence[str], file: InputFile) -> ColumnNames:
    def required(name: str) -> str:
        if len(found) == 1 and any(mark in found[0] for mark in ";|\t"):
            raise InputError(
                f"`{file.path}` must have one column `{name}`; its header is one "
                f"field, {found[0]!r}. Fields are parted by commas in a .csv and by "
                "tabs in a .tsv; other marks are not read."
            )
        if found.count(name) != 1:
            raise InputError(
                f"`{file.path}` must have one column `{name}`; got "
                f"{', '.join(found) or 'none at all'}. Name the right ones with "
                "--user_column, --item_column, --rating_column, --timestamp_column."
            )
        return name

    def optional(name: str | None, usual: str) -> str | None:
        if name == "" or (name is None and usual not in found):
            return None
        return required(name or usual)

    return ColumnNames(
        required(asked.user or columns.USER_ID),
        required(asked.item or columns.ITEM_ID),
        optional(asked.rating, columns.RATING),
        optional(asked.timestamp, columns.TIMESTAMP),
    )


def _require_equal(units: Sequence[SourceUnit]) -> None:
    for unit in units:
        if unit.columns != units[0].columns:
            raise InputError(
                f"All files must have the same columns; `{units[0].file.name}` gives "
                f"{units[0].columns}, `{unit.file.name}` {unit.columns}. Ingest them "
                "apart, or name columns that all have."
            )
