"""Whole splits over many seeds, against the exact chance of every outcome."""

from collections import Counter
from itertools import permutations

import pytest
from scipy import stats

from tests.stats.split_runs import block_of, take
from tests.stats.test_splitting import exact_chances
from tfcausal.stats.split_rows import (
    POOL_PARTS,
    RANDOM_PARTS,
    IntervenedRows,
    RandomRows,
)
from tfcausal.stats.split_rules import Deal, Rule

# A user has the items 1, 1, 1, 2, 2, 3, in rows 0 to 5.
USERS, ITEMS, OCCURRENCES = [1] * 6, [1, 1, 1, 2, 2, 3], [0, 1, 2, 0, 1, 0]
Outcome = tuple[tuple[int, ...], ...]


def outcome(rule: Rule) -> Outcome:
    """Returns the rows of each part, in the order of the rule's parts."""
    block = block_of(rule, USERS, ITEMS, occurrences=OCCURRENCES)
    parts = take(rule, block)
    return tuple(tuple(parts[name]) for name in rule.parts)


def require_chances(found: Counter[Outcome], chances: dict[Outcome, float]) -> None:
    """Asserts that counts fit chances by a chi-square test passed 9,999 in 10,000."""
    assert set(found) <= set(chances)
    assert sum(chances.values()) == pytest.approx(1)
    trials = found.total()
    chi_square = sum(
        (found[outcome] - trials * chance) ** 2 / (trials * chance)
        for outcome, chance in chances.items()
    )
    assert chi_square < stats.chi2.ppf(0.9999, len(chances) - 1)


def test_random_rows_are_dealt_out_in_every_way_alike() -> None:
    deal = Deal(RANDOM_PARTS, (3, 4, 6))
    found = Counter(outcome(RandomRows(seed, deal)) for seed in range(3_000))
    ways = {
        (tuple(sorted(rows[:3])), rows[3:4], tuple(sorted(rows[4:])))
        for rows in permutations(range(6))
    }
    assert len(ways) == 60
    require_chances(found, dict.fromkeys(ways, 1 / 60))


@pytest.mark.parametrize("cap_percentile", [50.0, 100.0])
def test_intervened_rows_are_drawn_and_dealt_out_by_their_weights(
    cap_percentile: float,
) -> None:
    # 1 / popularity is 1/3, 1/2 and 1; the median caps it at 1/2.
    weights = [1 / 3] * 3 + [1 / 2] * 2 + [1.0 if cap_percentile == 100 else 1 / 2]
    deal = Deal(POOL_PARTS, (1, 2, 3))
    rules = (
        IntervenedRows(seed, cap_percentile, 3, deal, None) for seed in range(2_400)
    )
    found = Counter(map(outcome, rules))
    chances: dict[Outcome, float] = {}
    for pool, chance in exact_chances(weights, 3).items():
        train = tuple(sorted(set(range(6)) - pool))
        for order in permutations(pool):
            chances[(*((row,) for row in order), train)] = chance / 6
    require_chances(found, chances)
