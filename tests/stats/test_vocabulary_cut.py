"""Vocabularies cut by frequency, against plain Python."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tfcausal.stats.hashing import hash_strings, shards_of
from tfcausal.stats.repeats import Repeats
from tfcausal.stats.shard_rows import ids_of, join_blocks
from tfcausal.stats.vocabulary import count_ids, order_vocabulary
from tfcausal.stats.vocabulary_cut import (
    bucket_ids,
    cut_rows,
    most_frequent,
    with_buckets,
)


def rows(seed: int, repeats: Repeats) -> pa.Table:
    generator = np.random.default_rng(seed)
    users = [f"u{number}" for number in generator.integers(0, 9, 200)]
    items = [f"i{number}" for number in generator.geometric(0.15, 200)]
    table = pa.table(
        {
            "user_id": pa.array(users).dictionary_encode(),
            "item_id": pa.array(items).dictionary_encode(),
            "timestamp": pa.array(generator.integers(0, 9, 200)),
            "like": pa.array(generator.random(200), pa.float32()),
        }
    )
    return join_blocks([table], repeats)


def counts(table: pa.Table, place: int) -> pa.Table:
    return count_ids(ids_of(table)[place])


def test_the_most_frequent_stay_ties_by_bytes() -> None:
    table = pa.table({"id": ["b", "a", "c", "d"], "count": [3, 3, 9, 1]})
    assert most_frequent(table, 2).to_pylist() == [
        {"id": "c", "count": 9},
        {"id": "a", "count": 3},
    ]
    assert len(most_frequent(table, 9)) == 4


@pytest.mark.parametrize("repeats", ["earliest", "latest", "keep"])
@pytest.mark.parametrize("num_buckets", [0, 3])
def test_cut_rows_against_a_plain_loop(repeats: Repeats, num_buckets: int) -> None:
    table = rows(0, repeats)
    items = most_frequent(counts(table, 1), 4)
    users = most_frequent(counts(table, 0), 6)
    kept_items, kept_users = set(items["id"].to_pylist()), set(users["id"].to_pylist())

    def bucket(text: str) -> str:
        word = int(hash_strings(pa.array([text]))[0])
        return f"\tbucket {word % num_buckets}"

    expected: dict[tuple[str, str], list[Any]] = {}
    for row in table.to_pylist():
        user, item = row["user_id"], row["item_id"]
        if num_buckets == 0 and not (user in kept_users and item in kept_items):
            continue
        user = user if user in kept_users else bucket(user)
        item = item if item in kept_items else bucket(item)
        expected.setdefault((user, item), []).append((row["timestamp"], row["like"]))
    found, changed = cut_rows(table, users, items, num_buckets, repeats)
    pairs: dict[tuple[str, str], list[Any]] = {}
    for row in found.to_pylist():
        pairs.setdefault((row["user_id"], row["item_id"]), []).append(
            (row["timestamp"], row["like"])
        )
    for pair, meetings in expected.items():
        # Times are compared; ties keep the order of the rows.
        ordered = sorted(meetings, key=lambda meeting: meeting[0])
        chosen = {"earliest": ordered[:1], "latest": ordered[-1:], "keep": ordered}
        times = [time for time, _ in chosen[repeats]]
        assert [time for time, _ in pairs[pair]] == times
        assert set(pairs[pair]) <= set(meetings)
    assert set(pairs) == set(expected)
    beyond = [row["user_id"] not in kept_users for row in table.to_pylist()]
    assert changed["rows_of_cut_users"] == sum(beyond)
    dropped = 0 if num_buckets else changed["rows_of_cut_users"]
    dropped += 0 if num_buckets else changed["rows_of_cut_items"]
    assert len(found) == len(table) - dropped - changed["rows_repeated_in_buckets"]
    columns = (found[name].to_pylist() for name in ("user_id", "timestamp"))
    keys = list(zip(*columns, strict=True))
    assert keys == sorted(keys)
    if repeats == "keep":
        met: Counter[tuple[str, str]] = Counter()
        for row in found.to_pylist():
            pair = row["user_id"], row["item_id"]
            assert row["occurrence"] == met[pair]
            met[pair] += 1


def test_without_a_cut_nothing_changes() -> None:
    table = rows(1, "earliest")
    found, changed = cut_rows(table, None, None, 0, "earliest")
    assert found.to_pydict() == table.to_pydict()
    assert set(changed.values()) == {0}


def test_a_bucket_of_users_lies_in_one_shard() -> None:
    ids = pa.array([f"user {number}" for number in range(500)])
    buckets, shards = shards_of(ids, 12), shards_of(ids, 4)
    assert (buckets % 4 == shards).all()


def test_buckets_come_last_in_their_order() -> None:
    table = pa.table(
        {"id": ["a", "\tbucket 2", "b", "\tbucket 0"], "count": [2, 9, 1, 9]}
    )
    vocabulary = with_buckets(order_vocabulary(table, "item_id"), 4)
    assert vocabulary["item_id"].to_pylist() == [
        "",
        "a",
        "b",
        *(f"\tbucket {number}" for number in range(4)),
    ]
    assert vocabulary["count"].to_pylist() == [0, 2, 1, 9, 0, 9, 0]
    plain = order_vocabulary(table.slice(0, 1), "item_id")
    assert with_buckets(plain, 0).equals(plain)
    assert bucket_ids(0).type == pa.string()
