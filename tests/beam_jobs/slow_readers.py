"""Readers of raw interactions in plain Python, a line at a time, for comparison."""

import csv
import io
import json
import math
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from google.protobuf.message import DecodeError

Row = tuple[Any, ...]
"""Number of the row, user, item, rating, timestamp; the last two only where given."""

Reader = Callable[[bytes], Iterator[Row]]

_BOM = b"\xef\xbb\xbf"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}.*", re.ASCII)


class UnreadableError(Exception):
    """The file as a whole is damaged: nothing of it may be accepted."""


def lines_of(content: bytes) -> list[bytes]:
    """Returns the lines that hold anything, whatever their ends."""
    lines = re.split(rb"\r|\n", content.removeprefix(_BOM))
    return [line for line in lines if line]


def id_of(value: Any) -> str:
    """Returns a user or item id; raises ValueError if it is none."""
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise ValueError("no id")
    value.encode("utf-8")
    if any(unicodedata.category(letter) == "Cc" for letter in value):
        raise ValueError("a control character")
    return value


def rating_of(value: Any) -> float:
    """Returns a float32 rating; raises ValueError if it is none."""
    if isinstance(value, bytes):
        value = value.decode("utf-8").strip()
    if value is None or (isinstance(value, str) and "_" in value):
        raise ValueError("no number")
    with np.errstate(over="ignore"):
        number = float(np.float32(float(value)))
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def time_of(value: Any) -> int:
    """Returns whole seconds; raises ValueError if it is no time since 1970."""
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    try:
        number = Decimal(value.strip() if isinstance(value, str) else value)
        fits = number.is_finite() and 0 <= number < 1 << 63 and "_" not in str(value)
    except (InvalidOperation, TypeError) as error:
        raise ValueError("no time") from error
    if not fits:
        raise ValueError("no time since 1970")
    return math.floor(number)


def date_of(value: bytes) -> int:
    """Returns whole seconds of a date; raises ValueError if it is none."""
    text = value.decode("utf-8").strip()
    if not _DATE.fullmatch(text):
        raise ValueError("no date")
    # Any number of digits of a second's fraction.
    found = datetime.fromisoformat(re.sub(r"\.\d+", "", text))
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    seconds = math.floor(found.timestamp())
    if seconds < 0:
        raise ValueError("before 1970")
    return seconds


def accepted(
    records: Sequence[tuple[int, Sequence[Any]]],
    *parsers: Callable[[Any], Any],
) -> Iterator[Row]:
    """Yields the records whose every field can be read."""
    for number, fields in records:
        try:
            values = [
                parse(field) for parse, field in zip(parsers, fields, strict=True)
            ]
        except (ValueError, OverflowError):
            continue
        yield (number, *values)


def _parsers_of(names: Iterable[str]) -> dict[str, Callable[[Any], Any]]:
    """Returns parsers of the columns to read; ratings and times only where named."""
    optional = {"rating": rating_of, "timestamp": time_of}
    found = {name: parser for name, parser in optional.items() if name in names}
    return {"user_id": id_of, "item_id": id_of} | found


def csv_records(content: bytes) -> list[list[bytes]]:
    """Returns the records of a file with quoted fields, the header among them."""
    text = content.removeprefix(_BOM).decode("latin-1")
    csv.field_size_limit(1 << 30)
    records = csv.reader(io.StringIO(text, newline=""))
    return [[field.encode("latin-1") for field in row] for row in records if row]


def read_csv(content: bytes) -> Iterator[Row]:
    """Reads a header and quoted fields; the columns are chosen by name."""
    header, *rows = csv_records(content) or [[]]
    parsers = _parsers_of([name.decode("latin-1") for name in header])
    if any(header.count(name.encode()) != 1 for name in parsers):
        raise UnreadableError
    places = [header.index(name.encode()) for name in parsers]
    chosen = [
        (number, [row[place] for place in places])
        for number, row in enumerate(rows, 2)
        if len(row) == len(header)
    ]
    yield from accepted(chosen, *parsers.values())


def gunzipped(reader: Reader) -> Reader:
    """Returns a reader of what a reader reads, in gzip: one member after the other."""

    def read(content: bytes) -> Iterator[Row]:
        found = b""
        while content:
            member = zlib.decompressobj(31)
            try:
                found += member.decompress(content)
            except zlib.error as error:
                raise UnreadableError from error
            if not member.eof:
                raise UnreadableError
            content = member.unused_data
        return reader(found)

    return read


def delimited(delimiter: bytes, *parsers: Callable[[Any], Any] | None) -> Reader:
    """Returns a reader of lines of fields, never quoted; None for one to leave out."""

    def read(content: bytes) -> Iterator[Row]:
        records = []
        for number, line in enumerate(lines_of(content), 1):
            fields = line.split(delimiter)
            if len(fields) == len(parsers):
                kept = zip(fields, parsers, strict=True)
                records.append((number, [field for field, parse in kept if parse]))
        yield from accepted(records, *(parse for parse in parsers if parse))

    return read


def checkins(content: bytes) -> Iterator[Row]:
    """Reads user, time, latitude, longitude, location between tabs."""
    read = delimited(b"\t", id_of, date_of, None, None, id_of)
    for number, user, time, location in read(content):
        yield number, user, location, time


def read_lines(content: bytes) -> Iterator[Row]:
    """Reads lines of a user and items."""
    records = [
        (number, (line.split()[0], item))
        for number, line in enumerate(lines_of(content), 1)
        for item in line.split()[1:]
    ]
    yield from accepted(records, id_of, id_of)


def read_json(content: bytes) -> Iterator[Row]:
    """Reads an object a line."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs if name in parsers]
        if len(set(names)) < len(names):
            raise ValueError("a member comes twice")
        return dict(pairs)

    records = []
    lines = [line.strip() for line in lines_of(content)]
    try:
        # The first object says which of these there are.
        parsers = _parsers_of(json.loads(lines[0].decode()))
    except (ValueError, TypeError, RecursionError, IndexError) as error:
        raise UnreadableError from error
    for number, line in enumerate(lines, 1):
        try:
            found = json.loads(line.decode(), object_pairs_hook=once)
            records.append((number, [found[name] for name in parsers]))
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    yield from accepted(records, *parsers.values())


def read_netflix(content: bytes) -> Iterator[Row]:
    """Reads ratings below items; a line that is neither hides the item."""
    item: bytes | None = None
    records: list[tuple[int, Sequence[Any]]] = []
    for number, whole in enumerate(lines_of(content), 1):
        line = whole.strip()
        fields = line.split(b",")
        if re.fullmatch(rb"[^,:]+:", line):
            item = line[:-1].rstrip()
        elif len(fields) == 3 and b":" not in line:
            records.append((number, (fields[0], item, fields[1], fields[2])))
        elif line:
            item = None
    yield from accepted(records, id_of, id_of, rating_of, date_of)


def read_matrix(content: bytes) -> Iterator[Row]:
    """Reads a matrix of ratings, the users and items numbered from 0."""
    rows = [line.split() for line in lines_of(content) if line.strip()]
    if len({len(row) for row in rows}) > 1:
        raise UnreadableError
    records = [
        (user + 1, (user, item, cell))
        for user, row in enumerate(rows)
        for item, cell in enumerate(row)
    ]
    found = accepted(records, id_of, id_of, rating_of)
    return (row for row in found if row[3])


def read_tfrecord(content: bytes) -> Iterator[Row]:
    """Reads Examples with TensorFlow."""
    with NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        compression = "GZIP" if content.startswith(b"\x1f\x8b") else ""
        try:
            records = list(tf.data.TFRecordDataset(file.name, compression))
        except tf.errors.OpError as error:
            raise UnreadableError from error
    found = []
    for number, record in enumerate(records, 1):
        try:
            example = tf.train.Example.FromString(record.numpy())
        except DecodeError:
            continue
        features = example.features.feature
        values = {name: _only_value(features[name]) for name in features}
        found.append((number, values))
    # A feature is there if the records have it that are looked at first.
    names = {name for _, values in found for name in values}
    parsers = _parsers_of(names)
    rows = [(number, [row.get(name) for name in parsers]) for number, row in found]
    yield from accepted(rows, *parsers.values())


def _only_value(feature: Any) -> Any:
    kind = feature.WhichOneof("kind")
    values = getattr(feature, kind).value if kind else []
    return values[0] if len(values) == 1 else None


def read_parquet(content: bytes) -> Iterator[Row]:
    """Reads a table row by row, after Arrow has read it whole."""
    try:
        with pq.ParquetFile(
            pa.BufferReader(content), page_checksum_verification=True
        ) as file:
            table = file.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableError from error
    parsers = _parsers_of(table.schema.names)
    if "timestamp" in parsers and pa.types.is_timestamp(table["timestamp"].type):
        times = [_whole_seconds(time) for time in table["timestamp"]]
        table = table.drop_columns(["timestamp"]).append_column("timestamp", [times])
    rows = table.to_pylist()
    records = [
        (number, [row.get(name) for name in parsers])
        for number, row in enumerate(rows, 1)
    ]
    yield from accepted(records, *parsers.values())


def _whole_seconds(time: pa.TimestampScalar) -> int | None:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[time.type.unit]
    return None if time.value is None else time.value // per_second
