"""Delimited text and `user item item ...` lines, streamed by Arrow's CSV reader."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from beam_jobs.sources.units import SourceBlock, SourceBlocks, SourceUnit, TextForm
from tfcausal.errors import InputError
from tfcausal.stats.cleaning import (
    WRONG_FIELD_COUNT,
    Int64s,
    RawBlock,
    rejected_table,
)

BLOCK_BYTES = 1 << 23
"""Bytes read at once; no row may be longer."""

_NO_DELIMITER = "\x01"


@dataclass
class _WrongRows:
    """Rows with the wrong number of fields, as the parser meets them."""

    numbers: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    reported: int = 0

    def __call__(self, row: pa_csv.InvalidRow) -> str:
        # Without threads the parser knows the number; see InvalidRow.number.
        self.numbers.append(int(row.number))
        self.texts.append(row.text)
        return "skip"

    def take(self, source: str) -> pa.Table:
        """Returns those met since the last call, a row for each line of text."""
        rows, texts = [], []
        for index in range(self.reported, len(self.numbers)):
            # A quote that nobody closed swallows lines; each of them is lost.
            for line in self.texts[index].split("\n"):
                rows.append(self.numbers[index])
                texts.append(line)
            self.texts[index] = ""
        self.reported = len(self.numbers)
        reasons = [WRONG_FIELD_COUNT] * len(rows)
        return rejected_table(source, np.asarray(rows, np.int64), reasons, texts)

    def row_numbers(self, first: int, ordinals: Int64s) -> Int64s:
        """Returns the numbers of good rows, the wrong ones between them counted.

        Args:
            first: Number of the first row after the header.
            ordinals: Which of the good rows, from 0.
        """
        wrong = np.asarray(self.numbers, np.int64)
        good_before = wrong - first - np.arange(len(wrong))
        before: Int64s = np.searchsorted(good_before, ordinals, "right")
        return first + ordinals + before


def header(path: str, form: TextForm) -> list[str]:
    """Returns the column names of a delimited file; none for an empty file.

    Raises:
        InputError: If the header cannot be read.
    """
    if form.names:
        return list(form.names)
    try:
        with pa.input_stream(path, compression="detect") as stream:
            if not stream.read(1):
                return []
        reader = _open(path, form, None, _WrongRows())
        return list(reader.schema.names)
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"`{path}` must be readable to its end and begin with a line of column "
            f"names; {_first_line(error)}. "
            "Check the file and --format."
        ) from error


def read_text(unit: SourceUnit) -> SourceBlocks:
    """Reads a delimited file in blocks.

    Args:
        unit: A whole file of kind "text".
    Yields:
        Its rows in order.
    Raises:
        InputError: If the file ends amid a compressed block or a row is too long.
    """
    wrong = _WrongRows()
    names = unit.columns
    roles = (names.user, names.item, names.rating, names.timestamp)
    wanted = [name for name in roles if name is not None]
    first_row = 1 if unit.text.names else 2
    done = 0
    for batch in _batches(unit.file.path, unit.text, wanted, wrong):
        ordinals = done + np.arange(len(batch), dtype=np.int64)
        done += len(batch)
        raw = RawBlock(
            batch.column(names.user),
            batch.column(names.item),
            None if names.rating is None else batch.column(names.rating),
            None if names.timestamp is None else batch.column(names.timestamp),
            wrong.row_numbers(first_row, ordinals),
            unit.first_position + ordinals,
        )
        yield SourceBlock(raw, wrong.take(unit.file.name))


def read_lines(unit: SourceUnit) -> SourceBlocks:
    """Reads lines of a user and the user's items, between white space.

    Args:
        unit: A whole file of kind "lines".
    Yields:
        An interaction for each item, in the order of the file.
    Raises:
        InputError: If the file ends amid a compressed block or a line is too long.
    """
    wrong = _WrongRows()
    form = TextForm(_NO_DELIMITER, quoted=False, names=("line",))
    lines_done, done = 0, 0
    for batch in _batches(unit.file.path, form, ["line"], wrong):
        # The white space of ASCII can be told apart in any bytes.
        lines = pc.ascii_trim_whitespace(batch.column("line").view(pa.string()))
        words = pc.ascii_split_whitespace(lines)
        offsets = words.offsets.to_numpy()
        counts = np.diff(offsets)
        texts = words.flatten().view(pa.binary())
        owner = np.repeat(np.arange(len(counts)), counts)
        is_item = np.arange(len(owner)) != offsets[owner] - offsets[0]
        chosen = np.flatnonzero(is_item)
        positions = done + np.arange(len(chosen), dtype=np.int64)
        numbers = wrong.row_numbers(1, lines_done + owner[chosen])
        raw = RawBlock(
            texts.take(pa.array(offsets[owner[chosen]] - offsets[0])),
            texts.take(pa.array(chosen)),
            None,
            None,
            numbers,
            unit.first_position + positions,
        )
        lines_done, done = lines_done + len(counts), done + len(chosen)
        yield SourceBlock(raw, wrong.take(unit.file.name), int((counts <= 1).sum()))


def _batches(
    path: str, form: TextForm, wanted: list[str], wrong: _WrongRows
) -> Iterator[pa.RecordBatch]:
    with pa.input_stream(path, compression="detect") as stream:
        if not stream.read(1):
            return
    try:
        yield from _open(path, form, wanted, wrong)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"`{path}` must be readable to its end, in rows below {BLOCK_BYTES:,} "
            f"bytes; {_first_line(error)}. Check the file for a broken end or an open "
            "quote."
        ) from error


def _open(
    path: str, form: TextForm, wanted: list[str] | None, wrong: _WrongRows
) -> pa_csv.CSVStreamingReader:
    columns = wanted or list(form.names)
    return pa_csv.open_csv(
        pa.input_stream(path, compression="detect"),
        read_options=pa_csv.ReadOptions(
            use_threads=False,
            block_size=BLOCK_BYTES,
            column_names=list(form.names) or None,
        ),
        parse_options=pa_csv.ParseOptions(
            delimiter=form.delimiter,
            quote_char='"' if form.quoted else False,
            newlines_in_values=form.quoted,
            invalid_row_handler=wrong,
        ),
        convert_options=pa_csv.ConvertOptions(
            check_utf8=False,
            column_types={name: pa.binary() for name in columns},
            include_columns=wanted,
            strings_can_be_null=False,
        ),
    )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")
