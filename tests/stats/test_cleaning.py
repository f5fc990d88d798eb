"""Which raw rows are used and which are rejected, and why."""

import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tfcausal.errors import InputError
from tfcausal.stats.cleaning import (
    CleanBlock,
    RawBlock,
    clean,
    extras_of,
    labels_of,
    require_types,
)


def cleaned(
    users: Any, items: Any, ratings: Any = None, timestamps: Any = None
) -> CleanBlock:
    def array(values: Any) -> pa.Array | None:
        return None if values is None else pa.array(values)

    count = len(users)
    raw = RawBlock(
        array(users),
        array(items),
        array(ratings),
        array(timestamps),
        np.arange(2, 2 + count),
        np.arange(100, 100 + count),
    )
    return clean(raw, "file.csv")


def reasons(block: CleanBlock) -> list[str]:
    found: list[str] = block.rejected["reason"].to_pylist()
    return found


def test_good_rows_keep_their_values() -> None:
    block = cleaned(
        [b"u1", b"", b"u2"], [b"i", b"i", b"\xc3\xa9"], [b"4", b"1", b"2.5"]
    )
    assert block.rows.to_pydict() == {
        "user_id": ["u1", "u2"],
        "item_id": ["i", "é"],
        "rating": [4.0, 2.5],
    }
    assert block.rejected.to_pylist() == [
        {"source": "file.csv", "row": 3, "reason": "empty_user", "text": ",i,1"}
    ]


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        (b"", "empty_user"),
        (None, "empty_user"),
        (b"a\xff", "not_utf8"),
        (b"a\tb", "control_character"),
        (b"a\x00", "control_character"),
        (b"a\xc2\x85", "control_character"),
    ],
)
def test_bad_user_ids(user: bytes | None, reason: str) -> None:
    assert reasons(cleaned([b"ok", user], [b"i", b"i"])) == [reason]


@pytest.mark.parametrize("kind", [pa.binary(), pa.string(), pa.large_string()])
def test_a_missing_item_is_rejected_in_every_type_of_text(kind: pa.DataType) -> None:
    items = pa.array(["i", None, ""], kind)
    assert reasons(cleaned(["a", "b", "c"], items)) == ["empty_item", "empty_item"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4.0),
        (" 3.5 ", 3.5),
        ("-1e-2", -0.01),
        ("+2", 2.0),
        (".5", 0.5),
        ("nan", None),
        ("NaN", None),
        ("inf", None),
        ("-Infinity", None),
        ("1e39", None),
        ("1e999", None),
        ("four", None),
        ("", None),
        ("1_0", None),
        ("0x10", None),
        ("1,5", None),
    ],
)
def test_ratings_as_text(text: str, value: float | None) -> None:
    block = cleaned(["a"], ["i"], [text.encode()])
    if value is None:
        assert reasons(block) == ["bad_rating"]
    else:
        assert block.rows["rating"].to_pylist() == [np.float32(value)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("881250949", 881250949),
        ("0", 0),
        ("881250949.0", 881250949),
        ("12.9", 12),
        ("999999999999999999", 999999999999999999),
        ("-1", None),
        ("1e9", None),
        ("9999999999999999999", None),
        ("2020-01-01", None),
        ("", None),
    ],
)
def test_timestamps_as_text(text: str, value: int | None) -> None:
    block = cleaned(["a"], ["i"], None, [text.encode()])
    if value is None:
        assert reasons(block) == ["bad_timestamp"]
    else:
        assert block.rows["timestamp"].to_pylist() == [value]


def test_a_row_is_judged_alone() -> None:
    # Next to rows that cannot be parsed, good ones keep the values they have alone.
    texts = [b"1", b"x", b"2.5", b"nan", b" 3"]
    together = cleaned([b"u"] * 5, [b"i"] * 5, texts).rows["rating"].to_pylist()
    alone = [
        cleaned([b"u"], [b"i"], [text]).rows["rating"].to_pylist() for text in texts
    ]
    assert (
        together == [value for values in alone for value in values] == [1.0, 2.5, 3.0]
    )


def test_numbers_of_parquet() -> None:
    block = cleaned(
        [1, 2, 3, None, 5],
        [7, 8, 9, 9, 9],
        pa.array([1.0, float("nan"), 2.0, 3.0, float("inf")]),
        pa.array([5, 6, -1, 7, 8]),
    )
    assert block.rows["user_id"].to_pylist() == ["1"]
    assert reasons(block) == ["bad_rating", "bad_timestamp", "empty_user", "bad_rating"]


def test_times_and_fractions_of_seconds() -> None:
    moment = datetime.datetime(1970, 1, 2, 0, 0, 1, 999, tzinfo=datetime.UTC)
    times = pa.array([moment, None], pa.timestamp("us", "UTC"))
    block = cleaned(["a", "b"], ["i", "i"], None, times)
    assert block.rows["timestamp"].to_pylist() == [86_401]
    assert reasons(block) == ["bad_timestamp"]
    block = cleaned(["a", "b"], ["i", "i"], None, [1.9, float("nan")])
    assert block.rows["timestamp"].to_pylist() == [1]


def test_long_texts_are_cut() -> None:
    block = cleaned([b"x" * 5_000], [b""])
    assert block.rejected["text"].to_pylist() == ["x" * 200]


def test_carried_columns() -> None:
    carried = (*labels_of(["like"]), *extras_of(["length?", "tab:int64", "size"]))
    like, length, tab, size = carried
    raw = RawBlock(
        pa.array([b"u"] * 7),
        pa.array([b"i"] * 7),
        None,
        None,
        np.arange(7),
        np.arange(7),
        carried=(
            (like, pa.array([b"1", b"", b"0", b"0", b"0", b"0", b"0"])),
            (length, pa.array([b"", b"1", b"nan", b"x", b"2", b"3", b"\xff"])),
            (tab, pa.array([7, 1, 2, 3, None, 5, 6])),
            (size, pa.array([0.5, 1, 2, 3, 4, float("nan"), 5])),
        ),
    )
    block = clean(raw, "file.csv")
    table = block.rows.to_pydict()
    assert (table["like"], table["tab"], table["size"]) == ([1, 0], [7, 2], [0.5, 2])
    assert np.isnan(table["length"]).all()
    assert [str(block.rows.schema.field(c.name).type) for c in carried] == [
        "float",
        "float",
        "int64",
        "float",
    ]
    found = dict(zip(block.rejected["row"].to_pylist(), reasons(block), strict=True))
    bad = {1: "bad_label", 3: "bad_extra", 4: "bad_extra", 5: "bad_extra"}
    assert found == bad | {6: "not_utf8"}
    assert block.rejected["text"].to_pylist()[0] == "u,i,,1,1,1.0"


def test_types_that_cannot_be_carried() -> None:
    schema = pa.schema([("a", pa.bool_()), ("b", pa.list_(pa.int8()))])
    require_types(schema, {}, "file.parquet", labels_of(["a"]))
    with pytest.raises(InputError, match="label column `b` must hold numbers"):
        require_types(schema, {}, "file.parquet", labels_of(["b"]))


def test_types_that_cannot_be_ids_or_numbers_are_refused() -> None:
    schema = pa.schema(
        [("u", pa.float64()), ("i", pa.int64()), ("r", pa.bool_()), ("t", pa.string())]
    )
    names = {"user": "i", "item": "i", "rating": None, "timestamp": "t"}
    require_types(schema, names, "file.parquet")
    with pytest.raises(InputError, match="user column `u` must hold text or integers"):
        require_types(schema, names | {"user": "u"}, "file.parquet")
    with pytest.raises(InputError, match="rating column `r` must hold numbers"):
        require_types(schema, names | {"rating": "r"}, "file.parquet")
