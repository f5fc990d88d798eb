"""Which of a user's repeated interactions with an item stays."""

import numpy as np
import pytest

from tfcausal.stats.repeats import Repeats, resolve_repeats

USERS = np.asarray([1, 1, 1, 0, 1])
ITEMS = np.asarray([5, 5, 6, 5, 5])
TIMES = np.asarray([30, 10, 20, 99, 10])


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
    kept = resolve_repeats(USERS, ITEMS, TIMES, repeats)
    assert kept.rows.tolist() == rows
    found = None if kept.occurrences is None else kept.occurrences.tolist()
    assert found == occurrences


def test_without_times_the_place_decides() -> None:
    kept = resolve_repeats(USERS, ITEMS, None, "earliest")
    assert kept.rows.tolist() == [3, 0, 2]


@pytest.mark.parametrize("repeats", ["earliest", "latest", "keep"])
@pytest.mark.parametrize("in_order", [True, False])
def test_against_a_dictionary(repeats: Repeats, in_order: bool) -> None:
    users, items, times = np.random.default_rng(3).integers(0, 6, (3, 300))
    if in_order:
        times.sort()
    met: dict[tuple[int, int], list[int]] = {}
    for row in sorted(range(300), key=lambda row: (users[row], times[row], row)):
        met.setdefault((users[row], items[row]), []).append(row)
    wanted = {"earliest": slice(1), "latest": slice(-1, None), "keep": slice(None)}
    stay = [row for rows in met.values() for row in rows[wanted[repeats]]]
    kept = resolve_repeats(users, items, times, repeats)
    expected = sorted(stay, key=lambda row: (users[row], times[row], row))
    assert kept.rows.tolist() == expected
    if repeats == "keep":
        assert kept.occurrences is not None
        assert kept.occurrences.tolist() == [
            met[users[row], items[row]].index(row) for row in expected
        ]


def test_no_rows() -> None:
    none = np.empty(0, np.int64)
    for repeats in ("earliest", "latest", "keep"):
        assert len(resolve_repeats(none, none, none, repeats).rows) == 0
