"""Large files of text in ranges of bytes, so that many workers read one file.

A range begins at a line (for Netflix, at an item), which the driver finds. The numbers
of its rows, and whether a quote may hold a line end, are only known once the ranges
before it have been read: a first pass counts rows and looks for quotes. A file in whose
text a quote occurs is then read in one piece after all.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from beam_jobs.sources import netflix, text
from beam_jobs.sources.units import SourceUnit
from tfcausal.schema.paths import as_path, num_bytes

RANGE_BYTES = 1 << 26
"""Files larger than this are cut."""

_CUT_KINDS = ("text", "lines", "json", "netflix")
_LOOK_BYTES = 1 << 20
_LONGEST_BOUNDARY = 1 << 10
_LINE_ENDS = (ord("\n"), ord("\r"))
_QUOTE = ord('"')
_NEXT_LINE = re.compile(rb"\n")
_NEXT_ITEM = re.compile(rb"\n(?=" + netflix.ITEM_LINE + rb"\r?\n)")


@dataclass(frozen=True)
class RangeRows:
    """What the first pass found in a range.

    Attributes:
        file: Number of its file.
        begin: Where it begins.
        rows: Lines that are not blank.
        quoted: Whether it holds a quote that plays a part.
    """

    file: int
    begin: int
    rows: int
    quoted: bool


def cut(unit: SourceUnit) -> list[SourceUnit]:
    """Cuts a large file of plain text into ranges of bytes.

    Args:
        unit: A whole file, or another piece of work, which stays as it is.
    Returns:
        The pieces, in order.
    """
    size = num_bytes(unit.file.path)
    if unit.kind not in _CUT_KINDS or size <= RANGE_BYTES or _is_compressed(unit):
        return [unit]
    ends = [0]
    boundary = _NEXT_ITEM if unit.kind == "netflix" else _NEXT_LINE
    while ends[-1] < size:
        ends.append(_next(unit.file.path, ends[-1] + RANGE_BYTES, size, boundary))
    if len(ends) == 2:
        return [unit]
    pieces = [replace(unit, begin=begin, end=end) for begin, end in pairwise(ends)]
    if unit.kind == "text" and not unit.text.names:
        names = tuple(text.header(unit.file.path, unit.text))
        form = replace(unit.text, names=names)
        pieces[1:] = [replace(piece, text=form) for piece in pieces[1:]]
    return pieces


def _is_compressed(unit: SourceUnit) -> bool:
    return unit.file.path.endswith((".gz", ".bz2", ".lz4", ".zst", ".br"))


def _next(path: str, offset: int, size: int, boundary: re.Pattern[bytes]) -> int:
    """Returns where the first line begins that lies at or beyond an offset."""
    # The line end before the offset counts too.
    offset -= 1
    found = b""
    with as_path(path).open("rb") as file:
        file.seek(offset)
        while more := file.read(_LOOK_BYTES):
            found += more
            match = boundary.search(found)
            if match:
                return offset + match.end()
            offset += max(0, len(found) - _LONGEST_BOUNDARY)
            found = found[-_LONGEST_BOUNDARY:]
    return size


def count_rows(unit: SourceUnit) -> RangeRows:
    """Looks through a range, for the first pass.

    Args:
        unit: A range of bytes.
    """
    assert unit.end is not None, "only ranges have a first pass"
    rows, quoted, last = 0, False, _LINE_ENDS[0]
    left = unit.end - unit.begin
    with as_path(unit.file.path).open("rb") as file:
        file.seek(unit.begin)
        while left and (content := file.read(min(left, text.BLOCK_BYTES))):
            left -= len(content)
            letters = np.frombuffer(content, np.uint8)
            ends = (letters == _LINE_ENDS[0]) | (letters == _LINE_ENDS[1])
            after_end = np.append(last in _LINE_ENDS, ends[:-1])
            rows += int(np.count_nonzero(after_end & ~ends))
            last = int(letters[-1])
            # Only delimited text has quotes between which a line may end.
            if unit.kind == "text" and unit.text.quoted:
                quoted = quoted or bool((letters == _QUOTE).any())
    return RangeRows(unit.file.number, unit.begin, rows, quoted)


def placed(unit: SourceUnit, found: Sequence[RangeRows]) -> SourceUnit | None:
    """Returns a piece with what the first pass says of its place.

    Args:
        unit: A piece of work, a range or not.
        found: Of every range of the input, in any order.
    Returns:
        The piece to read in its place: of a file with quotes the first range becomes
        the whole file, and the others nothing (None).
    """
    if unit.end is None:
        return unit
    ranges = [entry for entry in found if entry.file == unit.file.number]
    if any(entry.quoted for entry in ranges):
        return None if unit.begin else replace(unit, end=None)
    before = sum(entry.rows for entry in ranges if entry.begin < unit.begin)
    return replace(unit, first_row=before)
