"""The Netflix Prize: lines of an item, then a line for each of its ratings.

1:
1488844,3,2005-09-06
822109,5,2005-05-13
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
from tfcausal.stats.cleaning import WRONG_FIELD_COUNT, rejected_table

FILE_NAMES = ("mv_*.txt", "combined_data_*.txt")
COLUMNS = ColumnNames("user", "item", "rating", "date", "iso")
ITEM_LINE = rb"[^,:\r\n]+:[ \t]*"
"""A line that names the item of the lines below it."""

_FIELDS = 3


def read_netflix(unit: SourceUnit) -> SourceBlocks:
    """Reads ratings below the items that they are of.

    Args:
        unit: A file of kind "netflix", or a range of it that begins with an item.
    Yields:
        Its ratings in order. Those before the first item have none; nor have those
        below a line that is neither an item nor a rating, up to the next item: it may
        have been one.
    Raises:
        InputError: If the file ends amid a compressed block or a line is too long.
    """
    done, last_item = 0, pa.array([None], pa.string())
    for block in line_blocks(unit):
        named = pc.match_substring_regex(block.texts, rf"^(?:{ITEM_LINE.decode()})$")
        is_item = named.to_numpy(zero_copy_only=False)
        fields = pc.split_pattern(block.texts, ",")
        counts = pc.list_value_length(fields).to_numpy()
        colons = pc.find_substring(block.texts, ":").to_numpy()
        is_rating = (counts == _FIELDS) & (colons < 0)
        places = pa.array(np.flatnonzero(~is_rating))
        named_here = pc.if_else(named, _items(block.texts), None).take(places)
        known = pa.concat_arrays([last_item, named_here])
        last_item = known.slice(len(known) - 1)
        items = known.take(pa.array(np.cumsum(~is_rating)))
        good = np.flatnonzero(is_rating)
        wrong = np.flatnonzero(~is_rating & ~is_item)
        parts = fields.take(pa.array(good)).flatten().view(pa.binary())
        columns = {
            name: parts.take(pa.array(np.arange(place, len(parts), _FIELDS)))
            for place, name in enumerate(("user", "rating", "date"))
        }
        columns["item"] = items.take(pa.array(good)).view(pa.binary())
        raw = unit.columns.raw_block(
            columns.__getitem__,
            block.numbers[good],
            unit.first_position + done + np.arange(len(good), dtype=np.int64),
        )
        done += len(good)
        texts = block.texts.take(pa.array(wrong)).view(pa.binary()).to_pylist()
        rejected = rejected_table(
            unit.file.name,
            block.numbers[wrong],
            [WRONG_FIELD_COUNT] * len(wrong),
            [text.decode("utf-8", "backslashreplace") for text in texts],
        )
        yield SourceBlock(raw, rejected)


def _items(lines: pa.Array) -> pa.Array:
    return pc.ascii_rtrim_whitespace(pc.ascii_rtrim(lines, ":"))
