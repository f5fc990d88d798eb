"""Blocks of training triplets as bytes, and the TFRecord frame around them.

A record holds a block of rows as packed little-endian columns, one after the other:

    int32 n, int32 k                 rows in the block, negatives for each
    int32[n]     user
    int32[n]     positive
    int32[n, k]  negative
    int32[n, k]  support             the draw's probability was 1 / support
    int8 [n, k]  case                CASE_ constants of `tfcausal.stats.negatives`
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfcausal.errors import InputError
from tfcausal.stats.negatives import Int8s, Int32s, Negatives

HEADER_BYTES = 8
_MASK_DELTA = 0xA282EAD8


@dataclass(frozen=True)
class TripletBlock:
    """One block of positives with their negatives.

    Attributes:
        users: [n] int32.
        positives: [n] int32.
        negatives: [n, k] int32.
        case: [n, k] int8.
        support: [n, k] int32.
    """

    users: Int32s
    positives: Int32s
    negatives: Int32s
    case: Int8s
    support: Int32s

    @classmethod
    def from_draw(
        cls, users: Int32s, items: Int32s, drawn: Negatives
    ) -> "TripletBlock":
        """Joins positives and what was drawn for them."""
        return cls(users, items, drawn.items, drawn.case, drawn.support)

    def to_bytes(self) -> bytes:
        """Returns the record's bytes."""
        wide = (self.users, self.positives, self.negatives, self.support)
        return b"".join(
            [
                struct.pack("<ii", *self.negatives.shape),
                *(column.astype("<i4").tobytes() for column in wide),
                self.case.astype(np.int8).tobytes(),
            ]
        )

    @classmethod
    def from_bytes(cls, record: bytes) -> "TripletBlock":
        """Reads a record.

        Raises:
            InputError: If its length does not fit its header.
        """
        if len(record) < HEADER_BYTES:
            raise InputError(f"A triplet record must have a header; got {record!r}.")
        rows, width = struct.unpack_from("<ii", record)
        expected = record_bytes(rows, width)
        if rows < 0 or width < 1 or len(record) != expected:
            raise InputError(
                f"A triplet record of {rows} rows and {width} negatives must have "
                f"{expected} bytes; got {len(record)}. Run beam_jobs.triplets again."
            )
        wide = np.frombuffer(record, "<i4", rows * (2 + 2 * width), HEADER_BYTES)
        users, positives, negatives, support = np.split(
            wide, np.cumsum([rows, rows, rows * width])
        )
        case = np.frombuffer(record, np.int8, rows * width, HEADER_BYTES + wide.nbytes)
        shape = (rows, width)
        return cls(
            users,
            positives,
            negatives.reshape(shape),
            case.reshape(shape),
            support.reshape(shape),
        )


def record_bytes(rows: int, width: int) -> int:
    """Returns the length in bytes of a record of `rows` with `width` negatives."""
    return HEADER_BYTES + rows * (8 + 9 * width)


def tfrecord_frame(record: bytes, crc32c: Callable[[bytes], int]) -> bytes:
    """Returns a record as it stands in a TFRecord file.

    Args:
        record: The bytes of the record.
        crc32c: The CRC-32C (Castagnoli) of some bytes.
    """
    length = struct.pack("<Q", len(record))
    return b"".join(
        [
            length,
            struct.pack("<I", _masked(crc32c(length))),
            record,
            struct.pack("<I", _masked(crc32c(record))),
        ]
    )


def _masked(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF
