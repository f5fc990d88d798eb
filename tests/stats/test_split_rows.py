"""Rules that draw rows: sizes, and which rows they leave where they were."""

import numpy as np
import pytest

from tests.stats.split_runs import block_of, take
from tfcausal.stats.split_rows import (
    POOL_PARTS,
    RANDOM_PARTS,
    IntervenedRows,
    PopularShares,
    RandomRows,
    popular_items,
    rows_for_share,
)
from tfcausal.stats.split_rules import Deal
from tfcausal.stats.splitting import pool_keys, row_words


def long_tail(num_rows: int = 600, seed: int = 3) -> tuple[list[int], list[int]]:
    generator = np.random.default_rng(seed)
    pairs = {
        (int(user), int(min(item, 49)) + 1)
        for user, item in zip(
            generator.integers(1, 41, 3 * num_rows),
            generator.pareto(0.8, 3 * num_rows) * 3,
            strict=True,
        )
    }
    users, items = zip(*sorted(pairs)[:num_rows], strict=True)
    return list(users), list(items)


def intervened(training_rows: int | None, seed: int = 1) -> dict[str, list[int]]:
    deal = Deal.of_shares(POOL_PARTS, 240, (0.25, 0.25, 0.5))
    rule = IntervenedRows(seed, 90.0, 240, deal, training_rows)
    return take(rule, block_of(rule, *long_tail()))


def test_share_of_intervened_training_data_moves_no_held_out_row() -> None:
    usual = intervened(None)
    sizes = {name: len(rows) for name, rows in usual.items()}
    assert sizes == {
        "train": 360,
        "train_intervened": 60,
        "validation": 60,
        "test": 120,
    }
    assert intervened(60) == usual
    before: set[int] = set()
    for wanted in (0, 1, 30, 60, 90, 120, 400):
        parts = intervened(wanted)
        assert parts["validation"] == usual["validation"]
        assert parts["test"] == usual["test"]
        assert ("train_intervened" in parts) == (wanted > 0)
        training = set(parts.get("train_intervened", []))
        assert len(training) == wanted
        # Each larger set holds the smaller ones.
        assert training >= before
        before = training
        # Fewer rows leave the others out; more come from train.
        assert set(parts["train"]) == set(usual["train"]) - training
        assert len(parts["train"]) == 360 - max(wanted - 60, 0)


def test_more_intervened_rows_are_the_next_by_weight() -> None:
    users, items = (np.asarray(column) for column in long_tail())
    counts = np.bincount(items)
    weights = 1 / counts[items]
    cap = np.percentile(np.unique(weights), 90)
    keys = pool_keys(row_words(1, users, items, None), np.minimum(weights, cap))
    order = np.argsort(keys)
    parts = intervened(100)
    pooled = {*parts["train_intervened"], *parts["validation"], *parts["test"]}
    assert pooled == set(order[:280].tolist())


def test_popular_items_by_hand() -> None:
    # Of counts 1, 2, 3, 4, 10 the 80th percentile is 4 + 0.2 * 6 = 5.2, of which the
    # item that no one met is no part; the 75th is 4, which 4 does not exceed.
    counts = np.asarray([0, 10, 1, 4, 2, 3])
    assert np.flatnonzero(popular_items(counts, 80)).tolist() == [1]
    assert np.flatnonzero(popular_items(counts, 75)).tolist() == [1]
    assert np.flatnonzero(popular_items(counts, 74)).tolist() == [1, 3]


@pytest.mark.parametrize(
    ("share", "popular", "unpopular", "kept"),
    [
        # 60 % popular as in DCCL's test set, and its three others.
        (0.6, 600, 400, (600, 400)),
        (0.5, 600, 400, (400, 400)),
        # 400 * 2 / 3 = 266.7 and 400 * 3 / 7 = 171.4
        (0.4, 600, 400, (267, 400)),
        (0.3, 600, 400, (171, 400)),
        # More popular rows than there are: fewer of the others, 600 * 3 / 7 = 257.1
        (0.7, 600, 400, (600, 257)),
        (0.5, 0, 7, (0, 0)),
        (0.5, 7, 0, (0, 0)),
    ],
)
def test_rows_for_share(
    share: float, popular: int, unpopular: int, kept: tuple[int, int]
) -> None:
    assert rows_for_share(share, popular, unpopular) == kept


def test_popular_test_sets_have_their_shares_and_hold_each_other() -> None:
    users, items = long_tail()
    deal = Deal.of_shares(RANDOM_PARTS, len(users), (0.4, 0.1, 0.5))
    shares = (0.9, 0.5, 0.4, 0.3)
    rule = PopularShares(RandomRows(5, deal), 80.0, shares)
    parts = take(rule, block_of(rule, users, items))
    base = take(rule.base, block_of(rule.base, users, items))
    assert {name: parts[name] for name in base} == base
    counts = np.bincount(items)
    limit = np.percentile(counts[counts > 0], 80)
    test = set(parts["test"])
    popular = {row for row in test if counts[items[row]] > limit}
    # The test set has between 50 and 90 % popular rows, so that both cases are met.
    assert 0.5 < len(popular) / len(test) < 0.9
    assert set(parts["test_popular_90"]) >= popular
    for share in shares:
        rows = set(parts[f"test_popular_{round(100 * share)}"])
        assert rows <= test
        kept = len(rows & popular)
        assert (kept, len(rows) - kept) == rows_for_share(
            share, len(popular), len(test) - len(popular)
        )
    for smaller, larger in ((30, 40), (40, 50)):
        assert set(parts[f"test_popular_{smaller}"]) < set(
            parts[f"test_popular_{larger}"]
        )
    assert set(parts["test_popular_50"]) >= test - popular


def test_kept_popular_rows_are_a_uniform_sample() -> None:
    # 12 popular rows and 4 others, all of them test; half popular keeps 4 of the 12.
    users, items = [*range(1, 13), 1, 2, 3, 4], [1] * 12 + [2, 3, 4, 5]
    deal = Deal.of_shares(RANDOM_PARTS, 16, (0.0, 0.0, 1.0))
    kept, trials = np.zeros(16), 1_500
    for seed in range(trials):
        rule = PopularShares(RandomRows(seed, deal), 80.0, (0.5,))
        kept[take(rule, block_of(rule, users, items))["test_popular_50"]] += 1
    assert (kept[12:] == trials).all()
    expected = trials / 3
    # Counts of a sample without replacement: variance n p (1 - p) * 12 / 11 spread
    # over 11 degrees of freedom, of which 37 is passed once in 10,000.
    chi_square = ((kept[:12] - expected) ** 2).sum() / (expected * (2 / 3) * 12 / 11)
    assert chi_square < 37
