"""Rules that go by time, against sorting in plain Python."""

from itertools import chain

import numpy as np
import pytest

from tests.stats.split_runs import block_of, take
from tfcausal.stats.split_rows import RANDOM_PARTS
from tfcausal.stats.split_rules import Deal
from tfcausal.stats.split_times import (
    LeaveLast,
    TimeLimits,
    TimeShares,
    places_in_history,
)
from tfcausal.stats.splitting import user_words


def histories(
    span: int, *, seed: int = 0, first: int = 0
) -> tuple[list[int], list[int], list[int]]:
    """Returns rows ordered by user and time, many of one time."""
    generator = np.random.default_rng(seed)
    users = np.sort(generator.integers(1, 21, 300))
    times = first + generator.integers(0, span + 1, 300)
    order = np.lexsort((times, users))
    return users.tolist(), list(range(1, 301)), times[order].tolist()


@pytest.mark.parametrize("span", [0, 1, 6, 40, 2_000_000_000, 2**62])
@pytest.mark.parametrize("first", [0, 1_000_000_000])
def test_shares_go_by_time_then_user_then_place(span: int, first: int) -> None:
    users, items, times = histories(span, first=first)
    deal = Deal.of_shares(RANDOM_PARTS, 300, (0.7, 0.1, 0.2))
    rule = TimeShares(4, deal, min(times), max(times))
    parts = take(rule, block_of(rule, users, items, timestamps=times))
    words = user_words(4, np.asarray(users)).tolist()
    ordered = sorted(range(300), key=lambda row: (times[row], words[row], row))
    assert parts == {
        "train": sorted(ordered[:210]),
        "validation": sorted(ordered[210:240]),
        "test": sorted(ordered[240:]),
    }
    # Of each user, what is in a later part comes later.
    place = {row: number for number, name in enumerate(parts) for row in parts[name]}
    for before in range(299):
        if users[before] == users[before + 1]:
            assert place[before] <= place[before + 1]


@pytest.mark.parametrize(
    ("begins", "expected"),
    [
        ((("validation", 5), ("test", 8)), {"train": 5, "validation": 3, "test": 2}),
        ((("test", 8),), {"train": 8, "test": 2}),
        ((("validation", 9),), {"train": 9, "validation": 1}),
        ((("test", 11),), {"train": 10, "test": 0}),
    ],
)
def test_limits_begin_with_their_second(
    begins: tuple[tuple[str, int], ...], expected: dict[str, int]
) -> None:
    rule = TimeLimits(begins)
    rows = list(range(10))
    parts = take(rule, block_of(rule, [1] * 10, rows, timestamps=rows))
    assert {name: len(numbers) for name, numbers in parts.items()} == expected
    assert list(chain.from_iterable(parts.values())) == rows


@pytest.mark.parametrize(
    ("validation", "test"), [(1, 1), (2, 1), (0, 1), (3, 0), (2, 5)]
)
def test_last_rows_of_each_user(validation: int, test: int) -> None:
    users, items, _ = histories(9)
    users += [30, 31, 31, 32, 32, 32, 33, 33, 33, 33]
    items += list(range(301, 311))
    rule = LeaveLast(validation, test)
    parts = take(rule, block_of(rule, users, items))
    expected: dict[str, list[int]] = {name: [] for name in rule.parts}
    for user in sorted(set(users)):
        rows = [row for row, owner in enumerate(users) if owner == user]
        if len(rows) <= validation + test:
            expected["train"] += rows
            continue
        cut = len(rows) - validation - test
        expected["train"] += rows[:cut]
        if validation:
            expected["validation"] += rows[cut : cut + validation]
        if test:
            expected["test"] += rows[cut + validation :]
    assert parts == expected


def test_places_in_history_by_hand() -> None:
    places, sizes = places_in_history(np.asarray([2, 2, 2, 5, 9, 9], np.int32))
    assert places.tolist() == [0, 1, 2, 0, 0, 1]
    assert sizes.tolist() == [3, 3, 3, 1, 2, 2]
    assert [len(array) for array in places_in_history(np.empty(0, np.int32))] == [0, 0]
