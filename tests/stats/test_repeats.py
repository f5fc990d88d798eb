"""Which of a user's repeated interactions with an item stays."""

import numpy as np
import pytest

from tfcausal.stats.repeats import Repeats, resolve_repeats

USERS = np.asarray([1, 1, 1, 0, 1])
ITEMS = np.asarray([5, 5, 6, 5, 5])
TIMES = np.asarray([30, 10, 20, 99, 10])
POSITIONS = np.asarray([0, 1, 2, 3, 4])


@pytest.mark.parametrize(
    ("repeats", "rows", "occurrences"),
    [
        # User 1 met item 5 at 10 (twice, rows 1 and 4) and at 30 (row 0).
        ("earliest", [3, 1, 2], None),
        ("latest", [3, 2, 0], None),
        ("keep", [3, 1, 4, 2, 0], [0, 0, 1, 0, 2]),
    ],
)
def test_by_hand(repeats: Repeats, rows: list[int], occurrences: object) -> None:
    kept = resolve_repeats(USERS, ITEMS, TIMES, POSITIONS, repeats)
    assert kept.rows.tolist() == rows
    found = None if kept.occurrences is None else kept.occurrences.tolist()
    assert found == occurrences


def test_without_times_the_place_decides() -> None:
    kept = resolve_repeats(USERS, ITEMS, None, POSITIONS, "earliest")
    assert kept.rows.tolist() == [3, 0, 2]


@pytest.mark.parametrize("repeats", ["earliest", "latest", "keep"])
def test_order_of_rows_does_not_show(repeats: Repeats) -> None:
    generator = np.random.default_rng(3)
    users, items, times = generator.integers(0, 6, (3, 300))
    positions = generator.permutation(300)
    expected = resolve_repeats(users, items, times, positions, repeats)
    mixed = generator.permutation(300)
    again = resolve_repeats(
        users[mixed], items[mixed], times[mixed], positions[mixed], repeats
    )
    assert np.array_equal(positions[mixed][again.rows], positions[expected.rows])
    if expected.occurrences is not None and again.occurrences is not None:
        assert np.array_equal(again.occurrences, expected.occurrences)


def test_no_rows() -> None:
    none = np.empty(0, np.int64)
    for repeats in ("earliest", "latest", "keep"):
        assert len(resolve_repeats(none, none, none, none, repeats).rows) == 0
