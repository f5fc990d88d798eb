"""Which columns of an input play which role."""

from collections.abc import Sequence
from dataclasses import dataclass

from beam_jobs.sources.units import ColumnNames, InputFile
from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.stats.cleaning import extras_of, labels_of, require_disjoint
from tfcausal.stats.raw_columns import TimestampUnit


@dataclass(frozen=True)
class AskedColumns:
    """The columns that the user named; None for the usual ones of the form.

    Attributes:
        user: Column of user ids.
        item: Column of item ids.
        rating: Column of ratings; empty for none.
        timestamp: Column of times; empty for none.
        timestamp_unit: What the times count.
        labels: Columns of labels.
        extras: Declared columns, see `extras_of`.
        names: Columns of delimited text without a header.
    """

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None
    timestamp_unit: TimestampUnit | None = None
    labels: tuple[str, ...] | None = None
    extras: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class UsualColumns:
    """What a form calls its columns.

    Attributes:
        user: Column of user ids.
        item: Column of item ids.
        rating: Column of ratings; None where the form has none.
        timestamp: Column of times; None where the form has none.
        timestamp_unit: What the times count.
        labels: Columns of labels.
        extras: Declared columns, see `extras_of`.
        must_have_all: Whether a file without the rating or the time is refused.
    """

    user: str = columns.USER_ID
    item: str = columns.ITEM_ID
    rating: str | None = columns.RATING
    timestamp: str | None = columns.TIMESTAMP
    timestamp_unit: TimestampUnit = "s"
    labels: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    must_have_all: bool = True


ANY_TABLE = UsualColumns(must_have_all=False)
"""Tables of the user's own: ratings and times are read where they are there."""


def resolve(
    asked: AskedColumns, usual: UsualColumns, found: Sequence[str], file: InputFile
) -> ColumnNames:
    """Decides which columns of a file to read.

    Args:
        asked: What the user named.
        usual: What the form calls its columns.
        found: The columns that the file has.
        file: The file, for messages.
    Raises:
        InputError: If a column is missing, comes twice or has two roles that exclude
            each other.
    """

    def required(name: str) -> str:
        if len(found) == 1 and any(mark in found[0] for mark in ";|\t"):
            raise InputError(
                f"`{file.path}` must have one column `{name}`; its header is one "
                f"field, {found[0]!r}. Fields are parted by commas in a .csv and by "
                "tabs in a .tsv; other marks are not read."
            )
        if list(found).count(name) != 1:
            raise InputError(
                f"`{file.path}` must have one column `{name}`; got "
                f"{', '.join(found) or 'none at all'}. Name the right ones with "
                "--user_column, --item_column, --rating_column, --timestamp_column, "
                "--label_columns, --extra_columns; a file of --format=csv without a "
                "header needs --column_names."
            )
        return name

    def optional(name: str | None, instead: str | None) -> str | None:
        if name is not None:
            return required(name) if name else None
        if instead is None or not (usual.must_have_all or instead in found):
            return None
        return required(instead)

    labels = labels_of(usual.labels if asked.labels is None else asked.labels)
    extras = extras_of(usual.extras if asked.extras is None else asked.extras)
    carried = (*labels, *extras)
    require_disjoint(carried)
    for column in carried:
        required(column.name)
    return ColumnNames(
        required(asked.user or usual.user),
        required(asked.item or usual.item),
        optional(asked.rating, usual.rating),
        optional(asked.timestamp, usual.timestamp),
        asked.timestamp_unit or usual.timestamp_unit,
        carried,
    )


def refuse_names(asked: AskedColumns, form: str) -> None:
    """Raises InputError if columns were named for a form without names in its files."""
    if asked != AskedColumns():
        raise InputError(
            f"Columns must not be named for --format={form}, which has its own; got "
            f"{asked}. Leave them out, or use --format=csv."
        )
