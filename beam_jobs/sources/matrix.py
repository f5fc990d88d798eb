"""Coat: a matrix of ratings in ASCII, a line for each user, 0 where there is none.

The users and items are numbered from 0. A column `intervened` tells the ratings of
items that were shown at random (`test.ascii`) from those that users chose themselves.

Reference: Schnabel et al., Recommendations as treatments, ICML 2016, section 6.4.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.sources.lines import line_blocks
from beam_jobs.sources.units import (
    ColumnNames,
    SourceBlock,
    SourceBlocks,
    SourceUnit,
)
from tfcausal.errors import InputError
from tfcausal.stats.cleaning import REJECTED_SCHEMA, CarriedColumn
from tfcausal.stats.raw_columns import parse_real

FILE_NAMES = ("train.ascii", "test.ascii")
INTERVENED = CarriedColumn("intervened", "extra", is_integer=True)
COLUMNS = ColumnNames("user", "item", "rating", carried=(INTERVENED,))


def read_matrix(unit: SourceUnit) -> SourceBlocks:
    """Reads the ratings of a matrix.

    Args:
        unit: A file of kind "matrix".
    Yields:
        Its ratings, user by user.
    Raises:
        InputError: If a line has more or fewer numbers than the first: which user a
            line is of, only the lines before it say.
    """
    num_items = -1
    intervened = int(unit.file.name.rpartition("/")[2] == FILE_NAMES[1])
    done = 0
    for block in line_blocks(unit):
        words = pc.ascii_split_whitespace(block.texts)
        counts = pc.list_value_length(words).to_numpy()
        if num_items < 0 and len(counts):
            num_items = int(counts[0])
        wrong = np.flatnonzero(counts != num_items)
        if len(wrong):
            raise InputError(
                f"`{unit.file.path}` must have as many numbers in each line as in its "
                f"first, {num_items}; line {block.numbers[wrong[0]]} has "
                f"{counts[wrong[0]]}. Copy the file again."
            )
        cells = words.flatten()
        _, ratings = parse_real(cells.view(pa.binary()))
        missing = pc.equal(ratings, 0).fill_null(False)
        chosen = np.flatnonzero(~missing.to_numpy(zero_copy_only=False))
        numbers = block.numbers[chosen // num_items]
        columns = {
            "user": pa.array(numbers - 1),
            "item": pa.array(chosen % num_items),
            "rating": cells.take(pa.array(chosen)).view(pa.binary()),
            INTERVENED.name: pa.array(np.full(len(chosen), intervened)),
        }
        positions = done + np.arange(len(chosen), dtype=np.int64)
        done += len(chosen)
        raw = unit.columns.raw_block(
            columns.__getitem__, numbers, unit.first_position + positions
        )
        yield SourceBlock(raw, REJECTED_SCHEMA.empty_table())
