"""Columns of a raw input, whatever their type, as texts, numbers and times.

Each value is held against one grammar, and only what fits is cast, so that a value's
fate never depends on its neighbours in the block. A block whose texts are all plain
whole numbers, as most are, is cast as a whole.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bools = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]

TimestampUnit = Literal["s", "ms", "days", "iso"]
TIMESTAMP_UNITS: tuple[TimestampUnit, ...] = ("s", "ms", "days", "iso")

DAY_SECONDS = 86_400
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}

_MAX_DIGITS = 18
_DENSE = 4
_CONTROL = r"\p{Cc}"
_REAL = r"^[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,2})?$"
_INTEGER = r"^[+-]?\d{1,18}$"
_TIME = r"^\+?\d{1,18}(\.\d*)?$"
_DATE = (
    r"^(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})"
    r"(?:[T ](?P<hour>\d{2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.\d+)?)?"
    r"(?:Z|(?P<sign>[+-])(?P<zone_hour>\d{2}):?(?P<zone_minute>\d{2}))?)?$"
)
_MONTH_DAYS = np.asarray([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


@dataclass(frozen=True)
class TextColumn:
    """A column of texts, its distinct values looked at once each.

    Attributes:
        strings: Dictionary array of strings; null where the text was missing or is no
            UTF-8.
        not_utf8: [n] whether the text is no UTF-8.
    """

    strings: pa.DictionaryArray
    not_utf8: Bools

    @classmethod
    def of(cls, column: pa.Array) -> "TextColumn":
        """Reads a column of integers, strings or bytes, as a dictionary or not."""
        if not pa.types.is_dictionary(column.type):
            numbers = _plain_numbers(column)
            column = _encoded(column if numbers is None else numbers)
        values, unreadable = _decode(column.dictionary)
        indices = column.indices.cast(pa.int32())
        if not unreadable.any():
            strings = pa.DictionaryArray.from_arrays(indices, values)
            return cls(strings, np.zeros(len(column), bool))
        codes = indices.fill_null(-1).to_numpy(zero_copy_only=False)
        not_utf8 = np.append(unreadable, False)[codes]
        missing = not_utf8 | (codes < 0)
        strings = pa.DictionaryArray.from_arrays(pa.array(codes, mask=missing), values)
        return cls(strings, not_utf8)

    @property
    def codes(self) -> npt.NDArray[np.int32]:
        """[n] code of each text, -1 where missing."""
        filled: npt.NDArray[np.int32] = self.strings.indices.fill_null(-1).to_numpy(
            zero_copy_only=False
        )
        return filled

    @property
    def empty(self) -> Bools:
        """[n] whether there is no text."""
        return self._each(pc.equal(self.strings.dictionary, ""), missing=True)

    @property
    def with_control(self) -> Bools:
        """[n] whether there is a control character in each text."""
        letters, _ = _letters(self.strings.dictionary.cast(pa.binary()))
        # One takes a byte below 32, byte 127, or byte 0xC2 and another.
        if not ((letters < 32) | (letters == 127) | (letters == 0xC2)).any():
            return np.zeros(len(self.strings), bool)
        return self.matches(_CONTROL)

    def matches(self, pattern: str) -> Bools:
        """Returns [n] whether the pattern is found in each text."""
        found = pc.match_substring_regex(self.strings.dictionary, pattern)
        return self._each(found, missing=False)

    def numbers(
        self, pattern: str, number_type: pa.DataType, *, drop: str = r"^\+"
    ) -> pa.Array:
        """Returns [n] the numbers that texts of a pattern say, null for the others.

        Args:
            pattern: What can be cast, white space around it aside.
            number_type: Of the result.
            drop: What to take out of a text before.
        """
        fits = pc.match_substring_regex(self._trimmed, pattern)
        kept = pc.if_else(fits, self._trimmed, None)
        kept = pc.replace_substring_regex(kept, drop, "")
        return kept.cast(number_type).take(self.strings.indices)

    def dates(self) -> pa.Array:
        """Returns [n] int64 seconds since 1970 of dates, null for other texts."""
        return _seconds_of_dates(self._trimmed).take(self.strings.indices)

    @property
    def _trimmed(self) -> pa.Array:
        return pc.utf8_trim_whitespace(self.strings.dictionary)

    def _each(self, of_values: pa.Array, *, missing: bool) -> Bools:
        flags = _flags(of_values.fill_null(missing))
        if not (flags.any() or (missing and self.strings.null_count)):
            return np.zeros(len(self.strings), bool)
        result: Bools = np.append(flags, missing)[self.codes]
        return result


def is_text(found: pa.DataType) -> bool:
    """Returns whether a type holds texts."""
    return bool(
        pa.types.is_string(found)
        or pa.types.is_large_string(found)
        or pa.types.is_string_view(found)
        or pa.types.is_binary(found)
        or pa.types.is_large_binary(found)
    )


def is_time(found: pa.DataType) -> bool:
    """Returns whether a type holds points in time."""
    return bool(pa.types.is_timestamp(found) or pa.types.is_date(found))


def parse_real(column: pa.Array) -> tuple[TextColumn | None, pa.Array]:
    """Reads real numbers.

    Returns:
        The texts where the column has texts, and [n] float32, null where there is no
        finite number.
    """
    text = None
    if not _is_number(column.type):
        text = TextColumn.of(column)
        column = text.numbers(_REAL, pa.float64())
    numbers = column.cast(pa.float32(), safe=False)
    return text, pc.if_else(pc.is_finite(numbers), numbers, None)


def parse_integer(column: pa.Array) -> tuple[TextColumn | None, pa.Array]:
    """Reads whole numbers of at most 18 digits.

    Returns:
        The texts where the column has texts, and [n] int64, null where there is none.
    """
    text = None
    if pa.types.is_floating(column.type):
        whole = pc.and_(pc.equal(column, pc.floor(column)), _below(column, 1e18))
        column = pc.if_else(whole, column, None)
    elif (numbers := _plain_numbers(column)) is not None:
        column = numbers
    elif not _is_number(column.type):
        text = TextColumn.of(column)
        column = text.numbers(_INTEGER, pa.int64())
    return text, column.cast(pa.int64(), safe=False)


def parse_time(
    column: pa.Array, unit: TimestampUnit
) -> tuple[TextColumn | None, pa.Array]:
    """Reads times.

    Args:
        column: Texts, numbers or times; the unit of times is their own.
        unit: Seconds, milliseconds or days since 1970, or texts such as 2020-01-31,
            2020-01-31 23:59 or 2020-01-31T23:59:59.5+01:00, in UTC without a zone.
    Returns:
        The texts where the column has texts, and [n] int64 whole seconds since 1970,
        null where there is no time or one before.
    """
    text = None
    per_second = 1_000 if unit == "ms" else 1
    if is_time(column.type):
        if pa.types.is_date(column.type):
            column = column.cast(pa.timestamp("s"))
        per_second = _PER_SECOND[column.type.unit]
        column = column.cast(pa.int64())
        unit = "s"
    elif unit == "iso":
        text = TextColumn.of(column)
        column = text.dates()
    elif pa.types.is_floating(column.type):
        # From here on, a float64 may stand for another whole number than was written.
        column = pc.floor(pc.if_else(_below(column, 1 << 53), column, None))
    elif (numbers := _plain_numbers(column)) is not None:
        column = numbers
    elif not pa.types.is_integer(column.type):
        text = TextColumn.of(column)
        column = text.numbers(_TIME, pa.int64(), drop=r"^\+|\.\d*$")
    seconds = column.cast(pa.int64(), safe=False)
    if per_second > 1:
        seconds = pc.divide(seconds, per_second)
    if unit == "days":
        # A number of days that overflows is no time either.
        seconds = pc.if_else(pc.less(seconds, 1 << 40), seconds, None)
        seconds = pc.multiply(seconds, DAY_SECONDS)
    return text, pc.if_else(pc.greater_equal(column.cast(pa.int64()), 0), seconds, None)


def is_missing(column: pa.Array) -> Bools:
    """Returns [n] whether there is no value: null, an empty text, NaN or "nan"."""
    if pa.types.is_floating(column.type):
        return _flags(pc.is_null(column, nan_is_null=True))
    if _is_number(column.type):
        return nulls(column)
    text = TextColumn.of(column)
    return (text.empty | text.matches(r"^(?i)nan$")) & ~text.not_utf8


def nulls(column: pa.Array) -> Bools:
    """Returns [n] whether each value is null."""
    return _flags(column.is_null())


def _is_number(found: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(found)
        or pa.types.is_floating(found)
        or pa.types.is_boolean(found)
    )


def _below(column: pa.Array, limit: float) -> pa.Array:
    return pc.and_(pc.is_finite(column), pc.less(pc.abs(column), limit))


def _flags(found: pa.Array) -> Bools:
    flags: Bools = found.to_numpy(zero_copy_only=False)
    return flags


def _encoded(column: pa.Array) -> pa.DictionaryArray:
    """Returns a column as a dictionary array."""
    if column.type not in (pa.int32(), pa.int64()) or column.null_count:
        return column.dictionary_encode()
    least, largest = (bound.as_py() or 0 for bound in pc.min_max(column).values())
    if largest - least > _DENSE * len(column):
        return column.dictionary_encode()
    # A table of the numbers between is faster than one of hashes.
    offsets = column.to_numpy().astype(np.int64) - least
    is_met = np.zeros(largest - least + 1, bool)
    is_met[offsets] = True
    codes = np.cumsum(is_met, dtype=np.int32) - np.int32(1)
    return pa.DictionaryArray.from_arrays(
        pa.array(codes[offsets]), pa.array(np.flatnonzero(is_met) + least)
    )


def _plain_numbers(column: pa.Array) -> pa.Array | None:
    """Returns a column of texts as int64 if the numbers say all that the texts do.

    Args:
        column: Any type.
    Returns:
        [n] int64; None where there are no texts, one is missing, or one is anything but
        1 to 18 digits without a zero before others.
    """
    if column.null_count or not (
        pa.types.is_string(column.type) or pa.types.is_binary(column.type)
    ):
        return None
    letters, offsets = _letters(column)
    lengths = np.diff(offsets)
    if not len(letters) or lengths.min() < 1 or lengths.max() > _MAX_DIGITS:
        return None
    digits = letters - np.uint8(ord("0"))
    if digits.max() > 9 or ((digits[offsets[:-1]] == 0) & (lengths > 1)).any():
        return None
    return column.cast(pa.string()).cast(pa.int64())


def _letters(
    column: pa.Array,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Returns the bytes of a column of strings or binaries, and [n + 1] the bounds."""
    _, bounds, data = column.buffers()
    if data is None or not len(column):
        return np.empty(0, np.uint8), np.zeros(1, np.int32)
    offsets = np.frombuffer(bounds, np.int32)[column.offset :][: len(column) + 1]
    content = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
    return content, offsets - offsets[0]


def _decode(values: pa.Array) -> tuple[pa.Array, Bools]:
    """Returns distinct values as strings, and which of them are no UTF-8."""
    if is_text(values.type):
        # A string's bytes are looked at only where they become one.
        values = values.cast(pa.binary())
    try:
        return values.cast(pa.string()), np.zeros(len(values), bool)
    except pa.ArrowInvalid:
        decoded = [_decode_one(value) for value in values.to_pylist()]
        unreadable = np.asarray([text is None for text in decoded], bool)
        return pa.array([text or "" for text in decoded], pa.string()), unreadable


def _decode_one(value: bytes) -> str | None:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _seconds_of_dates(texts: pa.Array) -> pa.Array:
    found = pc.extract_regex(texts, _DATE)
    fits = _flags(found.is_valid())

    def digits(name: str, instead: str = "00") -> Int64s:
        part = pc.if_else(found.is_valid(), pc.struct_field(found, name), instead)
        part = pc.if_else(pc.equal(part, ""), instead, part).fill_null(instead)
        numbers: Int64s = part.cast(pa.int64()).to_numpy(zero_copy_only=False)
        return numbers

    year, month, day = digits("year", "1970"), digits("month", "01"), digits("day")
    hour, minute, second = digits("hour"), digits("minute"), digits("second")
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    last = _MONTH_DAYS[np.clip(month, 1, 12) - 1] + (leap & (month == 2))
    fits &= (month >= 1) & (month <= 12) & (day >= 1) & (day <= last)
    fits &= (hour < 24) & (minute < 60) & (second < 60)
    zone = digits("zone_hour") * 3_600 + digits("zone_minute") * 60
    behind = pc.equal(pc.struct_field(found, "sign"), "-").fill_null(False)
    zone = np.where(_flags(behind), -zone, zone)
    seconds = _days(year, month, day) * DAY_SECONDS + hour * 3_600 + minute * 60
    return pa.array(seconds + second - zone, pa.int64(), mask=~fits)


def _days(year: Int64s, month: Int64s, day: Int64s) -> Int64s:
    """Returns days since 1970 of dates of the Gregorian calendar.

    A year is taken to begin in March, so that the leap day is its last.
    """
    started = year - (month <= 2)
    since_march = (month + 9) % 12
    leap_days = started // 4 - started // 100 + started // 400
    of_year = (153 * since_march + 2) // 5 + day - 1
    days: Int64s = started * 365 + leap_days + of_year - 719_468
    return days
