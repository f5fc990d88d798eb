"""Records of triplets: their bytes, their frame, and what is refused."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfcausal.errors import InputError
from tfcausal.stats.triplet_blocks import TripletBlock, record_bytes, tfrecord_frame


def block() -> TripletBlock:
    return TripletBlock(
        users=np.asarray([7, 8], np.int32),
        positives=np.asarray([1, 2], np.int32),
        negatives=np.asarray([[3, 4, 5], [6, 7, 8]], np.int32),
        case=np.asarray([[1, 2, 0], [2, 1, 1]], np.int8),
        support=np.asarray([[9, 9, 9], [8, 8, 8]], np.int32),
    )


def with_log_q() -> TripletBlock:
    log_q = np.asarray([[-2.25, -1, -0.5], [-4, 0, -8]], np.float32)
    return replace(block(), log_q=log_q)


def test_bytes_are_the_documented_columns() -> None:
    integers = [2, 3, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 8, 8, 8]
    expected = struct.pack("<18i", *integers) + bytes([1, 2, 0, 2, 1, 1])
    assert block().to_bytes() == expected
    assert record_bytes(2, 3) == len(expected)
    expected += struct.pack("<6f", -2.25, -1, -0.5, -4, 0, -8)
    assert with_log_q().to_bytes() == expected
    assert record_bytes(2, 3, log_q=True) == len(expected)


def test_reading_gives_back_what_was_written() -> None:
    read = TripletBlock.from_bytes(block().to_bytes())
    for name in ("users", "positives", "negatives", "case", "support"):
        assert np.array_equal(getattr(read, name), getattr(block(), name))
    assert read.log_q is None
    again = TripletBlock.from_bytes(with_log_q().to_bytes())
    assert again.log_q is not None
    assert again.log_q.tolist() == [[-2.25, -1, -0.5], [-4, 0, -8]]
    assert again.case.tolist() == block().case.tolist()


@pytest.mark.parametrize("cut", [0, 4, 30])
def test_a_truncated_record_is_refused(cut: int) -> None:
    with pytest.raises(InputError, match="must have"):
        TripletBlock.from_bytes(block().to_bytes()[:cut])
    with pytest.raises(InputError, match="or 102 with log_q; got 100"):
        TripletBlock.from_bytes(with_log_q().to_bytes()[:-2])


def test_tensorflow_reads_the_frame(tmp_path: Path) -> None:
    def crc32c(content: bytes) -> int:
        crc = 0xFFFFFFFF
        for byte in content:
            crc ^= byte
            for _ in range(8):
                crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        return crc ^ 0xFFFFFFFF

    records = [block().to_bytes(), b"", b"x" * 1000]
    path = tmp_path / "records"
    path.write_bytes(b"".join(tfrecord_frame(record, crc32c) for record in records))
    read = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    assert list(read) == records
