"""From raw columns to clean rows and rejected rows, a block at a time.

Whether a row is good depends on that row alone, never on its neighbours in the block.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.stats.raw_columns import (
    Bools,
    Int64s,
    TextColumn,
    TimestampUnit,
    is_missing,
    is_text,
    is_time,
    nulls,
    parse_integer,
    parse_real,
    parse_time,
)

WRONG_FIELD_COUNT = "wrong_field_count"
BAD_JSON = "bad_json"
BAD_EXAMPLE = "bad_example"
NOT_UTF8 = "not_utf8"
EMPTY_USER = "empty_user"
EMPTY_ITEM = "empty_item"
CONTROL_CHARACTER = "control_character"
BAD_RATING = "bad_rating"
BAD_TIMESTAMP = "bad_timestamp"
BAD_LABEL = "bad_label"
BAD_EXTRA = "bad_extra"

MAX_TEXT = 200
"""Characters that a rejected row keeps of its text."""

REJECTED_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)
"""Dead letters: `row` counts from 1, a header included, blank lines left out."""

_TAKEN = {
    columns.USER,
    columns.ITEM,
    columns.RATING,
    columns.TIMESTAMP,
    columns.OCCURRENCE,
    columns.USER_ID,
    columns.ITEM_ID,
}


@dataclass(frozen=True)
class CarriedColumn:
    """A column of numbers that interactions keep beside rating and timestamp.

    Attributes:
        name: Its name, in the input and in the data set.
        kind: "label" for feedback, "extra" for anything else.
        is_integer: int64 instead of float32.
        may_be_missing: Whether rows without a value are good; they get NaN.
    """

    name: str
    kind: Literal["label", "extra"]
    is_integer: bool = False
    may_be_missing: bool = False

    @property
    def type(self) -> pa.DataType:
        """Its type in a data set."""
        return pa.int64() if self.is_integer else pa.float32()

    @property
    def reason(self) -> str:
        """Why a row is rejected whose value is none."""
        return BAD_LABEL if self.kind == "label" else BAD_EXTRA


def labels_of(names: Iterable[str]) -> tuple[CarriedColumn, ...]:
    """Returns columns of labels.

    Raises:
        InputError: If a name is taken or comes twice.
    """
    return _distinct([CarriedColumn(name, "label") for name in names])


def extras_of(declared: Iterable[str]) -> tuple[CarriedColumn, ...]:
    """Returns declared columns.

    Args:
        declared: Each NAME, NAME:int64 or NAME:float32; float32 may end in "?" where
            values may be missing, as in NAME? or NAME:float32?.
    Raises:
        InputError: If a declaration cannot be read, a name is taken or comes twice.
    """
    found = []
    for text in declared:
        name, _, kind = text.removesuffix("?").partition(":")
        missing = text.endswith("?")
        if kind not in ("", "float32", "int64") or (missing and kind == "int64"):
            raise InputError(
                "Each of `extra_columns` must be NAME, NAME? (values may be missing), "
                f"NAME:float32, NAME:float32? or NAME:int64; got `{text}`."
            )
        found.append(CarriedColumn(name, "extra", kind == "int64", missing))
    return _distinct(found)


def _distinct(carried: Sequence[CarriedColumn]) -> tuple[CarriedColumn, ...]:
    seen = set(_TAKEN)
    for column in carried:
        if not column.name or column.name in seen:
            why = "is a name of the data set's own" if column.name in _TAKEN else ""
            raise InputError(
                f"`{column.kind}_columns` must be different names beside those of the "
                f"data set; `{column.name}` {why or 'comes twice or is empty'}. Rename "
                "the column in the input, or leave it out."
            )
        seen.add(column.name)
    return tuple(carried)


def require_disjoint(carried: Sequence[CarriedColumn]) -> None:
    """Raises InputError if a name is both a label and an extra column."""
    _distinct(carried)


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
        timestamp_unit: What timestamps that are no times count.
        carried: The columns to carry along: binary, string or numeric.
    """

    users: pa.Array
    items: pa.Array
    ratings: pa.Array | None
    timestamps: pa.Array | None
    rows: Int64s
    positions: Int64s
    timestamp_unit: TimestampUnit = "s"
    carried: tuple[tuple[CarriedColumn, pa.Array], ...] = ()

    @property
    def arrays(self) -> list[pa.Array]:
        """The columns that the input has."""
        usual = (self.users, self.items, self.ratings, self.timestamps)
        given = [column for column in usual if column is not None]
        return [*given, *(array for _, array in self.carried)]


@dataclass(frozen=True)
class CleanBlock:
    """What became of a RawBlock.

    Attributes:
        rows: Clean rows in the order of the block: user_id and item_id as dictionaries
            of strings, rating float32 and timestamp int64 where given, the carried
            columns.
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
    users, items = TextColumn.of(block.users), TextColumn.of(block.items)
    texts: list[TextColumn | None] = [users, items]
    numbers: dict[str, pa.Array] = {}
    by_reason: dict[str, Bools] = {}
    parsed = [
        (column.reason, column.name, _carry(column, values))
        for column, values in block.carried
    ]
    if block.timestamps is not None:
        times = parse_time(block.timestamps, block.timestamp_unit)
        parsed.insert(0, (BAD_TIMESTAMP, columns.TIMESTAMP, times))
    if block.ratings is not None:
        parsed.insert(0, (BAD_RATING, columns.RATING, parse_real(block.ratings)))
    for reason, name, (text, found) in parsed:
        texts.append(text)
        numbers[name] = found
        by_reason[reason] = by_reason.get(reason, False) | nulls(found)
    not_utf8 = [text.not_utf8 for text in texts if text is not None]
    faults = {
        NOT_UTF8: np.logical_or.reduce(not_utf8),
        EMPTY_USER: users.empty,
        EMPTY_ITEM: items.empty,
        CONTROL_CHARACTER: users.with_control | items.with_control,
        **by_reason,
    }
    found = [reason for reason, bad in faults.items() if bad.any()]
    rows = pa.table(
        {columns.USER_ID: users.strings, columns.ITEM_ID: items.strings, **numbers}
    )
    if not found:
        return CleanBlock(rows, REJECTED_SCHEMA.empty_table())
    # Of several faults, the first is named.
    first = np.select([faults[reason] for reason in found], range(len(found)), -1)
    bad = np.flatnonzero(first >= 0)
    return CleanBlock(
        rows.filter(pa.array(first < 0)),
        rejected_table(
            source,
            block.rows[bad],
            [found[number] for number in first[bad]],
            _texts(block, bad),
        ),
    )


def _carry(
    column: CarriedColumn, values: pa.Array
) -> tuple[TextColumn | None, pa.Array]:
    text, found = (parse_integer if column.is_integer else parse_real)(values)
    if column.may_be_missing:
        missing = pa.array(is_missing(values))
        found = pc.if_else(missing, pa.scalar(np.nan, pa.float32()), found)
    return text, found


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


def require_types(
    schema: pa.Schema,
    names: dict[str, str | None],
    source: str,
    carried: Sequence[CarriedColumn] = (),
) -> None:
    """Raises unless each column has a type that `clean` can read.

    Args:
        schema: Schema of a Parquet file.
        names: Column name by role: user, item, rating, timestamp; None is left out.
        source: The file, for the message.
        carried: The columns to carry along.
    Raises:
        InputError: If one has not.
    """
    roles = [(role, name) for role, name in names.items() if name is not None]
    roles += [(column.kind, column.name) for column in carried]
    for role, name in roles:
        found = schema.field(name).type
        if pa.types.is_dictionary(found):
            found = found.value_type
        fits = pa.types.is_integer(found) or is_text(found)
        if role not in ("user", "item"):
            fits = fits or pa.types.is_floating(found)
        if role in ("label", "extra"):
            fits = fits or pa.types.is_boolean(found)
        if role == columns.TIMESTAMP:
            fits = fits or is_time(found)
        if not fits:
            numbers = role in (columns.RATING, "label", "extra")
            raise InputError(
                f"`{source}`: the {role} column `{name}` must hold "
                f"{'numbers' if numbers else 'text or integers'}; got {found}. Convert "
                "it, or name another column."
            )


def _texts(block: RawBlock, rows: npt.NDArray[Any]) -> list[str]:
    """Returns the fields of some rows, joined by commas, readable whatever they are."""
    fields = [_values(column.take(pa.array(rows))) for column in block.arrays]
    return [",".join(map(_readable, row)) for row in zip(*fields, strict=True)]


def _values(column: pa.Array) -> list[Any]:
    """Returns values, texts as bytes: they may be no UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_text(column.type):
        column = column.cast(pa.binary())
    if is_time(column.type):
        # Python's own times begin and end sooner.
        column = column.cast(pa.string())
    values: list[Any] = column.to_pylist()
    return values


def _readable(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value[: 4 * MAX_TEXT].decode("utf-8", "backslashreplace")
    return str(value)
