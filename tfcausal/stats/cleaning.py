"""From raw columns to clean rows and rejected rows, a block at a time.

Whether a row is good depends on that row alone, never on its neighbours in the block:
each text is held against one grammar, and only what fits is cast.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tfcausal.errors import InputError
from tfcausal.schema import columns

Bools = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]

WRONG_FIELD_COUNT = "wrong_field_count"
NOT_UTF8 = "not_utf8"
EMPTY_USER = "empty_user"
EMPTY_ITEM = "empty_item"
CONTROL_CHARACTER = "control_character"
BAD_RATING = "bad_rating"
BAD_TIMESTAMP = "bad_timestamp"

MAX_TEXT = 200
"""Characters that a rejected row keeps of its text."""

POSITION = "position"
"""Column of clean rows: where the row stood in the input, unique and ascending."""

REJECTED_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)
"""Dead letters: `row` counts from 1, a header included, blank lines left out."""

_CONTROL = r"\p{Cc}"
_RATING = r"^[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,2})?$"
_TIMESTAMP = r"^\+?\d{1,18}(\.\d*)?$"


@dataclass(frozen=True)
class RawBlock:
    """Some rows as they stand in the input, all arrays of the same length.

    Attributes:
        users: User ids: binary, string or integer.
        items: Item ids: binary, string or integer.
        ratings: Binary, string or numeric; None where the input has none.
        timestamps: Binary, string, numeric or a time; None where the input has none.
        rows: [n] int64, each row's number in its source, from 1.
        positions: [n] int64, ascending in the order of the whole input.
    """

    users: pa.Array
    items: pa.Array
    ratings: pa.Array | None
    timestamps: pa.Array | None
    rows: Int64s
    positions: Int64s


@dataclass(frozen=True)
class CleanBlock:
    """What became of a RawBlock.

    Attributes:
        rows: Clean rows: user_id and item_id as dictionaries of strings, rating
            float32 and timestamp int64 where given, position int64.
        rejected: The other rows, of REJECTED_SCHEMA.
    """

    rows: pa.Table
    rejected: pa.Table


def clean(block: RawBlock, source: str) -> CleanBlock:
    """Separates the rows that can be used from those that cannot.

    Args:
        block: The raw rows.
        source: Name of their file, for the rejected rows.
    Returns:
        Clean and rejected rows, each in the order of the block.
    """
    users, items = _Text.of(block.users), _Text.of(block.items)
    texts = [users, items]
    faults: list[tuple[str, Bools]] = []
    numbers: dict[str, pa.Array] = {}
    for name, column, parse, reason in (
        (columns.RATING, block.ratings, _parse_rating, BAD_RATING),
        (columns.TIMESTAMP, block.timestamps, _parse_timestamp, BAD_TIMESTAMP),
    ):
        if column is not None:
            text, numbers[name] = parse(column)
            faults.append((reason, _nulls(numbers[name])))
            texts.extend([text] if text is not None else [])
    faults = [
        (NOT_UTF8, np.logical_or.reduce([text.not_utf8 for text in texts])),
        (EMPTY_USER, users.empty),
        (EMPTY_ITEM, items.empty),
        (CONTROL_CHARACTER, users.matches(_CONTROL) | items.matches(_CONTROL)),
        *faults,
    ]
    reasons = np.select([bad for _, bad in faults], list(range(1, len(faults) + 1)), 0)
    good, bad = np.flatnonzero(reasons == 0), np.flatnonzero(reasons)
    rows = pa.table(
        {
            columns.USER_ID: users.strings,
            columns.ITEM_ID: items.strings,
            **numbers,
            POSITION: block.positions,
        }
    )
    return CleanBlock(
        rows if len(good) == len(rows) else rows.take(good),
        rejected_table(
            source,
            block.rows[bad],
            [faults[number - 1][0] for number in reasons[bad]],
            _texts(block, bad),
        ),
    )


def rejected_table(
    source: str, rows: Int64s, reasons: Sequence[str], texts: Sequence[str]
) -> pa.Table:
    """Returns rejected rows as a table of REJECTED_SCHEMA, texts cut to MAX_TEXT."""
    return pa.table(
        {
            "source": pa.array([source] * len(reasons), pa.string()),
            "row": pa.array(rows, pa.int64()),
            "reason": pa.array(reasons, pa.string()),
            "text": pa.array([text[:MAX_TEXT] for text in texts], pa.string()),
        },
        schema=REJECTED_SCHEMA,
    )


def require_types(schema: pa.Schema, names: dict[str, str | None], source: str) -> None:
    """Raises unless each column has a type that `clean` can read.

    Args:
        schema: Schema of a Parquet file.
        names: Column name by role: user, item, rating, timestamp; None is left out.
        source: The file, for the message.
    Raises:
        InputError: If one has not.
    """
    for role, name in names.items():
        if name is None:
            continue
        found = schema.field(name).type
        if pa.types.is_dictionary(found):
            found = found.value_type
        fits = pa.types.is_integer(found) or _is_text(found)
        if role == columns.RATING:
            fits = fits or pa.types.is_floating(found)
        if role == columns.TIMESTAMP:
            fits = fits or pa.types.is_floating(found) or pa.types.is_temporal(found)
        if not fits:
            raise InputError(
                f"`{source}`: the {role} column `{name}` must hold "
                f"{'numbers' if role == columns.RATING else 'text or integers'}; got "
                f"{found}. Convert it, or name another column."
            )


def _is_text(found: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(found)
        or pa.types.is_large_string(found)
        or pa.types.is_string_view(found)
        or pa.types.is_binary(found)
        or pa.types.is_large_binary(found)
    )


@dataclass(frozen=True)
class _Text:
    """A column of texts, its distinct values looked at once each.

    Attributes:
        strings: Dictionary array of strings; null where the text was missing or is no
            UTF-8.
        not_utf8: [n] whether the text is no UTF-8.
    """

    strings: pa.DictionaryArray
    not_utf8: Bools

    @classmethod
    def of(cls, column: pa.Array) -> "_Text":
        if pa.types.is_integer(column.type):
            column = column.cast(pa.string())
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        values, unreadable = _decode(column.dictionary)
        not_utf8 = np.append(unreadable, False)[codes]
        missing = not_utf8 | (codes < 0)
        strings = pa.DictionaryArray.from_arrays(
            pa.array(codes.astype(np.int32), mask=missing), values
        )
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

    def matches(self, pattern: str) -> Bools:
        """Returns [n] whether the pattern is found in each text."""
        found = pc.match_substring_regex(self.strings.dictionary, pattern)
        return self._each(found, missing=False)

    def _each(self, of_values: pa.Array, *, missing: bool) -> Bools:
        flags = of_values.fill_null(missing).to_numpy(zero_copy_only=False)
        result: Bools = np.append(flags.astype(bool), missing)[self.codes]
        return result


def _decode(values: pa.Array) -> tuple[pa.Array, Bools]:
    """Returns distinct values as strings, and which of them are no UTF-8."""
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


def _parse_rating(column: pa.Array) -> tuple[_Text | None, pa.Array]:
    """Returns the ratings as float32, null where unusable."""
    text = None
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        text = _Text.of(column)
        column = _numbers_of(text, _RATING, pa.float64())
    numbers = column.cast(pa.float32(), safe=False)
    return text, pc.if_else(pc.is_finite(numbers), numbers, None)


def _parse_timestamp(column: pa.Array) -> tuple[_Text | None, pa.Array]:
    """Returns the times in whole seconds since 1970 as int64, null where unusable."""
    text = None
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.timestamp("s"), safe=False)
    elif pa.types.is_floating(column.type):
        usable = pc.and_(pc.is_finite(column), pc.less(column, 1e18))
        column = pc.floor(pc.if_else(usable, column, None))
    elif not pa.types.is_integer(column.type):
        text = _Text.of(column)
        column = _numbers_of(text, _TIMESTAMP, pa.int64(), drop=r"^\+|\.\d*$")
    seconds = column.cast(pa.int64(), safe=False)
    return text, pc.if_else(pc.greater_equal(seconds, 0), seconds, None)


def _numbers_of(
    text: _Text, pattern: str, number_type: pa.DataType, *, drop: str = r"^\+"
) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(text.strings.dictionary)
    fits = pc.match_substring_regex(trimmed, pattern)
    kept = pc.replace_substring_regex(pc.if_else(fits, trimmed, None), drop, "")
    return kept.cast(number_type).take(text.strings.indices)


def _nulls(column: pa.Array) -> Bools:
    nulls: Bools = column.is_null().to_numpy(zero_copy_only=False)
    return nulls


def _texts(block: RawBlock, rows: npt.NDArray[Any]) -> list[str]:
    """Returns the fields of some rows, joined by commas, readable whatever they are."""
    fields = [
        [_readable(value) for value in column.take(pa.array(rows)).to_pylist()]
        for column in (block.users, block.items, block.ratings, block.timestamps)
        if column is not None
    ]
    return [",".join(row) for row in zip(*fields, strict=True)]


def _readable(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value[: 4 * MAX_TEXT].decode("utf-8", "backslashreplace")
    return str(value)
