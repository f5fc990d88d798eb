"""Delimited text, streamed by Arrow's CSV reader."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from beam_jobs.sources import utf8
from beam_jobs.sources.units import SourceBlock, SourceBlocks, SourceUnit, TextForm
from tfcausal.errors import InputError
from tfcausal.schema.paths import as_path, open_decompressed
from tfcausal.stats.cleaning import WRONG_FIELD_COUNT, rejected_table
from tfcausal.stats.raw_columns import Bools, Int64s

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
        self.texts.append(_shown(row.text.encode()))
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
        with open_decompressed(path) as stream:
            if not stream.read(1):
                return []
        if form.names:
            return list(form.names)
        source = utf8.Utf8Stream(open_decompressed(path), b"", amid=False)
        names = list(_open(source, form, None, WrongRows()).schema.names)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"`{path}` must be readable to its end and begin with a line of column "
            f"names; {first_line(error)}. "
            "Check the file and --format."
        ) from error
    _require_utf8(names, path)
    return names


def _require_utf8(names: Sequence[str], path: str) -> None:
    for name in names:
        if utf8.original(name.encode()) != name.encode():
            raise InputError(
                f"`{path}` must have column names in UTF-8, without NUL; got "
                f"{_shown(name.encode())!r}. Convert the file, for instance by `iconv "
                "-f latin1 -t utf-8`."
            )


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
    wanted = [*unit.columns.wanted, *unit.text.between]
    for batch in text_batches(unit, unit.text, wanted, wrong):
        ordinals = done + np.arange(len(batch), dtype=np.int64)
        done += len(batch)
        numbers = wrong.row_numbers(first_row, ordinals)
        good = _nothing_between(batch, unit.text)
        bad = np.flatnonzero(~good)
        rejected = rejected_table(
            unit.file.name,
            numbers[bad],
            [WRONG_FIELD_COUNT] * len(bad),
            [_joined(batch, unit.text, row) for row in bad.tolist()],
        )
        chosen = batch.filter(pa.array(good)) if len(bad) else batch
        raw = unit.columns.raw_block(
            chosen.column, numbers[good], unit.first_position + ordinals[good]
        )
        yield SourceBlock(raw, pa.concat_tables([wrong.take(unit.file.name), rejected]))


def _nothing_between(batch: pa.RecordBatch, form: TextForm) -> Bools:
    """Returns [n] whether the columns that stand for no field are empty."""
    empty = np.ones(len(batch), bool)
    for name in form.between:
        empty &= pc.binary_length(batch.column(name)).to_numpy() == 0
    return empty


def _joined(batch: pa.RecordBatch, form: TextForm, row: int) -> str:
    fields = [batch.column(name)[row].as_py() for name in form.names]
    return form.delimiter.encode().join(fields).decode("utf-8", "backslashreplace")


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
        with open_decompressed(path) as stream:
            if not stream.read(1):
                return
        if unit.end is None:
            opened = open_decompressed(path)
        else:
            opened = _Part(path, unit.begin, unit.end)
        source = utf8.Utf8Stream(opened, form.hidden.encode(), amid=unit.begin > 0)
        for batch in _open(source, form, wanted, wrong):
            yield utf8.restored(batch) if source.hides else batch
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


class _Part(io.RawIOBase):
    """A range of a file's bytes, read as if it were all."""

    def __init__(self, path: str, begin: int, end: int) -> None:
        super().__init__()
        self._file = as_path(path).open("rb")
        self._file.seek(begin)
        self._left = end - begin

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        content = self._file.read(wanted)
        self._left -= len(content)
        return content


def _open(
    source: utf8.Utf8Stream,
    form: TextForm,
    wanted: Sequence[str] | None,
    wrong: WrongRows,
) -> pa_csv.CSVStreamingReader:
    columns = wanted or list(form.names)
    return pa_csv.open_csv(
        pa.PythonFile(source, mode="r"),
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


def _shown(content: bytes) -> str:
    return utf8.original(content).decode("utf-8", "backslashreplace")


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, without its full stop."""
    return str(error).splitlines()[0].rstrip(".")
