"""Files of features of users or items: CSV, Parquet, JSON lists, ASCII matrices."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.sources import parquet, text
from beam_jobs.sources.lines import line_blocks
from beam_jobs.sources.units import ColumnNames, InputFile, SourceUnit, TextForm
from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.paths import as_path
from tfcausal.stats.feature_tables import typed
from tfcausal.stats.raw_columns import is_text

_LIST_NAME = "features"

# What JSON ends in that is no object of lists; ArrowInvalid is a ValueError.
_NO_LISTS = (ValueError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class FeatureFile:
    """A file of features.

    Attributes:
        file: The file.
        id_column: Name of the ids in a data set, user_id or item_id.
        source_column: Their name in the file.
        lists: Columns of several values.
        separator: What stands between values.
    """

    file: InputFile
    id_column: str
    source_column: str
    lists: tuple[str, ...]
    separator: str

    @property
    def features_of(self) -> str:
        """What the features are of, "user" or "item"."""
        return self.id_column.removesuffix("_id")


def feature_file(
    path: str, id_column: str, own_name: str, lists: Sequence[str], separator: str
) -> FeatureFile:
    """Looks at a file of features.

    Args:
        path: The file; its ending says its form.
        id_column: user_id or item_id.
        own_name: What interactions call these ids.
        lists: Columns of several values; those that the file does not have are of
            another.
        separator: What stands between values.
    Raises:
        InputError: If it is missing, is of another form, has no column of ids or two
            of one name.
    """
    if not as_path(path).is_file():
        raise InputError(
            f"`--{id_column.removesuffix('_id')}_features` must name a file; got "
            f"`{path}`. Check the path."
        )
    file = InputFile(path, as_path(path).name, 0)
    found = _column_names(file)
    several = sorted({name for name in found if found.count(name) > 1})
    for name in dict.fromkeys((id_column, own_name)):
        if several and name in found:
            raise InputError(
                f"`{path}` must have different column names; got several columns "
                f"{', '.join(map(repr, several))}. Rename them."
            )
        if name in found:
            given = tuple(column for column in lists if column in found)
            return FeatureFile(file, id_column, name, given, separator)
    raise InputError(
        f"`{path}` must have one column `{id_column}`; got "
        f"{', '.join(found) or 'none at all'}. Rename its column of ids."
    )


def _column_names(file: InputFile) -> list[str]:
    name = file.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        return list(parquet.head(file.path).schema.names)
    if name.endswith((".json", ".ascii")):
        return [columns.USER_ID, columns.ITEM_ID, _LIST_NAME]
    return text.header(file.path, _text_form(file))


def _text_form(file: InputFile) -> TextForm:
    name = file.name.removesuffix(".gz")
    if name.endswith((".csv", ".tsv")):
        return TextForm("\t" if name.endswith(".tsv") else ",")
    raise InputError(
        f"A file of features must end in .csv, .tsv, .parquet, .json or .ascii; got "
        f"`{file.path}`. Rename or convert it."
    )


def read_features(source: FeatureFile) -> tuple[pa.Array, pa.Table]:
    """Reads a file of features whole.

    Returns:
        String array of ids, and the other columns typed.
    Raises:
        InputError: If a row cannot be read; such files are small enough to be mended.
    """
    file = source.file
    name = file.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        table = parquet.read_whole(file.path)
    elif name.endswith(".json"):
        return _json_lists(file)
    elif name.endswith(".ascii"):
        return _matrix(file)
    else:
        table = _text_table(file, source.source_column)
    ids = table[source.source_column].combine_chunks()
    ids = ids.dictionary_decode() if pa.types.is_dictionary(ids.type) else ids
    if not (pa.types.is_integer(ids.type) or is_text(ids.type)):
        raise InputError(
            f"`{file.path}`: the column `{source.source_column}` must hold text or "
            f"integers; got {ids.type}. Convert it."
        )
    _require_simple(table.schema, file)
    others = table.drop_columns([source.source_column])
    return ids.cast(pa.string()), typed(others, source.lists, source.separator)


def _text_table(file: InputFile, id_column: str) -> pa.Table:
    form = _text_form(file)
    names = text.header(file.path, form)
    unit = SourceUnit(file, "text", ColumnNames(id_column, id_column), form)
    wrong = text.WrongRows()
    batches = list(text.text_batches(unit, form, names, wrong))
    if wrong.numbers:
        raise InputError(
            f"`{file.path}` must have {len(names)} fields in each row; row "
            f"{wrong.numbers[0]} has more or fewer: {wrong.texts[0][:60]!r}. Mend it."
        )
    schema = pa.schema([(name, pa.binary()) for name in names])
    table = pa.Table.from_batches(batches, schema)
    try:
        return table.cast(pa.schema([(name, pa.string()) for name in names]))
    except pa.ArrowInvalid as error:
        raise InputError(
            f"`{file.path}` must be text in UTF-8; it is not. Convert it, for instance "
            "by `iconv -f latin1 -t utf-8`."
        ) from error


def _require_simple(schema: pa.Schema, file: InputFile) -> None:
    for field in schema:
        kind = field.type
        if pa.types.is_list(kind) or pa.types.is_dictionary(kind):
            kind = kind.value_type
        simple = pa.types.is_primitive(kind) or is_text(kind)
        if not simple:
            raise InputError(
                f"`{file.path}`: the column `{field.name}` must hold texts, numbers or "
                f"lists of them; got {field.type}. Convert it, or leave it out."
            )


def _json_lists(file: InputFile) -> tuple[pa.Array, pa.Table]:
    try:
        found = json.loads(as_path(file.path).read_bytes())
        ids = pa.array(list(found), pa.string())
        lists = pa.table({_LIST_NAME: pa.array(list(found.values()))})
    except _NO_LISTS as error:
        raise InputError(
            f"`{file.path}` must hold one JSON object with a list of values for each "
            "id; it does not. Check the file."
        ) from error
    _require_simple(lists.schema, file)
    return ids, lists


def _matrix(file: InputFile) -> tuple[pa.Array, pa.Table]:
    """Reads a matrix of 0 and 1, a row for each id from 0, as lists of its columns."""
    unit = SourceUnit(file, "matrix", ColumnNames("user", "item"))
    words = [pc.ascii_split_whitespace(block.texts) for block in line_blocks(unit)]
    rows = pa.concat_arrays([pa.array([], pa.list_(pa.string())), *words])
    cells = rows.flatten()
    owners = pc.list_parent_indices(rows).to_numpy()
    places = np.arange(len(cells)) - rows.offsets.to_numpy()[owners]
    chosen = pc.not_equal(cells, "0").to_numpy(zero_copy_only=False)
    if not pc.all(pc.is_in(cells, value_set=pa.array(["0", "1"]))).as_py():
        raise InputError(
            f"`{file.path}` must hold 0 and 1 between blanks; it holds other values. "
            "Check the file, or convert it to CSV."
        )
    counts = np.bincount(owners[chosen], minlength=len(rows))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(places[chosen]))
    ids = pa.array(np.arange(len(rows))).cast(pa.string())
    return ids, pa.table({_LIST_NAME: lists})
