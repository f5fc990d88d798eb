"""Delimited text, streamed by Arrow's CSV reader."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from beam_jobs.sources.units import SourceBlock, SourceBlocks, SourceUnit, TextForm
from tfcausal.errors import InputError
from tfcausal.stats.cleaning import WRONG_FIELD_COUNT, rejected_table
from tfcausal.stats.raw_columns import Int64s

BLOCK_BYTES = 1 << 23
"""Bytes read at once; no row may be longer."""


@dataclass
class WrongRows:
    """Rows with the wrong number of fields, as the parser meets them.

    Attributes:
        rows_before: Rows of the file before the piece that is read.
    """

    rows_before: int = 0
    numbers: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    reported: int = 0

    def __call__(self, row: pa_csv.InvalidRow) -> str:
        """Notes a row and tells the parser to go on."""
        # Without threads the parser knows the number; see InvalidRow.number.
        self.numbers.append(self.rows_before + int(row.number))
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
    try:
        with pa.input_stream(path, compression="detect") as stream:
            if not stream.read(1):
                return []
        if form.names:
            return list(form.names)
        stream = pa.input_stream(path, compression="detect")
        return list(_open(stream, form, None, WrongRows()).schema.names)
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"`{path}` must be readable to its end and begin with a line of column "
            f"names; {first_line(error)}. "
            "Check the file and --format."
        ) from error


def read_text(unit: SourceUnit) -> SourceBlocks:
    """Reads delimited text in blocks.

    Args:
        unit: A file of kind "text", or a range of it.
    Yields:
        Its rows in order.
    Raises:
        InputError: If the file ends amid a compressed block or a row is too long.
    """
    wrong = WrongRows(unit.first_row)
    first_row = unit.first_row + (1 if unit.text.names else 2)
    done = 0
    for batch in text_batches(unit, unit.text, unit.columns.wanted, wrong):
        ordinals = done + np.arange(len(batch), dtype=np.int64)
        done += len(batch)
        raw = unit.columns.raw_block(
            batch.column,
            wrong.row_numbers(first_row, ordinals),
            unit.first_position + ordinals,
        )
        yield SourceBlock(raw, wrong.take(unit.file.name))


def text_batches(
    unit: SourceUnit, form: TextForm, wanted: Sequence[str], wrong: WrongRows
) -> Iterator[pa.RecordBatch]:
    """Reads columns of delimited text.

    Args:
        unit: A file or a range of its bytes.
        form: How it is written.
        wanted: The columns.
        wrong: Takes the rows with the wrong number of fields.
    Yields:
        Binary columns of the other rows, in order.
    Raises:
        InputError: If the file ends amid a compressed block or a row is too long.
    """
    path = unit.file.path
    try:
        with pa.input_stream(path, compression="detect") as stream:
            if not stream.read(1):
                return
        if unit.end is None:
            opened = pa.input_stream(path, compression="detect")
        else:
            opened = pa.PythonFile(_Part(path, unit.begin, unit.end), mode="r")
        yield from _open(opened, form, wanted, wrong)
        if wrong.reported < len(wrong.numbers):
            # There is no batch behind the last good row that would bring these along.
            nothing = [pa.array([], pa.binary()) for _ in wanted]
            yield pa.record_batch(nothing, list(wanted))
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"`{path}` must be readable to its end, in rows below {BLOCK_BYTES:,} "
            f"bytes; {first_line(error)}. Check the file for a broken end or an open "
            "quote."
        ) from error


class _Part(io.FileIO):
    """A range of a file's bytes, read as if it were all."""

    def __init__(self, path: str, begin: int, end: int) -> None:
        super().__init__(path)
        self.seek(begin)
        self._left = end - begin

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        content = super().read(wanted)
        self._left -= len(content)
        return content


def _open(
    stream: pa.NativeFile,
    form: TextForm,
    wanted: Sequence[str] | None,
    wrong: WrongRows,
) -> pa_csv.CSVStreamingReader:
    columns = wanted or list(form.names)
    return pa_csv.open_csv(
        stream,
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


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, without its full stop."""
    return str(error).splitlines()[0].rstrip(".")
