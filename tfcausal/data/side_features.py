"""What is known of users and items beside their ids: ingest's tables as arrays."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from keyword import kwlist
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from tfcausal.errors import InputError, unknown_name
from tfcausal.schema.dataset import DatasetFolder
from tfcausal.schema.vectors import Float32s
from tfcausal.stats.negatives import Int32s, Int64s

FARTHEST = 10.0
"""Standard deviations from the mean at which a number is cut, as in a long tail."""


@dataclass(frozen=True)
class CategoryColumn:
    """A column of texts, whole numbers or truth values, or of lists of them.

    Attributes:
        name: Its name in the table.
        is_list: Whether a row has several values.
        values: The values as texts, by their bytes; value v has the code v + 1. Empty
            where they are hashed.
        hash_buckets: Number of buckets that values are hashed into; 0 for none.
    """

    name: str
    is_list: bool
    values: tuple[str, ...]
    hash_buckets: int

    @property
    def num_codes(self) -> int:
        """Number of codes; code 0 is a value that is missing or unknown."""
        return 1 + (self.hash_buckets or len(self.values))


@dataclass(frozen=True)
class NumberColumn:
    """A column of real numbers.

    Attributes:
        name: Its name in the table.
        mean: Mean of the finite values.
        deviation: Their standard deviation; 1 where all are alike.
    """

    name: str
    mean: float
    deviation: float

    def standardised(self, values: Float32s) -> Float32s:
        """Returns (value - mean) / deviation within +-FARTHEST; 0 for NaN."""
        scaled = (values.astype(np.float64) - self.mean) / self.deviation
        cut = np.clip(scaled, -FARTHEST, FARTHEST).astype(np.float32)
        return np.nan_to_num(cut, nan=0.0)


@dataclass(frozen=True)
class SideFeatures:
    """The features of all users, or of all items; row 0 is the unknown one.

    Row r has for category column c the codes[offsets[cell]:offsets[cell + 1]], where
    cell = r * number of category columns + c: at least one, code 0 where none is known.

    Attributes:
        categories: The columns of categories.
        numbers: The columns of numbers.
        offsets: [num_rows * num_categories + 1] int64.
        codes: [n] int32, each below its column's `num_codes`.
        values: [num_rows, num_numbers] float32, standardised.
    """

    categories: tuple[CategoryColumn, ...]
    numbers: tuple[NumberColumn, ...]
    offsets: Int64s
    codes: Int32s
    values: Float32s

    @property
    def num_rows(self) -> int:
        """Number of rows, the unknown one included."""
        return len(self.values)


@dataclass(frozen=True)
class FeatureTables:
    """The feature tables of a data set; they are read only when asked for.

    Attributes:
        folder: The data set's paths.
    """

    folder: DatasetFolder

    def read_users(
        self, columns: Sequence[str] | None, hash_buckets: int
    ) -> SideFeatures | None:
        """Reads the features of users; see `read_features`."""
        table, vocabulary = self.folder.user_features, self.folder.users
        return read_features(table, vocabulary, columns, hash_buckets)

    def read_items(
        self, columns: Sequence[str] | None, hash_buckets: int
    ) -> SideFeatures | None:
        """Reads the features of items; see `read_features`."""
        table, vocabulary = self.folder.item_features, self.folder.items
        return read_features(table, vocabulary, columns, hash_buckets)


def read_features(
    path: Path, vocabulary: Path, columns: Sequence[str] | None, hash_buckets: int
) -> SideFeatures | None:
    """Reads a table of features into arrays.

    Texts, whole numbers and truth values are categories, sorted; a column with more
    than `hash_buckets` different ones is hashed into as many by
    `tf.strings.to_hash_bucket_fast`. Real numbers are standardised.

    Args:
        path: The table, as ingest writes it: a column of ids, then the features.
        vocabulary: The vocabulary whose rows it must have.
        columns: The columns to read; None for all.
        hash_buckets: Values of a column beyond which they are hashed.
    Returns:
        The features; None if there is no table and none was asked for, or no column.
    Raises:
        InputError: If the table, a column or a row is missing, or a column is of
            another type or has a name that no served model can ask for.
    """
    if not path.is_file():
        if columns:
            raise InputError(
                f"`{path}` must be there for the columns {', '.join(columns)}; it is "
                f"not. Ingest with --{path.stem}."
            )
        return None
    table = pq.read_table(path)
    table = table.drop_columns(table.column_names[:1])
    for name in columns or ():
        if name not in table.column_names:
            raise unknown_name("column", name, table.column_names)
    table = table if columns is None else table.select(list(columns))
    expected = pq.read_metadata(vocabulary).num_rows
    if len(table) != expected and table.num_columns:
        raise InputError(
            f"`{path}` must have a row for each of {expected}; got {len(table)}. "
            "Ingest again."
        )
    if not table.num_columns:
        return None
    for name in table.column_names:
        _check_name(path, name)
    categories: list[CategoryColumn] = []
    numbers: list[NumberColumn] = []
    entries: list[_Entries] = []
    values: list[Float32s] = []
    for name in table.column_names:
        column = _plain(table[name])
        if _is_number(column.type):
            number = column.cast(pa.float32()).to_numpy(zero_copy_only=False)
            numbers.append(_number_column(name, number))
            values.append(numbers[-1].standardised(number))
        else:
            described, found = _categories(path, name, column, hash_buckets)
            categories.append(described)
            entries.append(found)
    offsets, codes = _cells(entries, len(table))
    return SideFeatures(
        tuple(categories),
        tuple(numbers),
        offsets,
        codes,
        np.stack(values, axis=1) if values else np.zeros((len(table), 0), np.float32),
    )


def read_texts(
    path: Path, features: SideFeatures, rows: Int32s
) -> dict[str, list[Any]]:
    """Reads features of some rows as a request to a served model has them.

    Args:
        path: The table that the features were read from.
        features: Which columns there are.
        rows: [n] int32 rows.
    Returns:
        For each column n values: a text, "" where it is missing; of a list, texts with
        "" behind, as many for all; a number, NaN where it is missing.
    """
    table = pq.read_table(path).take(pa.array(rows))
    texts: dict[str, list[Any]] = {}
    for category in features.categories:
        column = _plain(table[category.name])
        if not category.is_list:
            texts[category.name] = column.cast(pa.string()).fill_null("").to_pylist()
            continue
        lengths = pc.list_value_length(column).fill_null(0).to_pylist()
        values = iter(pc.list_flatten(column).cast(pa.string()).fill_null(""))
        lists = [[one.as_py() for one in islice(values, n)] for n in lengths]
        width = max(1, *lengths)
        texts[category.name] = [one + [""] * (width - len(one)) for one in lists]
    for number in features.numbers:
        column = _plain(table[number.name]).cast(pa.float32())
        texts[number.name] = column.to_numpy(zero_copy_only=False).tolist()
    return texts


_WISHES = ("k", "do", "exclude_item_id", "allow_item_id", "exclude_seen")
_TAKEN = (*kwlist, "self", *_WISHES)
"""Words of Python, and what requests have anyway."""
_Entries = tuple[npt.NDArray[np.int64], Int32s]
"""The row and the code of each value of a column, rows in order."""


def _check_name(path: Path, name: str) -> None:
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) or name in _TAKEN:
        raise InputError(
            f"`{path}`: a column must be named by letters, digits and `_`, a letter "
            f"first, as an input of the served model will be; got `{name}`. Rename it "
            "and ingest again, or leave it out with user_columns or item_columns."
        )


def _plain(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks)
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _number_column(name: str, values: Float32s) -> NumberColumn:
    finite = values[np.isfinite(values)].astype(np.float64)
    if not len(finite):
        return NumberColumn(name, 0.0, 1.0)
    return NumberColumn(name, float(finite.mean()), float(finite.std()) or 1.0)


def _categories(
    path: Path, name: str, column: pa.Array, hash_buckets: int
) -> tuple[CategoryColumn, _Entries]:
    is_list = any(
        check(column.type)
        for check in (
            pa.types.is_list,
            pa.types.is_large_list,
            pa.types.is_fixed_size_list,
        )
    )
    num_rows = len(column)
    rows = np.arange(num_rows)
    if is_list:
        rows = pc.list_parent_indices(column).to_numpy().astype(np.int64)
        column = pc.list_flatten(column)
        if _is_number(column.type):
            raise InputError(
                f"`{path}`: the column `{name}` must be lists of texts or of whole "
                f"numbers; got {column.type}. Leave it out with user_columns or "
                "item_columns."
            )
    # An empty text is as good as none.
    texts = column.cast(pa.string()).fill_null("").dictionary_encode()
    distinct = texts.dictionary
    known = pc.filter(distinct, pc.not_equal(distinct, ""))
    if len(known) > hash_buckets:
        described = CategoryColumn(name, is_list, (), hash_buckets)
        hashed = tf.strings.to_hash_bucket_fast(distinct.to_pylist(), hash_buckets)
        of_distinct = hashed.numpy() + 1
        of_distinct[pc.equal(distinct, "").to_numpy(zero_copy_only=False)] = 0
    else:
        values = known.take(pc.sort_indices(known))
        described = CategoryColumn(name, is_list, tuple(values.to_pylist()), 0)
        found = pc.index_in(distinct, value_set=values).fill_null(-1)
        of_distinct = found.to_numpy() + 1
    codes = of_distinct[texts.indices.to_numpy()].astype(np.int32)
    rows, codes = rows[codes > 0], codes[codes > 0]
    none = np.flatnonzero(np.bincount(rows, minlength=num_rows) == 0)
    rows = np.concatenate([rows, none])
    order = np.argsort(rows, kind="stable")
    codes = np.concatenate([codes, np.zeros(len(none), np.int32)])
    return described, (rows[order], codes[order])


def _cells(entries: Sequence[_Entries], num_rows: int) -> tuple[Int64s, Int32s]:
    """Returns the offsets and the codes of all columns, row after row."""
    width = len(entries)
    if not width:
        return np.zeros(1, np.int64), np.zeros(0, np.int32)
    cells = np.concatenate(
        [rows * width + column for column, (rows, _) in enumerate(entries)]
    )
    codes = np.concatenate([codes for _, codes in entries])
    counts = np.bincount(cells, minlength=num_rows * width)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return offsets, codes[np.argsort(cells, kind="stable")]
