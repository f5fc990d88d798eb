"""Tables of features of users or items, lined up with a vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfcausal.stats.raw_columns import is_text

# A zero in front makes a text of a number: zip codes, ids.
_INTEGER = r"^-?(0|[1-9]\d{0,17})$"
_REAL = r"^-?(0|[1-9]\d{0,39})(\.\d{0,40})?([eE][+-]?\d{1,2})?$"


@dataclass(frozen=True)
class AlignedFeatures:
    """Features in the order of a vocabulary.

    Attributes:
        table: A row for each row of the vocabulary; null where nothing is known.
        unknown: Rows whose id the vocabulary does not have.
        repeated: Rows whose id a row before has.
        missing: Ids of the vocabulary without a row, the unknown one aside.
    """

    table: pa.Table
    unknown: int
    repeated: int
    missing: int


def typed(table: pa.Table, lists: Sequence[str], separator: str) -> pa.Table:
    """Gives columns of text the types that all their values have.

    A column becomes int64 if each of its values is a whole number without zeros in
    front, else float32 if each is a number, else it stays text. An empty text is null.
    Columns of several values become lists, typed so by their elements; empty elements
    are left out, and an empty text is a list without elements.

    Args:
        table: Any columns; those that are no text stay as they are.
        lists: The columns of several values.
        separator: What stands between values.
    """
    columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if is_text(column.type):
            text = column.cast(pa.string())
            column = _split(text, separator) if name in lists else _typed(text)
        columns[name] = column
    return pa.table(columns)


def _typed(text: pa.Array) -> pa.Array:
    values = pc.if_else(pc.equal(text, ""), None, text)
    for pattern, number_type in ((_INTEGER, pa.int64()), (_REAL, pa.float32())):
        # A column without any value stays text.
        fits = pc.match_substring_regex(values, pattern)
        if values.null_count < len(values) and pc.all(fits).as_py():
            return values.cast(number_type)
    return values


def _split(text: pa.Array, separator: str) -> pa.Array:
    pieces = pc.split_pattern(text.fill_null(""), separator)
    elements = pc.utf8_trim_whitespace(pieces.flatten())
    owners = pc.list_parent_indices(pieces).to_numpy()
    chosen = np.flatnonzero(pc.not_equal(elements, "").to_numpy(zero_copy_only=False))
    counts = np.bincount(owners[chosen], minlength=len(text))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    values = _typed(elements.take(pa.array(chosen)))
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def align(table: pa.Table, ids: pa.Array, vocabulary: pa.Array) -> AlignedFeatures:
    """Puts features in the order of a vocabulary.

    Args:
        table: Features, without the column of ids.
        ids: String array, the id of each row.
        vocabulary: String array; its row order is the index, row 0 the unknown id.
    """
    index = pc.index_in(ids, value_set=vocabulary).fill_null(0).to_numpy()
    known = np.flatnonzero(index)
    places, firsts = np.unique(index[known], return_index=True)
    source = np.zeros(len(vocabulary), np.int64)
    source[places] = known[firsts]
    absent = np.ones(len(vocabulary), bool)
    absent[places] = False
    return AlignedFeatures(
        table.take(pa.array(source, mask=absent)),
        unknown=len(ids) - len(known),
        repeated=len(known) - len(places),
        missing=len(vocabulary) - 1 - len(places),
    )
