"""TFRecord files of tf.train.Example protos, plain or gzip, checksums verified."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from beam_jobs.sources.text import BLOCK_BYTES, first_line
from beam_jobs.sources.units import InputFile, SourceBlock, SourceBlocks, SourceUnit
from tfcausal.errors import InputError
from tfcausal.schema.paths import as_path, open_decompressed
from tfcausal.stats.cleaning import BAD_EXAMPLE, rejected_table
from tfcausal.stats.record_parsing import (
    BYTES,
    HEAD_BYTES,
    Spans,
    find_records,
    parse_features,
    starts_record,
)

_GZIP = b"\x1f\x8b"
_LOOK_BYTES = 1 << 16
"""The records in so many bytes decide what features a file has, and of what kind."""


def feature_names(file: InputFile) -> list[str]:
    """Returns the names of the features at the beginning of a file.

    Raises:
        InputError: If it is no TFRecord file of Examples.
    """
    found = [name.decode("utf-8", "replace") for name in _kinds(file.path)]
    if not found and next(_blocks(file.path, _LOOK_BYTES), None) is not None:
        raise InputError(
            f"`{file.path}` must hold tf.train.Example protos; its first records have "
            "no feature. Check the file and --format."
        )
    return sorted(found)


def read_tfrecord(unit: SourceUnit) -> SourceBlocks:
    """Reads features of a single value.

    Args:
        unit: A whole file of kind "tfrecord". Records with several values, or with one
            of another kind than the first records', are rejected.
    Yields:
        Its records in order.
    Raises:
        InputError: If a checksum is wrong or the file is cut off.
    """
    kinds = _kinds(unit.file.path)
    done = unit.first_row
    for content, records in _blocks(unit.file.path, BLOCK_BYTES):
        features = parse_features(content, records)
        bad = features.malformed.copy()
        columns = {}
        for name in unit.columns.wanted:
            columns[name], wrong = features.column(
                name, kinds.get(name.encode()) or BYTES
            )
            bad |= wrong
        numbers = done + np.arange(len(bad), dtype=np.int64)
        done += len(bad)
        good, wrong_rows = np.flatnonzero(~bad), np.flatnonzero(bad)
        chosen = pa.array(good)
        raw = unit.columns.raw_block(
            {name: column.take(chosen) for name, column in columns.items()}.__getitem__,
            numbers[good] + 1,
            unit.first_position + numbers[good],
        )
        rejected = rejected_table(
            unit.file.name,
            numbers[wrong_rows] + 1,
            [BAD_EXAMPLE] * len(wrong_rows),
            [_shown(content, records, row) for row in wrong_rows.tolist()],
        )
        yield SourceBlock(raw, rejected)


def _shown(content: bytes, records: Spans, row: int) -> str:
    record = content[records.begins[row] : records.ends[row]]
    return record[:BLOCK_BYTES].decode("utf-8", "backslashreplace")


def _kinds(path: str) -> dict[bytes, int]:
    for content, records in _blocks(path, _LOOK_BYTES):
        return parse_features(content, records).kinds_by_name()
    return {}


def _blocks(path: str, num_bytes: int) -> Iterator[tuple[bytes, Spans]]:
    """Yields bytes, so many at once, and the records that lie whole in them."""
    offset = 0
    try:
        with as_path(path).open("rb") as file:
            head = file.read(HEAD_BYTES)
        # A length whose bytes look like gzip's has a checksum that does not.
        gzip = head.startswith(_GZIP) and not starts_record(head)
        rest = b""
        with open_decompressed(path, "gzip" if gzip else None) as stream:
            while more := stream.read(num_bytes):
                content = rest + more
                records, end = find_records(content, offset)
                if end:
                    yield content, records
                rest = content[end:]
                offset += end
        if rest:
            raise ValueError(f"the record at byte {offset} is cut off")
    except (ValueError, pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"`{path}` must be a whole TFRecord file, plain or gzip; "
            f"{first_line(error)}. Copy the file again, or check --format."
        ) from error
