"""Bytes that Arrow's CSV reader cannot take."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.sources import text
from beam_jobs.sources.utf8 import Utf8Stream, original, restored
from tests.beam_jobs.test_published import read
from tfcausal.errors import InputError

LETTERS = ["a", "\n", "é", "\u20ac", "\U0001f600", "\U0010ff00", "\U0010ffff", "\x01"]
OTHERS = [
    b"\0",
    b"\x80",
    b"\xff",
    b"\xc3",
    b"\xf4\x8f",
    b"\xed\xa0\x80",
    b"\xf4\x8f\xbc",
]


@pytest.mark.parametrize("size", [1, 3, 7, 64, -1])
def test_there_and_back(size: int) -> None:
    generator = np.random.default_rng(abs(size))
    choice = [letter.encode() for letter in LETTERS] + OTHERS
    for num_letters in (0, 1, 5, 200):
        content = b"".join(
            choice[place] for place in generator.integers(0, len(choice), num_letters)
        )
        stream = Utf8Stream(io.BytesIO(content), b"\x01", amid=False)
        parts = []
        while part := stream.read(size):
            parts.append(part)
        # Whole until the end, and text to the end.
        assert all(len(part) == size for part in parts[:-1])
        found = b"".join(parts)
        assert not {"\0", "\x01"} & set(found.decode())
        assert original(found) == content
        batch = pa.record_batch([pa.array([found, None], pa.binary())], ["text"])
        assert restored(batch)["text"].to_pylist() == [content, None]


def test_a_clean_stream_hides_nothing() -> None:
    content = "a\n\u20ac\U0001f600".encode() * 50
    stream = Utf8Stream(io.BytesIO(content), b"\x01", amid=True)
    assert b"".join(iter(lambda: stream.read(9), b"")) == b"\xef\xbb\xbf" + content
    assert not stream.hides


def test_rows_of_the_wrong_form_that_are_no_utf8(tmp_path: Path) -> None:
    content = b"user_id,item_id,rating\na,b,1\na,b\xff\nc\xfe,d,2\ne,f,3\n\xff"
    (tmp_path / "raw.csv").write_bytes(content)
    assert read(tmp_path, "csv") == (
        [("a", "b", 1.0), ("e", "f", 3.0)],
        [
            ("raw.csv", 3, "wrong_field_count"),
            ("raw.csv", 4, "not_utf8"),
            ("raw.csv", 6, "wrong_field_count"),
        ],
    )


def test_no_row_is_lost_beside_a_nul(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [b"u%d\0,i%d" % (number, number) for number in range(60)]
    (tmp_path / "raw.csv").write_bytes(b"user_id,item_id\n" + b"\n".join(rows))
    for size in range(64, 200, 9):
        monkeypatch.setattr(text, "BLOCK_BYTES", size)
        good, bad = read(tmp_path, "csv")
        assert good == []
        numbers = [(number, reason) for _, number, reason in bad]
        assert numbers == [(number, "control_character") for number in range(2, 62)]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_header_that_is_no_utf8(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "raw.csv").write_bytes("user_id,item_id,né\na,b,c\n".encode(encoding))
    with pytest.raises(InputError, match="must have column names in UTF-8"):
        read(tmp_path, "csv")


def test_texts_and_times_of_parquet_that_python_cannot_hold(tmp_path: Path) -> None:
    # A column may be declared text, and its bytes be none.
    data = pa.py_buffer(b"a\xffb")
    offsets = pa.py_buffer(np.asarray([0, 1, 2, 3], np.int32))
    users = pa.Array.from_buffers(pa.string(), 3, [None, offsets, data])
    times = pa.array([1, 2, -(1 << 62)], pa.timestamp("ms"))
    table = pa.table({"user_id": users, "item_id": ["x"] * 3, "timestamp": times})
    pq.write_table(table, tmp_path / "raw.parquet")
    assert read(tmp_path, "parquet") == (
        [("a", "x", 0)],
        [("raw.parquet", 2, "not_utf8"), ("raw.parquet", 3, "bad_timestamp")],
    )
