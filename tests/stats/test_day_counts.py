"""Counts by day: any grouping, any order, and sums over days in their order."""

import datetime
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from tfcausal.errors import InputError
from tfcausal.schema.columns import day_counts_schema
from tfcausal.stats.day_counts import (
    SECONDS_OF_DAY,
    DayRows,
    DayTotals,
    add_day_counts,
    add_named_day_counts,
    count_days,
    month_name,
    month_number,
    months_of,
    of_vocabulary,
    with_ids,
)

VOCABULARY = pa.array(["", "b", "a", "é", "z", "Z"])


def rows(seed: int = 0, size: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Returns items and times of about a hundred days from the end of 1999 on."""
    generator = np.random.default_rng(seed)
    items = generator.integers(1, 6, size).astype(np.int32)
    times = 946_000_000 + generator.integers(0, 100 * SECONDS_OF_DAY, size)
    return items, times


def day_of(time: int) -> datetime.date:
    return datetime.datetime.fromtimestamp(int(time), datetime.UTC).date()


@pytest.mark.parametrize("cuts", [[], [3], [0, 200, 399]])
def test_any_grouping_gives_the_same_table(cuts: list[int]) -> None:
    items, times = rows()
    expected = Counter(
        (day_of(time), VOCABULARY[item].as_py())
        for item, time in zip(items.tolist(), times.tolist(), strict=True)
    )
    blocks = [
        count_days(*block)
        for block in zip(np.split(items, cuts), np.split(times, cuts), strict=True)
    ]
    table = with_ids(add_day_counts(blocks[::-1]), VOCABULARY)
    named = [with_ids(block, VOCABULARY) for block in blocks]
    assert add_named_day_counts([table]).equals(add_named_day_counts(named))
    assert add_named_day_counts(named).schema.equals(day_counts_schema())
    found = add_named_day_counts([table]).to_pydict()
    keys = list(zip(found["day"], found["item_id"], strict=True))
    assert keys == sorted(keys, key=lambda key: (key[0], key[1].encode()))
    assert dict(zip(keys, found["popularity"], strict=True)) == expected
    assert set(found["popularity_intervened"]) == {0}


def test_both_training_parts_have_a_column() -> None:
    items, times = np.asarray([1, 1], np.int32), np.asarray([5, 6])
    table = add_day_counts(
        [count_days(items, times), count_days(items[:1], times[:1], intervened=True)]
    )
    assert table.to_pydict() == {
        "day": [datetime.date(1970, 1, 1)],
        "item": [1],
        "popularity": [2],
        "popularity_intervened": [1],
    }


def test_months() -> None:
    items, times = rows()
    table = count_days(items, times)
    pieces = dict(months_of(table))
    assert [month_name(month) for month in pieces] == [
        "1999-12.parquet",
        "2000-01.parquet",
        "2000-02.parquet",
        "2000-03.parquet",
        "2000-04.parquet",
    ]
    for month, piece in pieces.items():
        assert month_number(month_name(month)) == month
        days = piece["day"].to_pylist()
        assert {f"{day:%Y-%m}.parquet" for day in days} == {month_name(month)}
    assert pa.concat_tables(pieces.values()).equals(table)
    assert list(months_of(table.slice(0, 0))) == []


def test_items_of_another_vocabulary_are_left_out() -> None:
    items, times = rows()
    named = with_ids(count_days(items, times), VOCABULARY)
    as_read = named.set_column(1, "item_id", named["item_id"].dictionary_encode())
    smaller = pa.array(["", "é", "b"])
    found = of_vocabulary(as_read, smaller)
    assert set(found["item"].to_pylist()) == {1, 2}
    expected = int(np.isin(items, [1, 3]).sum())
    assert found["popularity"].to_numpy().sum() == expected


@pytest.mark.parametrize("half_life", [0.5, 7.0, float("inf")])
def test_sums_over_days(half_life: float) -> None:
    items, times = rows()
    days = times // SECONDS_OF_DAY
    table = count_days(items, times)
    months = [piece for _, piece in months_of(table)]
    found = DayRows.of(months)
    assert (found.first, found.last) == (days.min(), days.max())
    assert found.counts.tolist() == np.bincount(days - days.min()).tolist()
    begins = (found.first, found.first + 40)
    totals = DayTotals.zeros(6, begins, found.last, half_life)
    for month in [months[0].slice(0, 0), *months]:
        totals.add(month)
    for item in range(6):
        mine = days[items == item]
        early = int((mine < begins[1]).sum())
        assert totals.slots[:, item].tolist() == [early, len(mine) - early]
        weights = [0.5 ** ((found.last - day) / half_life) for day in mine.tolist()]
        assert totals.decayed[item] == pytest.approx(sum(weights), rel=1e-12)


def test_refusals() -> None:
    item = np.asarray([1], np.int32)
    with pytest.raises(InputError, match="must be seconds since 1970"):
        count_days(item, np.asarray([2**62]))
    intervened = count_days(item, np.asarray([5]), intervened=True)
    with pytest.raises(InputError, match="at least one interaction"):
        DayRows.of([intervened])
