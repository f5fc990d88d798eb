"""The iterated core and the cut vocabularies of ingest, against plain Python."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.ingest import IngestOptions, run
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from tests.beam_jobs.raw import raw_rows, read_interactions, with_ids, write_csv
from tfcausal.errors import InputError
from tfcausal.schema.manifest import Manifest, checksums


def ingest(tmp_path: Path, name: str, flags: Any = (), **changes: Any) -> Manifest:
    raw = tmp_path / "raw.csv"
    if not raw.exists():
        write_csv(raw, raw_rows())
    options = IngestOptions(str(raw), "csv", tmp_path / name, **changes)
    return run(options, PipelineOptions(list(flags)))


def pairs_of(tmp_path: Path, name: str) -> list[tuple[str, str]]:
    dataset = tmp_path / name
    return with_ids(dataset, read_interactions(dataset / "interactions"))


def core(pairs: set[tuple[str, str]], least: int) -> tuple[set[tuple[str, str]], int]:
    """Removes rare items, then rare users, until none is left; and counts rounds."""
    rounds = 0
    while True:
        items = Counter(item for _, item in pairs)
        left = {pair for pair in pairs if items[pair[1]] >= least}
        users = Counter(user for user, _ in left)
        left = {pair for pair in left if users[pair[0]] >= least}
        if left == pairs:
            return pairs, rounds
        pairs, rounds = left, rounds + 1


@pytest.mark.parametrize("least", [2, 7])
def test_the_core_against_a_plain_loop(tmp_path: Path, least: int) -> None:
    expected, rounds = core({(user, item) for user, item, *_ in raw_rows()}, least)
    assert expected
    manifest = ingest(tmp_path, "beam", min_core=least, core_rounds=max(rounds, 1))
    assert sorted(pairs_of(tmp_path, "beam")) == sorted(expected)
    assert manifest.counts["interactions"] == len(expected)
    ingest(
        tmp_path,
        "local",
        ["--runner=local"],
        min_core=least,
        core_rounds=max(rounds, 1),
    )
    found = checksums(tmp_path / "local")
    assert found == checksums(tmp_path / "beam")
    # More rounds change nothing, and the first filters come before.
    ingest(tmp_path, "more", ["--runner=local"], min_core=least, core_rounds=50)
    assert checksums(tmp_path / "more") == found


def chain() -> list[tuple[str, str, int, int]]:
    """Returns rows of which each round of a 2-core removes few: a path of pairs."""
    path = [(f"u{n}", f"i{n + step}", 1, n) for n in range(9) for step in (0, 1)]
    square = [(f"x{a}", f"y{b}", 1, 1) for a in range(2) for b in range(2)]
    return path + square


@pytest.mark.parametrize("flags", [[], ["--runner=local"]])
def test_too_few_rounds_are_refused(tmp_path: Path, flags: list[str]) -> None:
    write_csv(tmp_path / "raw.csv", chain())
    expected, rounds = core({(user, item) for user, item, *_ in chain()}, 2)
    assert (len(expected), rounds) == (4, 5)
    with pytest.raises(InputError, match="`--core_rounds` must be enough"):
        ingest(tmp_path, "few", flags, min_core=2, core_rounds=rounds - 1)
    assert not (tmp_path / "few").exists()
    ingest(tmp_path, "enough", flags, min_core=2, core_rounds=rounds)
    assert set(pairs_of(tmp_path, "enough")) == expected


def test_a_user_with_too_few_goes_although_all_items_are_frequent(
    tmp_path: Path,
) -> None:
    rows = [(f"u{user}", f"i{item}", 1, 1) for user in range(3) for item in range(3)]
    write_csv(tmp_path / "raw.csv", [*rows, ("alone", "i0", 1, 1)])
    for name, flags in (("a", []), ("b", ["--runner=local"])):
        ingest(tmp_path, name, flags, min_core=3)
        assert sorted(pairs_of(tmp_path, name)) == sorted(row[:2] for row in rows)


def test_nothing_left_of_the_core(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="or --min_core"):
        ingest(tmp_path, "none", ["--runner=local"], min_core=1000)


@pytest.mark.parametrize("buckets", [0, 8])
def test_cut_vocabularies(tmp_path: Path, buckets: int) -> None:
    changes = {
        "max_users": 30,
        "max_items": 10,
        "hash_buckets": buckets,
        "num_shards": 4,
    }
    manifest = ingest(tmp_path, "beam", **changes)
    ingest(tmp_path, "local", ["--runner=local"], **changes)
    assert checksums(tmp_path / "beam") == checksums(tmp_path / "local")
    all_pairs = {(user, item) for user, item, *_ in raw_rows()}
    table = read_interactions(tmp_path / "beam/interactions")
    pairs = pairs_of(tmp_path, "beam")
    assert len(set(pairs)) == len(pairs)
    for place, name, maximum in ((0, "user", 30), (1, "item", 10)):
        counts = Counter(pair[place] for pair in all_pairs)
        ordered = sorted(counts, key=lambda text: (-counts[text], text.encode()))
        kept = set(ordered[:maximum])
        vocabulary = pq.read_table(tmp_path / f"beam/{name}s.parquet")
        ids = vocabulary[f"{name}_id"].to_pylist()
        assert len(ids) == 1 + maximum + buckets
        assert set(ids[1 : 1 + maximum]) == kept
        assert ids[1 + maximum :] == [f"\tbucket {n}" for n in range(buckets)]
        # The counts are those of the rows that are there.
        found = np.bincount(table[name].to_numpy(), minlength=len(ids))
        assert vocabulary["count"].to_pylist() == found.tolist()
        assert manifest.details[f"{name}_buckets"] == buckets
    known = {pair for pair in pairs if not any("\t" in part for part in pair)}
    users, items = (
        set(pq.read_table(tmp_path / f"beam/{name}s.parquet")[f"{name}_id"].to_pylist())
        for name in ("user", "item")
    )
    assert known == {
        (user, item) for user, item in all_pairs if user in users and item in items
    }
    if buckets:
        # Each shard holds whole users, buckets too.
        paths = sorted((tmp_path / "beam/interactions").iterdir())
        shards = [set(pq.read_table(path)["user"].to_pylist()) for path in paths]
        assert sum(map(len, shards)) == len(set.union(*shards))
    parts = split(SplitOptions(tmp_path / "beam", "intervened")).details["parts"]
    assert sum(parts.values()) == len(pairs)


def test_a_cut_that_needs_none_leaves_room_for_unknown_ids(tmp_path: Path) -> None:
    manifest = ingest(
        tmp_path, "a", ["--runner=local"], max_items=10_000, hash_buckets=3
    )
    plain = ingest(tmp_path, "b", ["--runner=local"])
    assert manifest.counts["items"] == plain.counts["items"] + 3
    assert manifest.counts["rows_of_cut_items"] == 0
    assert read_interactions(tmp_path / "a/interactions").equals(
        read_interactions(tmp_path / "b/interactions")
    )


def test_wrong_options(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`hash_buckets` must go with"):
        ingest(tmp_path, "a", hash_buckets=4)
    with pytest.raises(InputError, match="multiple of the number of shards, 4"):
        ingest(tmp_path, "a", max_users=5, hash_buckets=6)
    for name in ("min_core", "core_rounds", "max_users", "max_items"):
        with pytest.raises(InputError, match=f"`{name}` must be at least 1"):
            ingest(tmp_path, "a", **{name: 0})
    with pytest.raises(InputError, match="`hash_buckets` must be at least 0"):
        ingest(tmp_path, "a", hash_buckets=-1)
