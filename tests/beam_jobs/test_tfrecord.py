"""TFRecord files as input."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beam_jobs.ingest import IngestOptions, run
from beam_jobs.sources.asked import AskedColumns
from tests.beam_jobs.raw import raw_rows, write_csv
from tests.beam_jobs.test_published import read
from tfcausal.errors import InputError
from tfcausal.schema.manifest import checksums
from tfcausal.stats.crc32c import crc32c
from tfcausal.stats.record_parsing import masked_crc32c


def field(number: int, content: bytes) -> bytes:
    """Encodes a length-delimited field, as Protocol Buffers are written."""
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def varint(value: int) -> bytes:
    digits = b""
    while value > 0x7F:
        digits += bytes([value & 0x7F | 0x80])
        value >>= 7
    return digits + bytes([value])


def example(**features: Any) -> bytes:
    """Encodes a tf.train.Example with one value for each feature."""
    entries = b""
    for name, value in features.items():
        if isinstance(value, str):
            values = field(1, field(1, value.encode()))
        elif isinstance(value, float):
            values = field(2, field(1, np.float32(value).tobytes()))
        else:
            values = field(3, field(1, varint(value)))
        entries += field(1, field(1, name.encode()) + field(2, values))
    return field(1, entries)


def framed(records: list[bytes]) -> bytes:
    content = b""
    for record in records:
        length = len(record).to_bytes(8, "little")
        for part in (length, record):
            content += part + masked_crc32c(crc32c(part)).to_bytes(4, "little")
    return content


ROWS = [
    example(user_id="a", item_id=7, rating=4.5, timestamp=1000, like=1),
    example(timestamp=2000, item_id=8, user_id="b", like=0, rating=1.0),
]


@pytest.mark.parametrize("gz", [False, True])
def test_examples_and_bad_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gz: bool
) -> None:
    records = [
        ROWS[0],
        b"no example",
        example(user_id="a", item_id="seven", rating=1.0, timestamp=3, like=1),
        example(user_id="a", item_id=9, rating=1.0, like=1),
        ROWS[1],
    ]
    content = framed(records)
    # TensorFlow's own writer gives compressed files no ending.
    path = tmp_path / "part-0.tfrecord"
    path.write_bytes(gzip.compress(content) if gz else content)
    asked = AskedColumns(labels=("like",))
    expected = (
        [("a", "7", 4.5, 1000, 1.0), ("b", "8", 1.0, 2000, 0.0)],
        [
            (path.name, 2, "bad_example"),
            (path.name, 3, "bad_example"),
            (path.name, 4, "bad_timestamp"),
        ],
    )
    assert read(path, "tfrecord", asked) == expected
    monkeypatch.setattr("beam_jobs.sources.tfrecord.BLOCK_BYTES", 64)
    assert read(path, "tfrecord", asked) == expected


@pytest.mark.parametrize("gz", [False, True])
def test_damage_fails_the_job(tmp_path: Path, gz: bool) -> None:
    content = framed(ROWS * 50)
    for name, damaged, match in (
        ("length", b"\x01" + content[1:], "wrong checksum of the record at byte 0"),
        (
            "content",
            content[:-30] + b"?" + content[-29:],
            "wrong checksum of the record at byte",
        ),
        ("cut", content[:-10], "is cut off"),
    ):
        path = tmp_path / name
        path.write_bytes(gzip.compress(damaged) if gz else damaged)
        options = IngestOptions(str(path), "tfrecord", tmp_path / "dataset")
        with pytest.raises(InputError, match=match):
            run(options)
        assert not options.output.exists()
    path.write_bytes(gzip.compress(content)[:-20])
    with pytest.raises(InputError, match="must be a whole TFRecord file"):
        run(options)
    path.write_bytes(b"user_id,item_id\na,b\n")
    with pytest.raises(InputError, match="must be a whole TFRecord file"):
        run(options)
    path.write_bytes(framed([b"a block of another making"]))
    with pytest.raises(InputError, match=r"must hold tf\.train\.Example protos"):
        run(options)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="at least one row"):
        run(options)
    path.write_bytes(framed([example(who="a", item_id="b")]))
    with pytest.raises(InputError, match="one column `user_id`; got item_id, who"):
        run(options)


def test_the_same_data_set_as_from_csv(tmp_path: Path) -> None:
    rows = raw_rows()
    write_csv(tmp_path / "raw.csv", rows)
    names = ("user_id", "item_id", "rating", "timestamp")
    records = [example(**dict(zip(names, row, strict=True))) for row in rows]
    (tmp_path / "raw.tfrecord").write_bytes(framed(records))
    found = []
    for form in ("csv", "tfrecord"):
        dataset = tmp_path / form
        run(IngestOptions(str(tmp_path / f"raw.{form}"), form, dataset))
        found.append(checksums(dataset))
    assert found[0] == found[1]
