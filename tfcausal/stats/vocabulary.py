"""Counts of ids, mergeable in any grouping, and the vocabularies made of them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tfcausal.schema.columns import COUNT, UNKNOWN_INDEX, vocabulary_schema

_ID = "id"
_FEW = 8
"""So many times as many values as rows, and looking through all of them is dearer."""

_COUNTS_SCHEMA = pa.schema([pa.field(_ID, pa.string()), pa.field(COUNT, pa.int64())])


def sorted_dictionary(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """Returns a column of texts as one dictionary array, its values ascending.

    Values compare by their UTF-8 bytes, so codes compare as the texts do. The result
    depends only on the texts, not on how they were cut into chunks.

    Args:
        column: Dictionary arrays of strings without nulls.
    """
    joined = one_dictionary(column)
    ascending = pc.sort_indices(joined.dictionary).to_numpy()
    rank = np.empty(len(ascending), np.int32)
    rank[ascending] = np.arange(len(ascending))
    return pa.DictionaryArray.from_arrays(
        pa.array(rank[joined.indices.to_numpy()]),
        joined.dictionary.take(pa.array(ascending)),
    )


def one_dictionary(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """Joins the chunks of a column of texts, which may have dictionaries of their own.

    Args:
        column: Dictionary arrays of strings without nulls.
    """
    if not column.num_chunks:
        return pa.DictionaryArray.from_arrays(
            pa.array([], pa.int32()), pa.array([], pa.string())
        )
    return pa.concat_arrays(column.unify_dictionaries().chunks)


def without_unused(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """Drops the values that no row has, as after a selection of rows."""
    codes = column.indices.to_numpy()
    if len(codes) < len(column.dictionary) // _FEW:
        used, new_codes = np.unique(codes, return_inverse=True)
        return pa.DictionaryArray.from_arrays(
            pa.array(new_codes, pa.int32()), column.dictionary.take(pa.array(used))
        )
    is_used = np.zeros(len(column.dictionary), bool)
    is_used[codes] = True
    new_codes = (np.cumsum(is_used) - 1).astype(np.int32)
    return pa.DictionaryArray.from_arrays(
        pa.array(new_codes[codes]), column.dictionary.filter(pa.array(is_used))
    )


def count_ids(ids: pa.DictionaryArray) -> pa.Table:
    """Counts each id that occurs.

    Args:
        ids: Dictionary array of strings without nulls.
    Returns:
        Columns `id` and `count`, one row for each id.
    """
    counts = np.bincount(ids.indices.to_numpy(), minlength=len(ids.dictionary))
    met = np.flatnonzero(counts)
    return pa.table(
        [ids.dictionary.take(pa.array(met)), pa.array(counts[met], pa.int64())],
        schema=_COUNTS_SCHEMA,
    )


def merge_counts(tables: Sequence[pa.Table]) -> pa.Table:
    """Adds counts up.

    Args:
        tables: Any number of tables from `count_ids` or from this function.
    Returns:
        Columns `id` and `count`, one row for each id, in no defined order.
    """
    joined = pa.concat_tables([_COUNTS_SCHEMA.empty_table(), *tables])
    summed = joined.group_by(_ID).aggregate([(COUNT, "sum")])
    return pa.table([summed[_ID], summed[f"{COUNT}_sum"]], schema=_COUNTS_SCHEMA)


def frequent(counts: pa.Table, minimum: int) -> pa.Table:
    """Returns the rows whose count is at least `minimum`."""
    return counts.filter(pc.greater_equal(counts[COUNT], minimum))


def order_vocabulary(counts: pa.Table, id_column: str) -> pa.Table:
    """Gives each id its index: the most frequent first.

    Args:
        counts: From `merge_counts`.
        id_column: Name of the id column to be.
    Returns:
        A table of `vocabulary_schema`: row 0 the unknown id "" with count 0, the others
        by falling count, ties by ascending UTF-8 bytes.
    """
    order = pc.sort_indices(
        counts, sort_keys=[(COUNT, "descending"), (_ID, "ascending")]
    )
    ordered = counts.take(order).combine_chunks()
    schema = vocabulary_schema(id_column)
    unknown = pa.table([pa.array([""]), pa.array([0], pa.int64())], schema=schema)
    known = pa.table([ordered[_ID], ordered[COUNT]], schema=schema)
    return pa.concat_tables([unknown, known]).combine_chunks()


def indices_in(ids: pa.DictionaryArray, vocabulary: pa.Array) -> npt.NDArray[np.int32]:
    """Looks ids up.

    Args:
        ids: [n] dictionary array of strings.
        vocabulary: String array; its row order is the index.
    Returns:
        [n] int32 rows of the vocabulary; UNKNOWN_INDEX where it has no such id.
    """
    found = pc.index_in(ids.dictionary, value_set=vocabulary)
    of_value = found.fill_null(UNKNOWN_INDEX).to_numpy().astype(np.int32)
    result: npt.NDArray[np.int32] = of_value[ids.indices.to_numpy()]
    return result


def is_among(ids: pa.DictionaryArray, counts: pa.Table) -> npt.NDArray[np.bool_]:
    """Returns [n] whether each id has a row in `counts`."""
    found = pc.is_in(ids.dictionary, value_set=counts[_ID].combine_chunks())
    of_value = found.to_numpy(zero_copy_only=False)
    result: npt.NDArray[np.bool_] = of_value[ids.indices.to_numpy()]
    return result
