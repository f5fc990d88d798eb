"""Whole lines of text, for the forms whose lines are no rows of delimited fields."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.sources.text import WrongRows, text_batches
from beam_jobs.sources.units import SourceBlock, SourceBlocks, SourceUnit, TextForm
from tfcausal.stats.cleaning import REJECTED_SCHEMA, RawBlock
from tfcausal.stats.raw_columns import Int64s

_NO_DELIMITER = "\x01"
_WHOLE_LINES = TextForm(
    _NO_DELIMITER, quoted=False, names=("line",), hidden=_NO_DELIMITER
)


@dataclass(frozen=True)
class LineBlock:
    """Some lines of a piece.

    Attributes:
        texts: [n] strings, white space at both ends taken off; they may be no UTF-8.
        numbers: [n] int64, each line's number in its file, blank ones left out.
    """

    texts: pa.Array
    numbers: Int64s


def line_blocks(unit: SourceUnit) -> Iterator[LineBlock]:
    """Reads a file, or a range of it, in blocks of lines.

    Raises:
        InputError: If the file ends amid a compressed block or a line is too long.
    """
    done = unit.first_row
    for batch in text_batches(unit, _WHOLE_LINES, ["line"], WrongRows()):
        numbers = done + np.arange(1, len(batch) + 1, dtype=np.int64)
        done += len(batch)
        # The white space of ASCII can be told apart in any bytes.
        texts = pc.ascii_trim_whitespace(batch.column("line").view(pa.string()))
        yield LineBlock(texts, numbers)


def read_lines(unit: SourceUnit) -> SourceBlocks:
    """Reads lines of a user and the user's items, between white space.

    Args:
        unit: A file of kind "lines", or a range of it.
    Yields:
        An interaction for each item, in the order of the file.
    Raises:
        InputError: If the file ends amid a compressed block or a line is too long.
    """
    done = 0
    for block in line_blocks(unit):
        words = pc.ascii_split_whitespace(block.texts)
        offsets = words.offsets.to_numpy()
        counts = np.diff(offsets)
        texts = words.flatten().view(pa.binary())
        owner = np.repeat(np.arange(len(counts)), counts)
        is_item = np.arange(len(owner)) != offsets[owner] - offsets[0]
        chosen = np.flatnonzero(is_item)
        positions = done + np.arange(len(chosen), dtype=np.int64)
        raw = RawBlock(
            texts.take(pa.array(offsets[owner[chosen]] - offsets[0])),
            texts.take(pa.array(chosen)),
            None,
            None,
            block.numbers[owner[chosen]],
            unit.first_position + positions,
        )
        done += len(chosen)
        yield SourceBlock(raw, REJECTED_SCHEMA.empty_table(), int((counts <= 1).sum()))
