"""Records and Examples against TensorFlow's own writer."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError

from tfcausal.stats.record_parsing import (
    BYTES,
    FLOAT,
    INT64,
    Spans,
    find_records,
    masked_crc32c,
    parse_features,
    starts_record,
)


def example(**features: Any) -> bytes:
    """Serializes lists of bytes, floats or integers."""
    made = {}
    for name, values in features.items():
        feature = tf.train.Feature()
        if values and isinstance(values[0], bytes):
            feature.bytes_list.value.extend(values)
        elif values and isinstance(values[0], float):
            feature.float_list.value.extend(values)
        elif values:
            feature.int64_list.value.extend(values)
        made[name] = feature
    content: bytes = tf.train.Example(
        features=tf.train.Features(feature=made)
    ).SerializeToString()
    return content


def spans_of(records: list[bytes]) -> tuple[bytes, Spans]:
    ends = np.cumsum([len(record) for record in records])
    begins = ends - [len(record) for record in records]
    return b"".join(records), Spans(begins, ends)


def test_values_of_every_kind() -> None:
    generator = np.random.default_rng(0)
    rows = []
    for number in range(300):
        row: dict[str, Any] = {
            "user": [b"u" * int(generator.integers(0, 300))],
            "item": [int(generator.integers(-(2**63), 2**63 - 1))],
            "rating": [float(np.float32(generator.normal()))],
            "other": [1] * int(generator.integers(0, 5)),
        }
        if number % 3 == 0:
            del row["rating"]
        rows.append(row)
    content, spans = spans_of([example(**row) for row in rows])
    features = parse_features(content, spans)
    assert not features.malformed.any()
    assert features.kinds_by_name()[b"user"] == BYTES
    assert features.kinds_by_name()[b"item"] == INT64
    for name, kind in (("user", BYTES), ("item", INT64), ("rating", FLOAT)):
        found, wrong = features.column(name, kind)
        assert found.to_pylist() == [row.get(name, [None])[0] for row in rows]
        assert not wrong.any()


def test_numbers_that_are_not_packed() -> None:
    # Other writers put a tag before each number.
    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    def record(feature: bytes) -> bytes:
        entry = field(1, b"x") + field(2, feature)
        return field(1, field(1, entry))

    whole = field(3, b"\x08\x96\x01")
    real = field(2, b"\x0d" + struct.pack("<f", 1.5))
    for feature, kind, value in ((whole, INT64, 150), (real, FLOAT, 1.5)):
        content, spans = spans_of([record(feature)])
        found, wrong = parse_features(content, spans).column("x", kind)
        assert found.to_pylist() == [value]
        assert not wrong.any()
        assert tf.train.Example.FromString(content).features.feature["x"]


@pytest.mark.parametrize(
    ("values", "kind", "found", "is_wrong"),
    [
        ([1, 2], INT64, None, True),
        ([1], BYTES, None, True),
        ([b"a", b"b"], BYTES, None, True),
        ([1.0, 2.0], FLOAT, None, True),
        ([], INT64, None, False),
        ([b""], BYTES, b"", False),
    ],
)
def test_several_values_none_and_another_kind(
    values: list[Any], kind: int, found: Any, is_wrong: bool
) -> None:
    content, spans = spans_of([example(y=[1]), example(x=values), example(x=[7, 7])])
    column, wrong = parse_features(content, spans).column("x", kind)
    assert column.to_pylist()[:2] == [None, found]
    assert wrong.tolist() == [False, is_wrong, True]


def test_records_that_are_no_examples() -> None:
    good = example(x=[5], name=[b"n"])
    wrong = [
        b"not an example",
        good[:-1],
        b"\xff" * 12,
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + good,
        b"\x00" + good,
        b"\x0b",
    ]
    content, spans = spans_of([good, *wrong, b"", good])
    features = parse_features(content, spans)
    assert features.malformed.tolist() == [False] + [True] * len(wrong) + [False] * 2
    column, _ = features.column("x", INT64)
    assert (column[0].as_py(), column[7].as_py(), column[8].as_py()) == (5, None, 5)


def test_damage_never_turns_into_another_value_than_protobufs() -> None:
    # A feature that is not asked for may be broken, so not all that protobuf refuses
    # is refused here; in a file the checksum stands before.
    good = example(user=[b"abc"], item=[123456], rating=[2.5])
    records = [
        good[:place] + bytes([value]) + good[place + 1 :]
        for place in range(len(good))
        for value in range(0, 256, 5)
    ]
    content, spans = spans_of(records)
    features = parse_features(content, spans)
    column, wrong = features.column("item", INT64)
    for record, malformed, found, is_wrong in zip(
        records, features.malformed, column.to_pylist(), wrong, strict=True
    ):
        try:
            parsed = tf.train.Example.FromString(record).features.feature
        except DecodeError:
            continue
        values = list(parsed["item"].int64_list.value) if "item" in parsed else []
        if not malformed and not is_wrong:
            assert values == ([] if found is None else [found])


def test_framing_of_tensorflows_writer(tmp_path: Path) -> None:
    records = [b"x" * size for size in (0, 1, 5, 5, 300, 70_000)]
    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    content = path.read_bytes()
    spans, end = find_records(content)
    assert end == len(content)
    assert [
        content[begin:end] for begin, end in zip(spans.begins, spans.ends, strict=True)
    ] == records
    # Cut anywhere, what lies whole is found.
    ends = [end + 4 for end in spans.ends.tolist()]
    for cut in (0, 5, 12, 20, 36, 60, len(content) - 1):
        found, end = find_records(content[:cut])
        assert end == max([0, *(place for place in ends if place <= cut)])
        assert len(found.begins) == sum(place <= cut for place in ends)
    assert starts_record(content)
    assert not starts_record(b"\x1f\x8b" + content)
    assert not starts_record(content[:11])


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in (b"first", b"second", b"third"):
            writer.write(record)
    content = bytearray(path.read_bytes())
    for place in range(len(content)):
        changed = content.copy()
        changed[place] ^= 0x10
        with pytest.raises(ValueError, match="wrong checksum of the record at byte"):
            find_records(bytes(changed))
    changed = content.copy()
    changed[-1] ^= 1
    with pytest.raises(ValueError, match=f"at byte {1000 + 21 + 22}"):
        find_records(bytes(changed), 1000)


def test_masked_checksum() -> None:
    # record_writer.h: rotate right by 15 bits, then add a constant.
    assert masked_crc32c(0) == 0xA282EAD8
    assert masked_crc32c(0xFFFFFFFF) == 0xA282EAD7
