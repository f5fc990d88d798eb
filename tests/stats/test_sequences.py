"""Histories and targets against what a loop over each user's rows gives."""

import itertools
from typing import Any

import numpy as np
import pytest

from tfcausal.errors import InputError
from tfcausal.schema.columns import sequences_schema
from tfcausal.stats.sequences import (
    HistoryCutter,
    SequenceBlock,
    SequenceRule,
    UserRows,
)

Sample = tuple[int, list[int], int, int]


def rows_of(users: list[int], items: list[int], times: Any = None) -> UserRows:
    return UserRows.in_order(
        np.asarray(users, np.int32),
        np.asarray(items, np.int32),
        None if times is None else np.asarray(times, np.int64),
    )


def random_rows(seed: int, num_users: int = 40) -> UserRows:
    generator = np.random.default_rng(seed)
    counts = generator.integers(1, 15, num_users)
    users = np.repeat(generator.choice(1_000, num_users, replace=False), counts)
    return rows_of(
        sorted(users.tolist()), generator.integers(1, 99, len(users)).tolist()
    )


def cut(rows: UserRows, rule: SequenceRule, epoch: int = 0) -> list[Sample]:
    """Returns (user, history without padding, length, target), and checks padding."""
    block = HistoryCutter(rows, rule).cut(*rule.ends(rows, epoch))
    assert block.histories.shape == (len(block.users), rule.max_length)
    samples = []
    for user, history, length, target in zip(
        block.users.tolist(),
        block.histories.tolist(),
        block.lengths.tolist(),
        block.targets.tolist(),
        strict=True,
    ):
        padding = [0] * (rule.max_length - length)
        if rule.padding == "right":
            assert history[length:] == padding
            samples.append((user, history[:length], length, target))
        else:
            assert history[: len(padding)] == padding
            samples.append((user, history[len(padding) :], length, target))
    return samples


def by_loop(rows: UserRows, rule: SequenceRule) -> list[Sample]:
    """Returns all samples that a rule allows, user by user."""
    samples = []
    pairs = zip(rows.users.tolist(), rows.items.tolist(), strict=True)
    for user, group in itertools.groupby(pairs, key=lambda pair: pair[0]):
        items = [item for _, item in group]
        places = list(range(rule.min_length, len(items)))
        if rule.targets == "last":
            places = places[-1:]
        if rule.targets == "whole":
            places = [len(items)] if len(items) >= rule.min_length else []
        for place in places:
            history = items[:place][-rule.max_length :]
            target = items[place] if place < len(items) else 0
            samples.append((user, history, len(history), target))
    return samples


def test_by_hand() -> None:
    # User 3 meets 7, 8, 9, 5; user 4 meets 6 only.
    rows = rows_of([3, 3, 3, 3, 4], [7, 8, 9, 5, 6])
    rule = SequenceRule(max_length=2, min_length=1, order="by_user")
    block = HistoryCutter(rows, rule).cut(*rule.ends(rows, 0))
    assert block.users.tolist() == [3, 3, 3]
    assert block.histories.tolist() == [[7, 0], [7, 8], [8, 9]]
    assert block.lengths.tolist() == [1, 2, 2]
    assert block.targets.tolist() == [8, 9, 5]


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("targets", ["every_prefix", "last", "whole"])
@pytest.mark.parametrize(("max_length", "min_length"), [(1, 1), (5, 3), (20, 4)])
def test_as_by_loop(
    targets: Any, padding: Any, max_length: int, min_length: int
) -> None:
    for seed in range(3):
        rows = random_rows(seed)
        rule = SequenceRule(
            targets, max_length, min_length, padding=padding, order="by_user"
        )
        expected = by_loop(rows, rule)
        assert cut(rows, rule) == expected
        mixed = SequenceRule(targets, max_length, min_length, padding=padding)
        assert cut(rows, mixed) != expected
        assert sorted(cut(rows, mixed)) == sorted(expected)


def test_mixed_order_differs_by_seed_and_epoch_only() -> None:
    rows = random_rows(0)
    first = cut(rows, SequenceRule())
    assert cut(rows, SequenceRule()) == first
    for other in (cut(rows, SequenceRule(), 1), cut(rows, SequenceRule(seed=1))):
        assert other != first
        assert sorted(other) == sorted(first)


def test_sampled_targets_are_targets_of_a_prefix() -> None:
    rows = random_rows(1)
    rule = SequenceRule("sampled", 6, 2, num_cuts=3, order="by_user")
    drawn = cut(rows, rule)
    allowed = by_loop(rows, SequenceRule("every_prefix", 6, 2))
    assert all(sample in allowed for sample in drawn)
    users = [sample[0] for sample in drawn]
    assert users == [
        user for user in sorted({row[0] for row in allowed}) for _ in "abc"
    ]
    assert cut(rows, rule, 1) != drawn


def test_sampled_cuts_are_uniform() -> None:
    # 10 items with 4 before the first target: six places, 20,000 draws.
    rows = rows_of([1] * 10, list(range(1, 11)))
    rule = SequenceRule("sampled", num_cuts=20_000)
    _, ends = rule.ends(rows, 0)
    counts = np.bincount(ends, minlength=10)
    assert counts[:4].tolist() == [0] * 4
    expected = 20_000 / 6
    # Chi-square of 5 degrees of freedom; 25.7 is exceeded with probability 1e-4.
    assert ((counts[4:] - expected) ** 2 / expected).sum() < 25.7


def test_a_users_draw_does_not_depend_on_other_users() -> None:
    rule = SequenceRule("sampled", num_cuts=2)
    rows = random_rows(2)
    for user in np.unique(rows.users)[:10]:
        own = rows.users == user
        alone = rows_of(rows.users[own].tolist(), rows.items[own].tolist())
        among = [sample for sample in cut(rows, rule) if sample[0] == user]
        assert cut(alone, rule) == among


def test_blocks_join_to_the_whole() -> None:
    rows, rule = random_rows(3), SequenceRule()
    firsts, ends = rule.ends(rows, 0)
    cutter = HistoryCutter(rows, rule)
    whole = cutter.cut(firsts, ends)
    parts = [
        cutter.cut(firsts[at : at + 7], ends[at : at + 7]) for at in range(0, 90, 7)
    ]
    joined = np.concatenate([part.histories for part in parts])
    assert np.array_equal(whole.histories[: len(joined)], joined)


@pytest.mark.parametrize("targets", ["every_prefix", "sampled", "last", "whole"])
def test_no_rows_and_no_samples(targets: Any) -> None:
    for rows in (rows_of([], []), rows_of([1, 1, 2], [4, 5, 6])):
        assert cut(rows, SequenceRule(targets)) == []


def test_batches_keep_all() -> None:
    rows, rule = random_rows(4), SequenceRule(max_length=3, min_length=1)
    block = HistoryCutter(rows, rule).cut(*rule.ends(rows, 0))
    batch = block.to_batch()
    assert batch.schema.equals(sequences_schema(3))
    # Also of a slice, whose arrays begin elsewhere.
    again = SequenceBlock.from_batch(batch.slice(5, 20))
    for name in ("users", "histories", "lengths", "targets"):
        found, expected = getattr(again, name), getattr(block, name)[5:25]
        assert found.dtype == np.int32
        assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (([2, 1], [1, 1], None), "ordered by user and timestamp; row 2"),
        (([1, 1, 1], [1, 1, 1], [5, 6, 3]), "row 3 is out of order"),
        (([1], [0], None), "above 0"),
    ],
)
def test_rows_out_of_order_are_refused(rows: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        rows_of(*rows)


def test_another_user_may_begin_earlier() -> None:
    assert rows_of([1, 1, 2], [4, 5, 6], [8, 8, 1]).firsts.tolist() == [0, 0, 2]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"targets": "first"}, "Unknown targets `first`"),
        ({"padding": "both"}, "Unknown padding `both`"),
        ({"order": "none"}, "Unknown order `none`"),
        ({"max_length": 0}, "`max_length` must be at least 1"),
        ({"min_length": 0}, "`min_length` must be at least 1"),
        ({"targets": "sampled", "num_cuts": 0}, "`num_cuts` must be at least 1"),
        ({"num_cuts": 2}, "`num_cuts` must be 1 unless targets=sampled"),
    ],
)
def test_refusals(changes: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        SequenceRule(**changes)
