"""A rule of a split taken over rows in memory, by sorting in place of counting."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfcausal.stats.selection import Threshold
from tfcausal.stats.split_rules import RowBlock, Rule, Tally


def block_of(
    rule: Rule,
    users: Sequence[int],
    items: Sequence[int],
    *,
    timestamps: Sequence[int] | None = None,
    occurrences: Sequence[int] | None = None,
) -> RowBlock:
    """Returns all rows as a block, with what the rule wants to know of items."""
    array = np.asarray(items, np.int32)
    values = None
    if rule.uses_item_values:
        values = rule.item_values(np.bincount(array))[array]
    return RowBlock(
        numbers=np.arange(len(array)),
        users=np.asarray(users, np.int32),
        items=array,
        occurrences=None if occurrences is None else np.asarray(occurrences, np.int32),
        timestamps=None if timestamps is None else np.asarray(timestamps, np.int64),
        item_values=values,
    )


def take(rule: Rule, block: RowBlock) -> dict[str, list[int]]:
    """Returns the numbers of the rows of each part."""
    found: list[Any] = []
    for step in rule.steps:
        if isinstance(step, Tally):
            found.append(step.count(block, found))
            continue
        keys = step.keys(block, found)
        ordered = sorted(zip(keys.keys.tolist(), keys.rows.tolist(), strict=True))
        found.append(
            [
                Threshold(*ordered[rank - 1]) if rank else Threshold(nothing=True)
                for rank in step.ranks(found)
            ]
        )
    members = rule.members(block, found)
    assert set(members) == set(rule.parts)
    return {name: np.flatnonzero(chosen).tolist() for name, chosen in members.items()}
