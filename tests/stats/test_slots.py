"""Time slots against counting row by row, and PD's formulas by hand."""

import numpy as np
import pytest

from tfcausal.errors import InputError
from tfcausal.stats.slots import (
    SlotCounts,
    TimeCounts,
    equal_rows_begins,
    equal_time_begins,
    next_slot,
    slots_of,
    slots_table,
)


def test_slots_of_equal_length() -> None:
    assert equal_time_begins(100, 199, 4) == (100, 125, 150, 175)
    # 10 seconds in 4 slots: no two differ by more than one second.
    assert equal_time_begins(0, 9, 4) == (0, 2, 5, 7)
    assert equal_time_begins(5, 5, 1) == (5,)
    assert equal_time_begins(0, 9, 0) == ()
    far = 2**62
    assert equal_time_begins(0, far - 1, 2) == (0, far // 2)


@pytest.mark.parametrize(("last", "num_slots"), [(5, 2), (7, 4)])
def test_too_many_slots_are_refused(last: int, num_slots: int) -> None:
    with pytest.raises(InputError, match="`num_slots` must leave no slot empty"):
        equal_time_begins(5, last, num_slots)


@pytest.mark.parametrize("seed", range(4))
def test_slots_of_equal_rows(seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 9, 50)
    begins = equal_rows_begins(counts, 4, first=1_000, width=10)
    times = [
        1_000 + 10 * place for place, count in enumerate(counts) for _ in range(count)
    ]
    expected = [1_000]
    for slot in range(1, 4):
        expected.append(
            next(
                1_000 + 10 * place
                for place in range(50)
                if 4 * counts[:place].sum() >= slot * len(times)
            )
        )
    assert begins == tuple(expected)


def test_rows_of_one_time_cannot_be_parted() -> None:
    with pytest.raises(InputError, match="no slot empty"):
        equal_rows_begins(np.asarray([1, 90, 1]), 3)


def test_counts_in_any_grouping() -> None:
    generator = np.random.default_rng(0)
    items = generator.integers(0, 6, 200).astype(np.int32)
    times = generator.integers(50, 100, 200)
    begins = (50, 60, 61, 90)
    expected = np.zeros((4, 6), int)
    for item, time in zip(items, times, strict=True):
        slot = max(number for number, begin in enumerate(begins) if begin <= time)
        expected[slot, item] += 1
    for cuts in ([], [7], [0, 100, 199]):
        blocks = zip(np.split(items, cuts), np.split(times, cuts), strict=True)
        total = SlotCounts.zeros(begins, 6)
        for block in blocks:
            total.merge(SlotCounts.zeros(begins, 6).add(*block))
        assert np.array_equal(total.counts, expected)
    assert np.array_equal(np.bincount(slots_of(times, begins)), expected.sum(axis=1))


def test_an_item_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(InputError, match="must be below 2"):
        SlotCounts.zeros((0,), 2).add(np.asarray([2], np.int32), np.asarray([5]))


@pytest.mark.parametrize("last", [10, 1 << 20, (1 << 20) + 10, 10**12])
def test_bins_of_time(last: int) -> None:
    times = np.random.default_rng(0).integers(10, last + 1, 300)
    times[:2] = 10, last
    counts = TimeCounts.zeros(10, last).add(times[:100])
    counts.merge(TimeCounts.zeros(10, last).add(times[100:]))
    assert counts.counts.sum() == 300
    assert len(counts.counts) <= TimeCounts.MAX_BINS
    place = (int(times[5]) - 10) // counts.width
    begin = 10 + place * counts.width
    assert counts.counts[place] == sum(
        begin <= time < begin + counts.width for time in times.tolist()
    )
    assert counts.width == 1 or counts.width * (TimeCounts.MAX_BINS // 2) < last


def test_table_follows_the_formulas() -> None:
    counts = np.asarray([[0, 3, 1, 0], [0, 0, 4, 2], [0, 1, 1, 1]])
    table = slots_table(counts, 0.5).to_pydict()
    popularity = []
    for slot in counts.tolist():
        m = [(count + 1) / (sum(slot) + 3) for count in slot[1:]]
        span = max(m) - min(m)
        popularity.append([(v - min(m)) / span if span else 1.0 for v in m])
    for item in (1, 2, 3):
        assert table["popularity_by_slot"][item] == counts[:, item].tolist()
        mine = [slot[item - 1] for slot in popularity]
        assert table["popularity_min_max_by_slot"][item] == pytest.approx(mine)
        predicted = mine[2] + 0.5 * (mine[2] - mine[1])
        assert table["popularity_next_slot"][item] == pytest.approx(
            min(max(predicted, 1e-9), 1.0)
        )
    assert table["popularity_min_max_by_slot"][0] == [0.0, 0.0, 0.0]


def test_next_slot_by_hand() -> None:
    popularity = np.asarray([[0.2, 0.9, 0.5], [0.4, 1.0, 0.1]])
    assert next_slot(popularity, 0.5) == pytest.approx([0.5, 1.0, 1e-9])
    assert next_slot(popularity, 0.0) == pytest.approx([0.4, 1.0, 0.1])
    assert next_slot(popularity[:1], 0.5) == pytest.approx([0.2, 0.9, 0.5])
