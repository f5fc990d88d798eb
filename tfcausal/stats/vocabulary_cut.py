"""Vocabularies cut to the most frequent ids, the others dropped or hashed together."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tfcausal.schema import columns
from tfcausal.stats.hashing import shards_of
from tfcausal.stats.repeats import Repeats, resolve_repeats
from tfcausal.stats.vocabulary import (
    is_among,
    one_dictionary,
    order_vocabulary,
    sorted_dictionary,
)

# No id of an input begins so: those with a control character are rejected.
_BUCKET = "\tbucket "


def most_frequent(counts: pa.Table, maximum: int) -> pa.Table:
    """Returns the ids that a vocabulary of `maximum` ids keeps.

    Args:
        counts: From `merge_counts`.
        maximum: How many ids to keep; ties go to the smaller bytes.
    Returns:
        A table like `counts`.
    """
    ordered = order_vocabulary(counts, columns.ITEM_ID).slice(1, maximum)
    return ordered.rename_columns(counts.column_names)


def bucket_ids(num_buckets: int) -> pa.Array:
    """Returns the ids under which the ids beyond a cut are known together."""
    names = [f"{_BUCKET}{number}" for number in range(num_buckets)]
    return pa.array(names, pa.string())


def with_buckets(vocabulary: pa.Table, num_buckets: int) -> pa.Table:
    """Puts the buckets behind all other ids, in their order, also those without rows.

    Args:
        vocabulary: From `order_vocabulary`, some buckets among its ids.
        num_buckets: How many buckets there are.
    Returns:
        The vocabulary; bucket b is its row len - num_buckets + b.
    """
    id_column = vocabulary.column_names[0]
    is_bucket = pc.starts_with(vocabulary[id_column], _BUCKET)
    ids = bucket_ids(num_buckets)
    places = pc.index_in(ids, value_set=vocabulary[id_column].combine_chunks())
    counts = vocabulary[columns.COUNT].take(places).fill_null(0)
    buckets = pa.table([ids, counts], schema=vocabulary.schema)
    return pa.concat_tables(
        [vocabulary.filter(pc.invert(is_bucket)), buckets]
    ).combine_chunks()


def cut_rows(
    rows: pa.Table,
    users: pa.Table | None,
    items: pa.Table | None,
    num_buckets: int,
    repeats: Repeats,
) -> tuple[pa.Table, dict[str, int]]:
    """Replaces the ids beyond the cut by those of their buckets.

    A bucket is a user or an item like any other from here on, so repeats are settled
    once more. A bucket of users is a subset of a shard if `num_buckets` is a multiple
    of the number of shards.

    Args:
        rows: From `join_blocks` or `drop_rare`.
        users: Counts of the users to keep; None for all.
        items: Counts of the items to keep; None for all.
        num_buckets: Into how many buckets the others are hashed; with 0 their rows are
            dropped.
        repeats: Which row of a (user, item) pair stays.
    Returns:
        The rows, in the order of `join_blocks`, and how many changed, by reason.
    """
    counts = {}
    for name, kept in ((columns.USER_ID, users), (columns.ITEM_ID, items)):
        kind = name.removesuffix("_id")
        counts[f"rows_of_cut_{kind}s"] = 0
        if kept is None:
            continue
        ids = one_dictionary(rows[name])
        beyond = ~is_among(ids, kept)
        counts[f"rows_of_cut_{kind}s"] = int(beyond.sum())
        if num_buckets:
            ids = _hashed(ids, beyond, num_buckets)
            rows = rows.set_column(rows.column_names.index(name), name, ids)
        else:
            rows = rows.filter(pa.array(~beyond))
    settled = _settled(rows, repeats)
    counts["rows_repeated_in_buckets"] = len(rows) - len(settled)
    return settled, counts


def _hashed(
    ids: pa.DictionaryArray, beyond: npt.NDArray[np.bool_], num_buckets: int
) -> pa.DictionaryArray:
    codes = ids.indices.to_numpy()
    bucket = shards_of(ids.dictionary, num_buckets)[codes] + len(ids.dictionary)
    values = pa.concat_arrays([ids.dictionary, bucket_ids(num_buckets)])
    joined = np.where(beyond, bucket, codes).astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(joined), values)


def _settled(rows: pa.Table, repeats: Repeats) -> pa.Table:
    ids = {
        columns.USER_ID: sorted_dictionary(rows[columns.USER_ID]),
        columns.ITEM_ID: one_dictionary(rows[columns.ITEM_ID]),
    }
    users, items = (array.indices.to_numpy() for array in ids.values())
    times = None
    if columns.TIMESTAMP in rows.column_names:
        times = rows[columns.TIMESTAMP].to_numpy()
    kept = resolve_repeats(users, items, times, repeats)
    for name, array in ids.items():
        rows = rows.set_column(rows.column_names.index(name), name, array)
    rows = rows.take(pa.array(kept.rows))
    if kept.occurrences is not None:
        place = rows.column_names.index(columns.OCCURRENCE)
        found = pa.array(kept.occurrences)
        rows = rows.set_column(place, columns.OCCURRENCE, found)
    return rows
