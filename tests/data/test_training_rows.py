"""Positives drawn user by user, against what the rows are."""

import numpy as np
import pytest

from tfcausal.data.interactions import Interactions
from tfcausal.data.training_rows import Columns, PositivesByUser

COUNTS = {3: 1, 7: 40, 8: 959}
"""Rows of each user; the others have none."""


@pytest.fixture(scope="module")
def rows() -> Interactions:
    users = np.repeat(list(COUNTS), list(COUNTS.values())).astype(np.int32)
    items = np.concatenate([np.arange(1, count + 1) for count in COUNTS.values()])
    return shuffled(users, items.astype(np.int32), seed=0)


def shuffled(users: np.ndarray, items: np.ndarray, seed: int) -> Interactions:
    chosen = np.random.default_rng(seed).permutation(len(users))
    ends = np.asarray([len(users)], np.int64)
    return Interactions(users[chosen], items[chosen], None, ends)


def epochs(source: PositivesByUser, count: int) -> Columns:
    blocks = [block for epoch in range(count) for block in source.blocks(epoch)]
    return {
        name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]
    }


def test_users_and_their_rows_are_drawn_evenly(rows: Interactions) -> None:
    number = 60
    drawn = epochs(PositivesByUser(rows, seed=1), number)
    assert len(drawn["users"]) == number * len(rows)
    expected = number * len(rows) / len(COUNTS)
    for user, count in COUNTS.items():
        items = drawn["positives"][drawn["users"] == user]
        # Five deviations: far less than a user too many or too few would change.
        assert abs(len(items) - expected) < 5 * np.sqrt(expected)
        met = np.bincount(items, minlength=count + 1)
        assert met[0] == 0
        assert len(met) == count + 1
        share = len(items) / count
        assert np.all(np.abs(met[1:] - share) < 5 * np.sqrt(share) + 1)
        # Where a row's share is small, that bound alone would pass one never drawn.
        assert met[1:].min() > 0


def test_the_order_of_the_rows_does_not_count(rows: Interactions) -> None:
    once, again = (
        epochs(PositivesByUser(given, seed=1), 2)
        for given in (rows, shuffled(rows.users, rows.items, seed=2))
    )
    for name in ("users", "positives", "row_keys"):
        assert np.array_equal(once[name], again[name])


def test_epochs_and_seeds_draw_anew_with_keys_of_their_own(rows: Interactions) -> None:
    drawn = epochs(PositivesByUser(rows, seed=1), 3)
    other = epochs(PositivesByUser(rows, seed=2), 3)
    assert len(np.unique(np.append(drawn["row_keys"], other["row_keys"]))) == 6 * len(
        rows
    )
    first, second = np.split(drawn["positives"], 3)[:2]
    assert not np.array_equal(first, second)
    assert not np.array_equal(drawn["positives"], other["positives"])


def test_facts_stay_with_their_rows(rows: Interactions) -> None:
    facts = {"slot": rows.users * 10_000 + rows.items}
    drawn = epochs(PositivesByUser(rows, facts, seed=1), 1)
    assert np.array_equal(drawn["slot"], drawn["users"] * 10_000 + drawn["positives"])
