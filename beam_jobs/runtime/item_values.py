"""A number for each item, from a table of features."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.stats.feature_tables import align

Float64s = npt.NDArray[np.float64]


def read_item_values(path: Path, column: str, items: Path) -> Float64s:
    """Reads a number for each row of the item vocabulary.

    Args:
        path: A Parquet file with the column `item_id`, of texts or integers, and
            `column`. Of several rows of an item the first counts.
        column: A column of numbers.
        items: The item vocabulary.
    Returns:
        [num_items] float64; NaN where nothing is known.
    Raises:
        InputError: If the file is none, lacks a column, or has no number in it.
    """
    if not path.is_file():
        raise InputError(f"`{path}` must be a Parquet file; found none.")
    try:
        names = pq.read_schema(path).names
    except pa.ArrowInvalid as error:
        raise InputError(f"`{path}` must be a Parquet file; {error}") from error
    for name in (columns.ITEM_ID, column):
        if name not in names:
            raise InputError(
                f"`{path}` must have the column `{name}`; got {', '.join(names)}."
            )
    table = pq.read_table(path, columns=[columns.ITEM_ID, column])
    kind = table.schema.field(column).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise InputError(
            f"`{column}` must be a column of numbers; in `{path}` it is {kind}. Choose "
            "another, or give its values numbers."
        )
    vocabulary = pq.read_table(items, columns=[columns.ITEM_ID])[columns.ITEM_ID]
    ids = table[columns.ITEM_ID].cast(pa.string()).combine_chunks()
    aligned = align(table.select([column]), ids, vocabulary.combine_chunks())
    values: Float64s = (
        aligned.table[column].cast(pa.float64(), safe=False).to_numpy().copy()
    )
    if np.isnan(values).all():
        raise InputError(
            f"`{path}` must have a number in `{column}` for some item of the data set; "
            "found none. Check the ids."
        )
    return values
