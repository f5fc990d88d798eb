"""Interactions of each item on each day: a state to which later days can be added.

Days are those of UTC. What is derived from the state goes through its days in their
order, so that it has the same bits however the rows came together.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.columns import UNKNOWN_INDEX, day_counts_schema
from tfcausal.stats.exponential import exp
from tfcausal.stats.popularity import Float64s, Int32s, Int64s
from tfcausal.stats.slots import slots_of
from tfcausal.stats.vocabulary import indices_in, sorted_dictionary

SECONDS_OF_DAY = 86_400
_LN2 = 0.6931471805599453
_COUNTS = (columns.POPULARITY, columns.POPULARITY_INTERVENED)
_ITEM_BITS = 31
_LAST_DAY = np.iinfo(np.int32).max


def count_days(
    items: Int32s, timestamps: Int64s, *, intervened: bool = False
) -> pa.Table:
    """Counts a block of rows by day and item.

    Args:
        items: [n] item indices.
        timestamps: [n] seconds since 1970.
        intervened: Whether the rows are of the intervened training part.
    Returns:
        Columns `day` (date32), `item`, `popularity` and `popularity_intervened`,
        ordered by day and item.
    Raises:
        InputError: If a time is beyond all days.
    """
    days = timestamps // SECONDS_OF_DAY
    if len(days) and days.max() > _LAST_DAY:
        raise InputError(
            "Times must be seconds since 1970 to be counted by day; got "
            f"{int(timestamps.max())}. Ingest again with their unit."
        )
    keys, counts = np.unique(_packed(days, items), return_counts=True)
    none = np.zeros_like(counts)
    both = (none, counts) if intervened else (counts, none)
    return _by_day(keys, columns.ITEM, pa.array(_second(keys)), *both)


def add_day_counts(tables: Iterable[pa.Table]) -> pa.Table:
    """Adds up the counts of equal days and items.

    Args:
        tables: Counts by day and item index, at least one.
    Returns:
        One row for each day and item, ordered by them.
    """
    joined = pa.concat_tables(tables)
    keys, *sums = _summed(joined, joined[columns.ITEM].to_numpy())
    return _by_day(keys, columns.ITEM, pa.array(_second(keys)), *sums)


def add_named_day_counts(tables: Iterable[pa.Table]) -> pa.Table:
    """Adds up the counts of equal days and items, whatever vocabularies they had.

    Args:
        tables: Tables of `columns.day_counts_schema`, at least one.
    Returns:
        One table of it: a row for each day and item, ordered by them, ids by their
        UTF-8 bytes.
    """
    joined = pa.concat_tables(tables)
    ids = sorted_dictionary(joined[columns.ITEM_ID].dictionary_encode())
    keys, *sums = _summed(joined, ids.indices.to_numpy())
    named = ids.dictionary.take(pa.array(_second(keys)))
    summed = _by_day(keys, columns.ITEM_ID, named, *sums)
    return pa.table(summed.columns, schema=day_counts_schema())


def _packed(days: Int64s, items: Int32s) -> Int64s:
    """Returns keys ordered by day, then by item; both have 31 bits."""
    return (days << _ITEM_BITS) | items


def _second(keys: Int64s) -> Int32s:
    return (keys & ((1 << _ITEM_BITS) - 1)).astype(np.int32)


def _summed(joined: pa.Table, items: Int32s) -> tuple[Int64s, Int64s, Int64s]:
    packed = _packed(_days(joined), items)
    order = np.argsort(packed, kind="stable")
    keys, begins = np.unique(packed[order], return_index=True)
    observed, intervened = (
        np.add.reduceat(joined[name].to_numpy()[order], begins)
        if len(begins)
        else np.empty(0, np.int64)
        for name in _COUNTS
    )
    return keys, observed, intervened


def _by_day(
    keys: Int64s, key: str, items: pa.Array, observed: Int64s, intervened: Int64s
) -> pa.Table:
    days = pa.array((keys >> _ITEM_BITS).astype(np.int32), pa.date32())
    content = dict(zip(_COUNTS, (observed, intervened), strict=True))
    return pa.table({columns.DAY: days, key: items, **content})


def with_ids(counts: pa.Table, vocabulary: pa.Array) -> pa.Table:
    """Names items by their ids in place of their indices.

    Args:
        counts: Counts by day and item index.
        vocabulary: String array; its row order is the index.
    Returns:
        A table of `columns.day_counts_schema`.
    """
    ids = vocabulary.take(counts[columns.ITEM].combine_chunks())
    content = [counts[columns.DAY], ids, *(counts[name] for name in _COUNTS)]
    return pa.table(content, schema=day_counts_schema())


def months_of(counts: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """Cuts counts into months.

    Args:
        counts: Counts ordered by day.
    Yields:
        The month, counted from January 1970, and its rows.
    """
    days = _days(counts)
    months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    found, begins = np.unique(months, return_index=True)
    bounds = pairwise([*begins.tolist(), len(months)])
    for month, (begin, end) in zip(found.tolist(), bounds, strict=True):
        yield month, counts.slice(begin, end - begin)


def month_name(month: int) -> str:
    """Returns the file name of a month, such as 2000-04.parquet."""
    return f"{np.datetime64(month, 'M')}.parquet"


def month_number(file_name: str) -> int:
    """Returns the month of a file, counted from January 1970."""
    month = np.datetime64(file_name.removesuffix(".parquet"), "M")
    return int(month.astype(np.int64))


@dataclass(frozen=True)
class DayRows:
    """How many training rows each day has.

    Attributes:
        first: The first day with a row of the biased part, since 1970.
        counts: [num_days] int64 rows of that part, of this day and all that follow.
    """

    first: int
    counts: Int64s

    @property
    def last(self) -> int:
        """The last day with a row."""
        return self.first + len(self.counts) - 1

    @classmethod
    def of(cls, months: Iterable[pa.Table]) -> "DayRows":
        """Counts the rows of each day.

        Args:
            months: Counts by day.
        Raises:
            InputError: If there are none.
        """
        days, counts = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for month in months:
            observed = month[columns.POPULARITY].to_numpy()
            found, place = np.unique(_days(month)[observed > 0], return_inverse=True)
            total = np.zeros(len(found), np.int64)
            np.add.at(total, place, observed[observed > 0])
            days.append(found)
            counts.append(total)
        met = np.concatenate(days)
        if not len(met):
            raise InputError(
                "Popularity by day must count at least one interaction of the "
                "vocabulary's items; found none. Check the data set."
            )
        first = int(met.min())
        spread = np.zeros(int(met.max()) - first + 1, np.int64)
        np.add.at(spread, met - first, np.concatenate(counts))
        return cls(first, spread)


@dataclass
class DayTotals:
    """What is known of items after all days, added up day by day.

    Attributes:
        slots: [num_slots, num_items] int64 interactions in the biased training part.
        intervened: [num_items] int64 interactions in the intervened training part.
        decayed: [num_items] float64; each interaction of the biased training part
            counts 2 ^ -(age in days / half-life).
        begins: First day of each slot, since 1970.
        last: The day on which an interaction counts 1.
        half_life: Days in which an interaction's weight halves; infinite for never.
    """

    slots: Int64s
    intervened: Int64s
    decayed: Float64s
    begins: tuple[int, ...]
    last: int
    half_life: float

    @classmethod
    def zeros(
        cls, num_items: int, begins: tuple[int, ...], last: int, half_life: float
    ) -> "DayTotals":
        """Counts nothing yet."""
        return cls(
            np.zeros((len(begins), num_items), np.int64),
            np.zeros(num_items, np.int64),
            np.zeros(num_items, np.float64),
            begins,
            last,
            half_life,
        )

    def add(self, month: pa.Table) -> "DayTotals":
        """Adds a month's counts, later than all before.

        Args:
            month: Counts by day and item index, ordered by day.
        Returns:
            This object.
        """
        days, items = _days(month), month[columns.ITEM].to_numpy()
        observed = month[columns.POPULARITY].to_numpy()
        np.add.at(
            self.intervened, items, month[columns.POPULARITY_INTERVENED].to_numpy()
        )
        found, begins = np.unique(days, return_index=True)
        slots = slots_of(np.clip(found, self.begins[0], None), self.begins).tolist()
        ages = (self.last - found).astype(np.float64)
        weights = exp(-ages * (_LN2 / self.half_life))
        # A day has an item once, so these are plain sums in the order of the days.
        for day, (begin, end) in enumerate(pairwise([*begins.tolist(), len(days)])):
            self.slots[slots[day], items[begin:end]] += observed[begin:end]
            self.decayed[items[begin:end]] += observed[begin:end] * weights[day]
        return self


def of_vocabulary(counts: pa.Table, vocabulary: pa.Array) -> pa.Table:
    """Looks up the items of counts by day; those of other vocabularies are left out.

    Args:
        counts: A table of `columns.day_counts_schema`, the ids as dictionary.
        vocabulary: String array; its row order is the index.
    Returns:
        Columns `day`, `item`, `popularity`, `popularity_intervened`.
    """
    ids = counts[columns.ITEM_ID].combine_chunks()
    items = indices_in(ids, vocabulary)
    known = items != UNKNOWN_INDEX
    return pa.table(
        {
            columns.DAY: counts[columns.DAY],
            columns.ITEM: items,
            **{name: counts[name] for name in _COUNTS},
        }
    ).filter(pa.array(known))


def _days(counts: pa.Table) -> Int64s:
    days: Int64s = counts[columns.DAY].cast(pa.int32()).to_numpy().astype(np.int64)
    return days
