"""Triplets as serialized tf.train.Example protos, a row each, for others' readers.

Written by hand because workers do without TensorFlow: all rows have the same fields of
fixed width, so a block of them is one array of bytes. Slower to read and larger than
blocks (`tfcausal.stats.triplet_blocks`).

    user, positive       int64 [1]
    negative, case       int64 [k]
    support              int64 [k], see `tfcausal.stats.negatives.Negatives`
    log_q                float [k], only where the block has it
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from tfcausal.stats.crc32c import crc32c_rows
from tfcausal.stats.triplet_blocks import TripletBlock

_MASK_DELTA = np.uint32(0xA282EAD8)
_VARINT_BYTES = 5
"""Enough for 31 bits; longer than needed, yet valid, so that rows have one length."""


def encode_examples(block: TripletBlock) -> npt.NDArray[np.uint8]:
    """Encodes a block of triplets.

    Args:
        block: [n] rows with k negatives each.
    Returns:
        [n, num_bytes] uint8, a serialized tf.train.Example in each row.
    """
    columns: dict[str, npt.NDArray[Any]] = {
        "case": block.case,
        **({} if block.log_q is None else {"log_q": block.log_q}),
        "negative": block.negatives,
        "positive": block.positives[:, None],
        "support": block.support,
        "user": block.users[:, None],
    }
    entries = [_entry(name, values) for name, values in columns.items()]
    return _field(np.concatenate(entries, axis=1))


def frame_rows(records: npt.NDArray[np.uint8]) -> bytes:
    """Returns records of one length as they stand in a TFRecord file.

    Args:
        records: [n, num_bytes] uint8.
    """
    num_rows, size = records.shape
    length = np.frombuffer(np.asarray([size], "<u8").tobytes(), np.uint8)
    parts = [
        np.broadcast_to(length, (num_rows, len(length))),
        np.broadcast_to(_masked(crc32c_rows(length[None, :])), (num_rows, 4)),
        records,
        _masked(crc32c_rows(records)),
    ]
    return np.concatenate(parts, axis=1).tobytes()


def _masked(crc: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    """Returns [n, 4] the bytes of TFRecord's masked checksums."""
    rotated = (crc >> np.uint32(15)) | (crc << np.uint32(17))
    return (rotated + _MASK_DELTA).astype("<u4").view(np.uint8).reshape(len(crc), 4)


def _entry(name: str, values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Encodes Features.feature[name] = Feature(int64_list=Int64List(value=row)).

    Floats become Feature(float_list=FloatList(value=row)).
    """
    if values.dtype == np.float32:
        floats = np.ascontiguousarray(values, "<f4").view(np.uint8)
        feature = _field(_field(floats), number=2)
    else:
        feature = _field(_field(_varints(values)), number=3)
    key = np.broadcast_to(
        np.frombuffer(name.encode(), np.uint8), (len(values), len(name))
    )
    return _field(np.concatenate([_field(key), _field(feature, number=2)], axis=1))


def _field(content: npt.NDArray[np.uint8], number: int = 1) -> npt.NDArray[np.uint8]:
    """Puts the tag of a length-delimited field and its length before each row."""
    length = content.shape[1]
    head = [number << 3 | 2]
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    tag = np.broadcast_to(np.asarray(head, np.uint8), (len(content), len(head)))
    return np.concatenate([tag, content], axis=1)


def _varints(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Encodes [n, k] integers in [0, 2^31) as [n, k * _VARINT_BYTES] bytes."""
    shifts = np.arange(_VARINT_BYTES, dtype=np.int64) * 7
    digits = (values.astype(np.int64)[:, :, None] >> shifts) & 0x7F
    digits[:, :, :-1] |= 0x80
    return digits.astype(np.uint8).reshape(len(values), -1)
