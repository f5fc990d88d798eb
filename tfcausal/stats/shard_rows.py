"""The rows of one shard of users, on their way from clean blocks to a Parquet file."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tfcausal.schema import columns
from tfcausal.stats.hashing import shards_of
from tfcausal.stats.repeats import Repeats, resolve_repeats
from tfcausal.stats.sorting import stable_order
from tfcausal.stats.vocabulary import (
    indices_in,
    is_among,
    one_dictionary,
    sorted_dictionary,
    without_unused,
)

_ID_COLUMNS = (columns.USER_ID, columns.ITEM_ID)
_PLACE = b"place"


def with_place(rows: pa.Table, place: int) -> pa.Table:
    """Notes where a block stood in the input.

    Args:
        rows: Rows in the order of the input, none of another block between them.
        place: Larger than that of every block before.
    """
    return rows.replace_schema_metadata({_PLACE: str(place)})


def _place(rows: pa.Table) -> int:
    return int((rows.schema.metadata or {}).get(_PLACE, 0))


def cut_by_user(rows: pa.Table, num_shards: int) -> dict[int, pa.Table]:
    """Cuts clean rows into the shards of their users.

    Args:
        rows: Clean rows, user_id a dictionary column of one chunk.
        num_shards: Number of shards.
    Returns:
        The rows of each shard that has some.
    """
    if not len(rows):
        return {}
    users = one_dictionary(rows[columns.USER_ID])
    shard = shards_of(users.dictionary, num_shards)[users.indices.to_numpy()]
    order = stable_order(shard)
    ends = np.cumsum(np.bincount(shard))
    return {
        number: _selected(rows, order[first:end])
        for number, (first, end) in enumerate(pairwise([0, *ends]))
        if end > first
    }


def _selected(rows: pa.Table, chosen: npt.NDArray[Any]) -> pa.Table:
    part = rows.take(pa.array(chosen))
    for name in _ID_COLUMNS:
        # Else each shard would carry the ids of all.
        ids = without_unused(one_dictionary(part[name]))
        part = part.set_column(part.column_names.index(name), name, ids)
    return part


def join_blocks(blocks: Sequence[pa.Table], repeats: Repeats) -> pa.Table:
    """Joins the blocks of a shard and settles repeated interactions.

    Args:
        blocks: At least one table of clean rows, in any order, each from `with_place`
            or without rows.
        repeats: Which row of a (user, item) pair stays.
    Returns:
        The rows that stay, ordered by the user's id, timestamp and place in the input;
        user_id and item_id as dictionaries; the column occurrence where repeats are
        kept.
    """
    table = pa.concat_tables(sorted(blocks, key=_place))
    ids = {
        columns.USER_ID: sorted_dictionary(table[columns.USER_ID]),
        columns.ITEM_ID: one_dictionary(table[columns.ITEM_ID]),
    }
    users, items = (array.indices.to_numpy() for array in ids.values())
    timestamps = (
        table[columns.TIMESTAMP].to_numpy()
        if columns.TIMESTAMP in table.column_names
        else None
    )
    kept = resolve_repeats(users, items, timestamps, repeats)
    rows = pa.array(kept.rows)
    result: dict[str, Any] = {name: array.take(rows) for name, array in ids.items()}
    for name in table.column_names:
        if name not in _ID_COLUMNS:
            result[name] = table[name].take(rows)
    if kept.occurrences is not None:
        result[columns.OCCURRENCE] = kept.occurrences
    return pa.table(result)


def drop_rare(
    rows: pa.Table, items: pa.Table | None, min_user_count: int
) -> tuple[pa.Table, dict[str, int]]:
    """Keeps the rows of wanted items, then those of users with enough of them left.

    Args:
        rows: From `join_blocks`.
        items: Counts of the items to keep; None for all.
        min_user_count: Rows that a user must have left.
    Returns:
        The rows that stay, and how many were dropped, by reason.
    """
    dropped = {"rare_item": 0}
    if items is not None:
        wanted = is_among(_ids(rows, columns.ITEM_ID), items)
        dropped["rare_item"] = int((~wanted).sum())
        rows = rows.filter(pa.array(wanted))
    users = _ids(rows, columns.USER_ID).indices.to_numpy()
    enough = np.bincount(users, minlength=1)[users] >= min_user_count
    dropped["rare_user"] = int((~enough).sum())
    return rows.filter(pa.array(enough)), dropped


def index_rows(rows: pa.Table, users: pa.Array, items: pa.Array) -> pa.Table:
    """Replaces ids by their indices.

    Args:
        rows: From `drop_rare`.
        users: String array of user ids; row order is the index.
        items: The same of items.
    Returns:
        Interactions of `columns.interactions_schema`, ordered by user index, then
        timestamp and place in the input.
    """
    index = indices_in(_ids(rows, columns.USER_ID), users)
    # The rows of a user lie together: users are put in order, not rows.
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    lengths = np.diff(starts, append=len(index))
    ascending = np.argsort(index[starts])
    lengths = lengths[ascending]
    steps = starts[ascending] - (np.cumsum(lengths) - lengths)
    order = np.arange(len(index)) + np.repeat(steps, lengths)
    found = {
        columns.USER: np.repeat(index[starts][ascending], lengths),
        columns.ITEM: indices_in(_ids(rows, columns.ITEM_ID), items)[order],
    }
    schema = _indexed_schema(rows.schema)
    for name in schema.names[len(found) :]:
        found[name] = rows[name].take(pa.array(order))
    return pa.table({name: found[name] for name in schema.names}, schema=schema)


def _indexed_schema(schema: pa.Schema) -> pa.Schema:
    own = (columns.RATING, columns.TIMESTAMP, columns.OCCURRENCE)
    carried = {
        field.name: field.type
        for field in schema
        if field.name not in (*own, *_ID_COLUMNS)
    }
    rating, timestamp, occurrence = (name in schema.names for name in own)
    return columns.interactions_schema(
        rating=rating, timestamp=timestamp, occurrence=occurrence, carried=carried
    )


def ids_of(rows: pa.Table) -> tuple[pa.DictionaryArray, pa.DictionaryArray]:
    """Returns the user and the item ids of rows from `join_blocks`."""
    return _ids(rows, columns.USER_ID), _ids(rows, columns.ITEM_ID)


def _ids(rows: pa.Table, name: str) -> pa.DictionaryArray:
    return one_dictionary(rows[name])


def at_least(rows: pa.Table, min_rating: float | None) -> pa.Table:
    """Keeps the clean rows with a rating of `min_rating` or more; None keeps all."""
    if min_rating is None:
        return rows
    # Compared as float64: 0.1 asked for must keep a rating of 0.1 stored in 32 bits.
    least = np.float64(np.float32(min_rating))
    return rows.filter(pc.greater_equal(rows[columns.RATING], least))
