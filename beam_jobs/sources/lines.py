"""Whole lines of text, for the forms whose lines are no rows of delimited fields."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.sources.text import WrongRows, text_batches
from beam_jobs.sources.units import SourceBlock, SourceBlocks, SourceUnit, TextForm
from tfcausal.stats.cleaning import RawBlock
from tfcausal.stats.raw_columns import Int64s

# A byte that no line holds. A line that does is set aside as one of too many fields.
_NO_DELIMITER = "\x01"
_WHOLE_LINES = TextForm(_NO_DELIMITER, quoted=False, names=("line",))


@dataclass(frozen=True)
class LineBlock:
    """Some lines of a piece.

    Attributes:
        texts: [n] strings, white space at both ends taken off; they may be no UTF-8.
        numbers: [n] int64, each line's number in its file, blank ones left out.
        rejected: Lines that hold a byte 1, of REJECTED_SCHEMA.
    """

    texts: pa.Array
    numbers: Int64s
    rejected: pa.Table


def line_blocks(unit: SourceUnit) -> Iterator[LineBlock]:
    """Reads a file, or a range of it, in blocks of lines.

    Raises:
        InputError: If the file ends amid a compressed block or a line is too long.
    """
    wrong = WrongRows(unit.first_row)
    done = 0
    for batch in text_batches(unit, _WHOLE_LINES, ["line"], wrong):
        ordinals = done + np.arange(len(batch), dtype=np.int64)
        done += len(batch)
        # The white space of ASCII can be told apart in any bytes.
        texts = pc.ascii_trim_whitespace(batch.column("line").view(pa.string()))
        numbers = wrong.row_numbers(unit.first_row + 1, ordinals)
        yield LineBlock(texts, numbers, wrong.take(unit.file.name))


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
        yield SourceBlock(raw, block.rejected, int((counts <= 1).sum()))
