"""A shard's rows from clean blocks to indexed interactions."""

from itertools import permutations
from typing import Any

import pyarrow as pa

from tfcausal.stats.shard_rows import (
    at_least,
    cut_by_user,
    drop_rare,
    ids_of,
    index_rows,
    join_blocks,
    with_place,
)
from tfcausal.stats.vocabulary import count_ids, frequent


def clean_rows(rows: list[tuple[Any, ...]]) -> pa.Table:
    users, items, ratings, times = zip(*rows, strict=True)
    return pa.table(
        {
            "user_id": pa.array(users).dictionary_encode(),
            "item_id": pa.array(items).dictionary_encode(),
            "rating": pa.array(ratings, pa.float32()),
            "timestamp": pa.array(times, pa.int64()),
        }
    )


ROWS = [
    ("bob", "x", 4.0, 30),
    ("ann", "x", 5.0, 20),
    ("bob", "y", 3.0, 10),
    ("bob", "x", 1.0, 5),
    ("ann", "z", 2.0, 20),
    ("cat", "z", 2.0, 1),
]


def test_cut_by_user_keeps_each_user_whole_and_every_row() -> None:
    parts = cut_by_user(clean_rows(ROWS), 3)
    users = [set(part["user_id"].to_pylist()) for part in parts.values()]
    assert sum(map(len, users)) == len(set.union(*users)) == 3
    for part in parts.values():
        # No shard carries the ids of another.
        (ids,) = part["user_id"].chunks
        assert set(ids.dictionary.to_pylist()) == set(ids.to_pylist())
    found = [row for part in parts.values() for row in part.to_pylist()]
    assert sorted(found, key=str) == sorted(clean_rows(ROWS).to_pylist(), key=str)
    assert cut_by_user(clean_rows(ROWS).slice(0, 0), 3) == {}


def test_join_blocks_does_not_show_the_blocks() -> None:
    expected = {
        "user_id": ["ann", "ann", "bob", "bob", "cat"],
        "item_id": ["x", "z", "x", "y", "z"],
        "rating": [5.0, 2.0, 1.0, 3.0, 2.0],
        "timestamp": [20, 20, 5, 10, 1],
    }
    for cut in (1, 3, 5):
        blocks = [
            with_place(clean_rows(ROWS[:cut]), 7),
            with_place(clean_rows(ROWS[cut:]), 7 + cut),
            clean_rows(ROWS).slice(0, 0),
        ]
        for mixed in permutations(blocks):
            assert join_blocks(mixed, "earliest").to_pydict() == expected


def test_rare_items_go_before_rare_users_are_counted() -> None:
    # Item y has one interaction, so bob keeps one of two and goes, and cat with hers.
    rows = join_blocks([clean_rows(ROWS)], "earliest")
    _, items = ids_of(rows)
    kept, dropped = drop_rare(rows, frequent(count_ids(items), 2), min_user_count=2)
    assert kept["user_id"].to_pylist() == ["ann", "ann"]
    assert dropped == {"rare_item": 1, "rare_user": 2}


def test_index_rows_orders_by_user_index_then_time() -> None:
    rows = join_blocks([clean_rows(ROWS)], "keep")
    users, items = pa.array(["", "bob", "ann", "cat"]), pa.array(["", "x", "z", "y"])
    assert index_rows(rows, users, items).to_pydict() == {
        "user": [1, 1, 1, 2, 2, 3],
        "item": [1, 3, 1, 1, 2, 2],
        "rating": [1.0, 3.0, 4.0, 5.0, 2.0, 2.0],
        "timestamp": [5, 10, 30, 20, 20, 1],
        "occurrence": [0, 0, 1, 0, 0, 0],
    }


def test_a_rating_equal_to_the_minimum_stays() -> None:
    rows = clean_rows([("a", "x", 0.1, 0), ("a", "y", 0.0999, 0)])
    assert at_least(rows, 0.1)["item_id"].to_pylist() == ["x"]
    assert len(at_least(rows, None)) == 2
