"""The forms of raw input: which files, which columns, which pieces of work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from beam_jobs.sources import (
    json_lines,
    lines,
    matrix,
    netflix,
    parquet,
    published,
    text,
    tfrecord,
)
from beam_jobs.sources.asked import (
    ANY_TABLE,
    AskedColumns,
    UsualColumns,
    refuse_names,
    resolve,
)
from beam_jobs.sources.published import PublishedTable, table_named
from beam_jobs.sources.ranges import cut
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
from tfcausal.schema.paths import as_path, num_bytes
from tfcausal.stats.cleaning import require_types

READERS: Mapping[str, Callable[[SourceUnit], SourceBlocks]] = {
    "text": text.read_text,
    "lines": lines.read_lines,
    "netflix": netflix.read_netflix,
    "matrix": matrix.read_matrix,
    "json": json_lines.read_json,
    "parquet": parquet.read_row_groups,
    "tfrecord": tfrecord.read_tfrecord,
}

_CSV = ("*.csv", "*.csv.gz")
_DELIMITED = (*_CSV, "*.tsv", "*.tsv.gz")
_JSON = ("*.json", "*.jsonl", "*.json.gz", "*.jsonl.gz")


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
    if form in _WITHOUT_NAMES:
        refuse_names(asked, form)
    if asked.names is not None and form != "csv":
        raise InputError(
            f"`--column_names` must go with --format=csv; got --format={form}, whose "
            "files name their columns. Leave it out."
        )
    units = _OPENERS[form](pattern, asked)
    if not units:
        raise InputError(
            f"`--input` must have at least one row; all files of `{pattern}` are "
            "empty. Check the path."
        )
    _require_equal(units)
    files = tuple({unit.file.number: unit.file for unit in units}.values())
    size = sum(num_bytes(file.path) for file in files)
    pieces = tuple(piece for unit in units for piece in cut(unit))
    return RawInput(files, pieces, units[0].columns, size)


def read_unit(unit: SourceUnit) -> SourceBlocks:
    """Reads a piece of the input in blocks.

    Raises:
        InputError: If the file is damaged.
    """
    return READERS[unit.kind](unit)


def _csv_units(pattern: str, asked: AskedColumns) -> list[SourceUnit]:
    units = []
    for file in list_files(pattern, _DELIMITED):
        tabs = file.name.removesuffix(".gz").endswith(".tsv")
        form = TextForm("\t" if tabs else ",", names=asked.names or ())
        units += _table_units(file, PublishedTable(form, ANY_TABLE), asked)
    return units


def _table_units(
    file: InputFile, table: PublishedTable, asked: AskedColumns
) -> list[SourceUnit]:
    """Returns a file of delimited text as a piece of work; an empty one is none."""
    found = text.header(file.path, table.text)
    if not found:
        return []
    names = resolve(asked, table.usual, found, file)
    return [SourceUnit(file, "text", names, table.text)]


def _published(
    table: PublishedTable, names: Sequence[str]
) -> Callable[[str, AskedColumns], list[SourceUnit]]:
    def units(pattern: str, asked: AskedColumns) -> list[SourceUnit]:
        files = list_files(pattern, names)
        return [unit for file in files for unit in _table_units(file, table, asked)]

    return units


def _json_units(
    pattern: str, asked: AskedColumns, usual: UsualColumns = ANY_TABLE
) -> list[SourceUnit]:
    files = list_files(pattern, _JSON)
    return [unit for file in files for unit in _json_file(file, asked, usual)]


def _json_file(
    file: InputFile, asked: AskedColumns, usual: UsualColumns
) -> list[SourceUnit]:
    first = json_lines.first_object(file)
    if first is None:
        return []
    names = resolve(asked, usual, list(first), file)
    return [SourceUnit(file, "json", names)]


def _yelp_units(pattern: str, asked: AskedColumns) -> list[SourceUnit]:
    path = as_path(pattern)
    if path.is_dir():
        # Its other files hold businesses and users.
        pattern = str(path / "*review.json")
    return _json_units(pattern, asked, published.YELP_REVIEWS)


def _amazon_units(pattern: str, asked: AskedColumns) -> list[SourceUnit]:
    units = []
    for file in list_files(pattern, (*_CSV, *_JSON)):
        name = as_path(file.path).name
        table = table_named(name, published.AMAZON)
        if table is not None:
            units += _table_units(file, table, asked)
            continue
        first = json_lines.first_object(file) or {}
        old = published.AMAZON_2014_REVIEWS
        usual = old if old.user in first else published.AMAZON_2023_REVIEWS
        units += _json_file(file, asked, usual)
    return units


def _parquet_units(pattern: str, asked: AskedColumns) -> list[SourceUnit]:
    units = []
    for file in list_files(pattern, ("*.parquet",)):
        head = parquet.head(file.path)
        names = resolve(asked, ANY_TABLE, head.schema.names, file)
        roles = {
            "user": names.user,
            "item": names.item,
            columns.RATING: names.rating,
            columns.TIMESTAMP: names.timestamp,
        }
        require_types(head.schema, roles, file.path, names.carried)
        unit = SourceUnit(file, "parquet", names)
        units += [
            replace(unit, row_groups=groups, first_row=first_row)
            for groups, first_row in head.pieces()
        ]
    return units


def _tfrecord_units(pattern: str, asked: AskedColumns) -> list[SourceUnit]:
    units = []
    for file in list_files(pattern):
        found = tfrecord.feature_names(file)
        if found:
            names = resolve(asked, ANY_TABLE, found, file)
            units.append(SourceUnit(file, "tfrecord", names))
    return units


def _lines_units(pattern: str, _: AskedColumns) -> list[SourceUnit]:
    names = ColumnNames("user", "item")
    return [SourceUnit(file, "lines", names) for file in list_files(pattern)]


def _netflix_units(pattern: str, _: AskedColumns) -> list[SourceUnit]:
    files = list_files(pattern, netflix.FILE_NAMES)
    return [SourceUnit(file, "netflix", netflix.COLUMNS) for file in files]


def _coat_units(pattern: str, _: AskedColumns) -> list[SourceUnit]:
    files = list_files(pattern, matrix.FILE_NAMES)
    return [SourceUnit(file, "matrix", matrix.COLUMNS) for file in files]


def _movielens_units(pattern: str, asked: AskedColumns) -> list[SourceUnit]:
    path, known = as_path(pattern), published.MOVIELENS
    if path.is_dir():
        found = [name for name in known if (path / name).is_file()]
        if len(found) != 1:
            raise InputError(
                f"`{pattern}` must hold one of {', '.join(known)}; got "
                f"{', '.join(found) or 'none'}. Name the file itself."
            )
        path = path / found[0]
    table = table_named(path.name, known)
    if table is None:
        raise InputError(
            f"A MovieLens file must be named one of {', '.join(known)}; got "
            f"`{path.name}`. Use --format=csv for another form."
        )
    (file,) = list_files(str(path))
    return _table_units(file, table, asked)


_OPENERS: Mapping[str, Callable[[str, AskedColumns], list[SourceUnit]]] = {
    "csv": _csv_units,
    "parquet": _parquet_units,
    "json": _json_units,
    "tfrecord": _tfrecord_units,
    "lines": _lines_units,
    "movielens": _movielens_units,
    "netflix": _netflix_units,
    "amazon": _amazon_units,
    "yelp": _yelp_units,
    "checkins": _published(published.CHECKINS, ("*heckins.txt", "*heckins.txt.gz")),
    "coat": _coat_units,
    "kuairec": _published(published.KUAIREC, ("big_matrix.csv",)),
    "kuairand": _published(published.KUAIRAND, ("log_*.csv",)),
    "wechat": _published(published.WECHAT, ("user_action.csv",)),
}

FORMATS = tuple(_OPENERS)

_WITHOUT_NAMES = ("lines", "movielens", "netflix", "coat")


def _require_equal(units: Sequence[SourceUnit]) -> None:
    for unit in units:
        if unit.columns != units[0].columns:
            raise InputError(
                f"All files must have the same columns; `{units[0].file.name}` gives "
                f"{units[0].columns}, `{unit.file.name}` {unit.columns}. Ingest them "
                "apart, or name columns that all have."
            )
