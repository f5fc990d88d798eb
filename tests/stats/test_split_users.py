"""Users held out: how many, whom, and what of theirs is folded in."""

from collections import Counter
from itertools import chain
from typing import Literal

import numpy as np
import pytest

from tests.stats.split_runs import block_of, take
from tfcausal.stats.split_users import (
    HeldOutUsers,
    earliest_fold_in_sizes,
    random_fold_in_sizes,
)


def histories() -> tuple[list[int], list[int]]:
    """Returns 30 users with 1 to 30 rows; item 99 only with the last of them."""
    users = [user for user in range(1, 31) for _ in range(user)]
    items = [
        99 if user == 30 and place == 3 else 1 + (user + place) % 40
        for user in range(1, 31)
        for place in range(user)
    ]
    return users, items


def held_out(
    seed: int,
    fold_in_rows: Literal["random", "earliest"] = "random",
    *,
    num_validation: int = 4,
    num_test: int = 6,
    only_items_of_train: int | None = None,
) -> tuple[dict[str, list[int]], dict[str, set[int]]]:
    """Returns the rows and the users of each part."""
    rule = HeldOutUsers(
        seed, num_validation, num_test, 0.8, fold_in_rows, only_items_of_train
    )
    users, items = histories()
    parts = take(rule, block_of(rule, users, items))
    return parts, {
        name: {users[row] for row in numbers} for name, numbers in parts.items()
    }


@pytest.mark.parametrize("fold_in_rows", ["random", "earliest"])
def test_users_are_exact_and_whole(fold_in_rows: Literal["random", "earliest"]) -> None:
    users, _ = histories()
    parts, by_part = held_out(3, fold_in_rows)
    assert sorted(chain.from_iterable(parts.values())) == list(range(len(users)))
    # Every held-out user has rows folded in, so that these tell who is held out.
    assert len(by_part["validation_fold_in"]) == 4
    assert len(by_part["test_fold_in"]) == 6
    assert len(by_part["train"]) == 20
    assert by_part["validation"] <= by_part["validation_fold_in"]
    assert by_part["test"] <= by_part["test_fold_in"]
    assert not by_part["validation_fold_in"] & by_part["test_fold_in"]
    assert not by_part["train"] & (
        by_part["validation_fold_in"] | by_part["test_fold_in"]
    )
    sizes = Counter(users)
    for name in ("validation", "test"):
        for user in by_part[f"{name}_fold_in"]:
            rows = [row for row, owner in enumerate(users) if owner == user]
            targets = sorted(set(rows) & set(parts[name]))
            if fold_in_rows == "random":
                # As Liang et al.: a fifth, rounded down, so none below five rows.
                assert len(targets) == sizes[user] // 5
            else:
                kept = max(4 * sizes[user] // 5, 1)
                assert targets == rows[kept:]


def test_random_targets_are_not_the_latest() -> None:
    parts, _ = held_out(3)
    latest, _ = held_out(3, "earliest")
    assert parts["test"] != latest["test"]


def test_other_seeds_hold_others_out_and_a_part_of_none_is_none() -> None:
    first, _ = held_out(0)
    assert held_out(0)[0] == first
    assert held_out(1)[0] != first
    parts, by_part = held_out(0, num_validation=0)
    assert set(parts) == {"train", "test_fold_in", "test"}
    assert len(by_part["test_fold_in"]) == 6


def test_rows_of_items_without_train_rows_are_left_out_before_the_cut() -> None:
    users, items = histories()
    # A seed that holds user 30 out, whose fourth row is the only one of item 99.
    seed = next(seed for seed in range(50) if 30 in held_out(seed)[1]["test"])
    choices: tuple[Literal["random", "earliest"], ...] = ("random", "earliest")
    for fold_in_rows in choices:
        parts, _ = held_out(seed, fold_in_rows, only_items_of_train=100)
        in_train = {items[row] for row in parts["train"]}
        every = set(chain.from_iterable(parts.values()))
        left_out = set(range(len(users))) - every
        assert {items[row] for row in left_out} >= {99}
        assert all(items[row] not in in_train for row in left_out)
        assert {items[row] for row in every} == in_train
        used = sum(users[row] == 30 for row in every)
        targets = sum(users[row] == 30 for row in parts["test"])
        kept = 4 * used // 5
        assert targets == (used // 5 if fold_in_rows == "random" else used - kept)


@pytest.mark.parametrize("size", range(1, 60))
def test_fold_in_sizes(size: int) -> None:
    # In whole numbers: 0.8 and 1 - 0.8 are no exact floats.
    sizes = np.asarray([size])
    assert random_fold_in_sizes(sizes, 0.8).tolist() == [size - size // 5]
    assert earliest_fold_in_sizes(sizes, 0.8).tolist() == [max(4 * size // 5, 1)]


def test_every_user_is_held_out_alike() -> None:
    users, items = list(range(1, 11)), [1] * 10
    trials, counts = 3_000, np.zeros((2, 11))
    for seed in range(trials):
        rule = HeldOutUsers(seed, 2, 3, 0.5, "random")
        parts = take(rule, block_of(rule, users, items))
        for number, name in enumerate(("validation_fold_in", "test_fold_in")):
            counts[number, [users[row] for row in parts[name]]] += 1
    for row, share in zip(counts[:, 1:], (0.2, 0.3), strict=True):
        # As in sampling without replacement; 9 degrees of freedom, of which 33.7 is
        # passed once in 10,000.
        expected = trials * share
        chi_square = ((row - expected) ** 2).sum() / (expected * (1 - share) * 10 / 9)
        assert chi_square < 33.7


def test_every_row_of_a_user_is_folded_in_alike() -> None:
    # 4,000 users with 5 rows each, all held out for test; one of each is a target.
    users = np.repeat(np.arange(1, 4_001), 5).tolist()
    rule = HeldOutUsers(2, 0, 4_000, 0.8, "random")
    parts = take(rule, block_of(rule, users, list(range(20_000))))
    targets = np.bincount(np.asarray(parts["test"]) % 5, minlength=5)
    assert targets.sum() == 4_000
    # 4 degrees of freedom: 23.5 is passed once in 10,000.
    assert ((targets - 800) ** 2 / 800).sum() < 23.5
