"""Texts, numbers and times of raw columns, against Python's own."""

import datetime

import numpy as np
import pyarrow as pa
import pytest

from tfcausal.stats.raw_columns import (
    is_missing,
    parse_integer,
    parse_real,
    parse_time,
)


def seconds(texts: list[str]) -> list[int | None]:
    _, found = parse_time(pa.array([text.encode() for text in texts]), "iso")
    values: list[int | None] = found.to_pylist()
    return values


def test_dates_against_datetime() -> None:
    generator = np.random.default_rng(0)
    moments = [
        datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        + datetime.timedelta(seconds=int(offset))
        for offset in [0, *generator.integers(0, 150 * 366 * 86_400, 2_000)]
    ]
    expected = [int(moment.timestamp()) for moment in moments]
    for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S"):
        assert seconds([moment.strftime(form) for moment in moments]) == expected
    days = [moment.strftime("%Y-%m-%d") for moment in moments]
    assert seconds(days) == [value // 86_400 * 86_400 for value in expected]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2020-02-29", 1582934400),
        ("2019-02-29", None),
        ("1900-02-29", None),
        ("2000-02-29", 951782400),
        ("2020-04-31", None),
        ("2020-00-10", None),
        ("2020-13-10", None),
        ("2020-01-00", None),
        ("2020-1-2", None),
        ("20200102", None),
        ("2020-01-02T24:00:00", None),
        ("2020-01-02T23:60", None),
        ("2020-01-02T23:59:60", None),
        ("2020-01-02T23:59", 1578009540),
        ("2020-01-02T23:59:59.999", 1578009599),
        (" 2020-01-02 ", 1577923200),
        ("2020-01-02T00:00:00+01:00", 1577919600),
        ("2020-01-02T00:00:00-0130", 1577928600),
        ("1970-01-01T00:00:00+01:00", None),
        ("1969-12-31", None),
        ("1577923200", None),
        ("", None),
    ],
)
def test_single_dates(text: str, value: int | None) -> None:
    assert seconds([text]) == [value]


def test_units_of_numbers() -> None:
    for unit, values, expected in (
        ("ms", [b"1617812345678", b"999", b"-1", b"5.5"], [1617812345, 0, None, 0]),
        ("days", [b"1", b"14.5", b"999999999999999999"], [86_400, 1_209_600, None]),
    ):
        _, found = parse_time(pa.array(values), unit)
        assert found.to_pylist() == expected
    _, found = parse_time(pa.array([1999, -1, None]), "ms")
    assert found.to_pylist() == [1, None, None]
    _, found = parse_time(pa.array([1999.9, float("nan"), 1e30]), "ms")
    assert found.to_pylist() == [1, None, None]
    # A type that is a time has its own unit.
    _, found = parse_time(pa.array([5_000], pa.timestamp("ms")), "days")
    assert found.to_pylist() == [5]
    for unit, per_second in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        values = [0, per_second, 2 * per_second - 1, -1, -per_second, None]
        found = parse_time(pa.array(values, pa.timestamp(unit, "UTC")), "s")[1]
        assert found.to_pylist() == [0, 1, 1, None, None, None]
    _, found = parse_time(pa.array([1, -1], pa.date32()), "s")
    assert found.to_pylist() == [86_400, None]


def test_whole_numbers() -> None:
    texts = [b"12", b"+3", b"-4", b" 5 ", b"1.0", b"1e3", b"", b"9" * 19, b"\xff"]
    text, found = parse_integer(pa.array(texts))
    assert found.to_pylist() == [12, 3, -4, 5, *[None] * 5]
    assert text is not None
    assert text.not_utf8.tolist() == [False] * 8 + [True]
    _, found = parse_integer(pa.array([1.0, 1.5, float("nan"), 1e20]))
    assert found.to_pylist() == [1, None, None, None]
    _, found = parse_integer(pa.array([True, None]))
    assert found.to_pylist() == [1, None]
    _, found = parse_real(pa.array([True, False]))
    assert found.to_pylist() == [1.0, 0.0]


def test_what_is_missing() -> None:
    texts = pa.array([b"", b"NaN", b"nan", b"0", b"null", None, b"\xff"])
    expected = [True, True, True, False, False, True, False]
    assert is_missing(texts).tolist() == expected
    assert is_missing(pa.array([1.0, float("nan"), None])).tolist() == [0, 1, 1]
    assert is_missing(pa.array([1, None])).tolist() == [False, True]
