"""Blocks of training triplets as bytes, and the TFRecord frame around them.

A record holds a block of rows as packed little-endian columns, one after the other:

    int32 n, int32 k                 rows in the block, negatives for each
    int32[n]     user
    int32[n]     positive
    int32[n, k]  negative
    int32[n, k]  support             see `tfcausal.stats.negatives.Negatives`
    int8 [n, k]  case                CASE_ constants of `tfcausal.stats.negatives`
    float32[n, k] log_q              only where the job was told to write it

The record's length tells whether there is log_q.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfcausal.errors import InputError
from tfcausal.stats.negatives import Float32s, Int8s, Int32s, Negatives

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
        log_q: [n, k] float32 log-probability of each draw; None where it is left out.
    """

    users: Int32s
    positives: Int32s
    negatives: Int32s
    case: Int8s
    support: Int32s
    log_q: Float32s | None = None

    @classmethod
    def from_draw(
        cls,
        users: Int32s,
        items: Int32s,
        drawn: Negatives,
        log_q: Float32s | None = None,
    ) -> "TripletBlock":
        """Joins positives and what was drawn for them."""
        return cls(users, items, drawn.items, drawn.case, drawn.support, log_q)

    def to_bytes(self) -> bytes:
        """Returns the record's bytes."""
        wide = (self.users, self.positives, self.negatives, self.support)
        return b"".join(
            [
                struct.pack("<ii", *self.negatives.shape),
                *(column.astype("<i4").tobytes() for column in wide),
                self.case.astype(np.int8).tobytes(),
                b"" if self.log_q is None else self.log_q.astype("<f4").tobytes(),
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
        with_log_q = record_bytes(rows, width, log_q=True)
        if rows < 0 or width < 1 or len(record) not in (expected, with_log_q):
            raise InputError(
                f"A triplet record of {rows} rows and {width} negatives must have "
                f"{expected} bytes, or {with_log_q} with log_q; got {len(record)}. Run "
                "beam_jobs.triplets again."
            )
        wide = np.frombuffer(record, "<i4", rows * (2 + 2 * width), HEADER_BYTES)
        users, positives, negatives, support = np.split(
            wide, np.cumsum([rows, rows, rows * width])
        )
        case = np.frombuffer(record, np.int8, rows * width, HEADER_BYTES + wide.nbytes)
        shape = (rows, width)
        log_q = None
        if len(record) == with_log_q:
            log_q = np.frombuffer(record, "<f4", offset=expected).reshape(shape)
        return cls(
            users,
            positives,
            negatives.reshape(shape),
            case.reshape(shape),
            support.reshape(shape),
            log_q,
        )


def record_bytes(rows: int, width: int, *, log_q: bool = False) -> int:
    """Returns the length in bytes of a record of `rows` with `width` negatives."""
    return HEADER_BYTES + rows * (8 + (13 if log_q else 9) * width)


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
