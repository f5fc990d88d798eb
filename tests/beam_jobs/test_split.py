"""Splits: exact sizes, nothing lost, the same shards, and every rule as it says."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from beam_jobs.split import SplitOptions, run
from tests.beam_jobs.raw import raw_rows, read_interactions, write_csv
from tfcausal.errors import InputError
from tfcausal.schema.dataset import DatasetFolder
from tfcausal.schema.manifest import checksums, read_manifest
from tfcausal.stats.splitting import row_words

LOCAL = PipelineOptions(["--runner=local"])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a data set of four shards in row groups of 100 rows."""
    folder = tmp_path_factory.mktemp("split")
    raw = write_csv(folder / "raw.csv", raw_rows())
    ingest(
        IngestOptions(
            str(raw), "csv", folder / "dataset", repeats="keep", row_group_size=100
        ),
        LOCAL,
    )
    return folder / "dataset"


def rows_of(folder: Path) -> Counter[Any]:
    table = read_interactions(folder)
    return Counter(zip(*table.to_pydict().values(), strict=True))


# 2,000 rows of 80 users; the pool of 40 % has 800.
RULES: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "random": (
        {"rule": "random"},
        {"train": 1400, "validation": 200, "test": 400},
    ),
    "intervened": (
        {"rule": "intervened"},
        {"train": 1200, "train_intervened": 200, "validation": 200, "test": 400},
    ),
    "no intervened training": (
        {"rule": "intervened", "intervened_training_fraction": 0.0},
        {"train": 1200, "validation": 200, "test": 400},
    ),
    "twice the intervened training": (
        {"rule": "intervened", "intervened_training_fraction": 0.2},
        {"train": 1000, "train_intervened": 400, "validation": 200, "test": 400},
    ),
    "temporal": (
        {"rule": "temporal"},
        {"train": 1400, "validation": 200, "test": 400},
    ),
    "leave_last": (
        {"rule": "leave_last", "last_validation": 2},
        {"train": 1760, "validation": 160, "test": 80},
    ),
}


def keys_of(table: pa.Table) -> list[tuple[int, int, int]]:
    found = (table[name].to_pylist() for name in ("user", "item", "occurrence"))
    return list(zip(*found, strict=True))


@pytest.mark.parametrize("name", RULES)
def test_parts_have_exact_sizes_and_share_out_every_row(
    dataset: Path, name: str
) -> None:
    options, sizes = RULES[name]
    manifest = run(SplitOptions(dataset, overwrite=True, **options), LOCAL)
    folder = DatasetFolder(dataset)
    assert manifest.details["parts"] == sizes
    left_out = 2_000 - sum(sizes.values())
    assert dict(manifest.counts) == sizes | ({"left_out": left_out} if left_out else {})
    assert {path.name for path in folder.splits.iterdir()} == {*sizes, "manifest.json"}
    parts = {part: rows_of(folder.part(part)) for part in sizes}
    assert {part: rows.total() for part, rows in parts.items()} == sizes
    together = sum(parts.values(), Counter())
    whole = rows_of(folder.interactions)
    assert together == whole if not left_out else together < whole
    ingested = read_manifest(dataset, kind="dataset")
    assert manifest.inputs == {"dataset": ingested.fingerprint}


EVERY_RULE = {
    name: options
    for name, (options, _) in RULES.items()
    if name != "no intervened training"
} | {
    "temporal by limits": {
        "rule": "temporal",
        "validation_from": 100,
        "test_from": 200,
    },
    "held_out_users": {"rule": "held_out_users", "only_items_of_train": True},
    "held_out_sequences": {
        "rule": "held_out_sequences",
        "validation_users": 5,
        "test_users": 11,
    },
    "popular_share": {"rule": "popular_share", "popular_shares": (0.8, 0.3)},
    "marked": {"rule": "marked", "marked_column": "timestamp"},
}


@pytest.mark.parametrize("name", EVERY_RULE)
def test_beam_writes_what_the_stages_write_without_it(dataset: Path, name: str) -> None:
    options = SplitOptions(dataset, overwrite=True, **EVERY_RULE[name])
    manifest = run(options, LOCAL)
    folder = DatasetFolder(dataset)
    # The parts have the shards of the data set, and rows in their order.
    for path in folder.interactions.iterdir():
        whole = {row: n for n, row in enumerate(keys_of(pq.read_table(path)))}
        for part in manifest.details["parts"]:
            rows = keys_of(pq.read_table(folder.part(part) / path.name))
            places = [whole[row] for row in rows]
            assert places == sorted(places)
    again = run(options)
    assert again == manifest
    assert checksums(folder.splits) == dict(manifest.files)


@pytest.mark.parametrize("rule", ["temporal", "held_out_users"])
def test_shards_and_row_groups_do_not_matter(tmp_path: Path, rule: str) -> None:
    raw = write_csv(tmp_path / "raw.csv", raw_rows())
    found = []
    for num_shards, row_group_size in ((4, 100), (1, 5_000)):
        dataset = tmp_path / f"{num_shards}"
        ingest(
            IngestOptions(
                str(raw),
                "csv",
                dataset,
                repeats="keep",
                num_shards=num_shards,
                row_group_size=row_group_size,
            ),
            LOCAL,
        )
        manifest = run(SplitOptions(dataset, rule), LOCAL)
        folder = DatasetFolder(dataset)
        found.append({name: rows_of(folder.part(name)) for name in manifest.counts})
    assert found[0] == found[1]


def test_pool_is_the_smallest_keys_of_all_shards(dataset: Path) -> None:
    # -log(U) / w with numpy's own logarithm, over all rows at once.
    run(
        SplitOptions(dataset, "intervened", seed=3, cap_percentile=50, overwrite=True),
        LOCAL,
    )
    folder = DatasetFolder(dataset)
    table = read_interactions(folder.interactions)
    users, items, met = (
        table[name].to_numpy() for name in ("user", "item", "occurrence")
    )
    inverse = 1 / np.bincount(items)[items]
    weights = np.minimum(inverse, np.percentile(np.unique(inverse), 50))
    words = row_words(3, users, items, met) + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    uniforms = ((words >> np.uint64(11)).astype(float) + 0.5) / 2**53
    chosen = np.argsort(-np.log(uniforms) / weights)[:800]
    pool = Counter(zip(users[chosen], items[chosen], met[chosen], strict=True))
    found: Counter[Any] = Counter()
    for name in ("train_intervened", "validation", "test"):
        found.update(keys_of(read_interactions(folder.part(name))))
    assert found == pool


def test_temporal_parts_follow_each_other_in_time(dataset: Path) -> None:
    folder = DatasetFolder(dataset)
    options = SplitOptions(dataset, "temporal", seed=5, overwrite=True)
    manifest = run(options, LOCAL)
    assert dict(manifest.options) == {
        "rule": "temporal",
        "seed": 5,
        "fractions": [0.7, 0.1, 0.2],
    }
    times = {
        name: read_interactions(folder.part(name))["timestamp"].to_numpy()
        for name in ("train", "validation", "test")
    }
    assert times["train"].max() <= times["validation"].min()
    assert times["validation"].max() <= times["test"].min()
    whole = np.sort(read_interactions(folder.interactions)["timestamp"].to_numpy())
    assert np.array_equal(np.sort(times["test"]), whole[1_600:])

    limits = SplitOptions(
        dataset, "temporal", validation_from=100, test_from=200, overwrite=True
    )
    manifest = run(limits, LOCAL)
    assert dict(manifest.options) == {
        "rule": "temporal",
        "validation_from": 100,
        "test_from": 200,
    }
    assert dict(manifest.counts) == {
        "train": int((whole < 100).sum()),
        "validation": int(((whole >= 100) & (whole < 200)).sum()),
        "test": int((whole >= 200).sum()),
    }


def test_leave_last_takes_the_end_of_each_history(dataset: Path) -> None:
    run(SplitOptions(dataset, "leave_last", last_test=3, overwrite=True), LOCAL)
    folder = DatasetFolder(dataset)
    histories: dict[int, list[Any]] = {}
    for row in keys_of(read_interactions(folder.interactions)):
        histories.setdefault(row[0], []).append(row)
    found = {
        name: keys_of(read_interactions(folder.part(name)))
        for name in ("train", "validation", "test")
    }
    for name, begin, end in (
        ("train", 0, -4),
        ("validation", -4, -3),
        ("test", -3, None),
    ):
        expected = [row for rows in histories.values() for row in rows[begin:end]]
        assert sorted(found[name]) == sorted(expected)


@pytest.mark.parametrize("rule", ["held_out_users", "held_out_sequences"])
def test_held_out_users_are_exact(dataset: Path, rule: str) -> None:
    folder = DatasetFolder(dataset)

    def users_of(name: str) -> set[int]:
        return set(read_interactions(folder.part(name))["user"].to_pylist())

    for options, held in (
        ({}, (8, 8)),
        ({"validation_users": 3, "test_users": 20}, (3, 20)),
    ):
        manifest = run(
            SplitOptions(dataset, rule, overwrite=True, **options),
            LOCAL,
        )
        parts = ("validation_fold_in", "validation", "test_fold_in", "test", "train")
        assert set(manifest.details["parts"]) == set(parts)
        found = {name: users_of(name) for name in parts}
        assert (len(found["validation_fold_in"]), len(found["test_fold_in"])) == held
        assert found["validation"] <= found["validation_fold_in"]
        assert found["test"] <= found["test_fold_in"]
        assert len(found["train"]) == 80 - sum(held)
        assert sum(manifest.counts.values()) == 2_000
    assert "user_fractions" not in manifest.options
    assert manifest.options["test_users"] == 20


def test_popular_share_test_sets(dataset: Path) -> None:
    manifest = run(
        SplitOptions(
            dataset, "popular_share", popular_shares=(0.5, 0.3), overwrite=True
        ),
        LOCAL,
    )
    folder = DatasetFolder(dataset)
    counts = np.bincount(read_interactions(folder.interactions)["item"].to_numpy())
    popular = counts > np.percentile(counts[counts > 0], 80)
    tests = {
        name: popular[read_interactions(folder.part(name))["item"].to_numpy()]
        for name in ("test", "test_popular_50", "test_popular_30")
    }
    unpopular = int((~tests["test"]).sum())
    assert tests["test"].mean() > 0.5
    # All unpopular rows stay; beside them as many popular ones, or 3 for each 7.
    assert {name: (len(rows), int(rows.sum())) for name, rows in tests.items()} == {
        "test": (400, 400 - unpopular),
        "test_popular_50": (2 * unpopular, unpopular),
        "test_popular_30": (
            unpopular + round(unpopular * 3 / 7),
            round(unpopular * 3 / 7),
        ),
    }
    assert manifest.details["parts"]["test_popular_50"] == 2 * unpopular
    assert set(manifest.options) == {
        "rule",
        "seed",
        "fractions",
        "popular_percentile",
        "popular_shares",
    }


def test_intervention_evens_out_exposure(dataset: Path) -> None:
    run(SplitOptions(dataset, "intervened", cap_percentile=100, overwrite=True), LOCAL)
    folder = DatasetFolder(dataset)

    def concentration(name: str) -> float:
        items = read_interactions(folder.part(name))["item"].to_numpy()
        shares = np.bincount(items) / len(items)
        return float((shares**2).sum())

    assert concentration("test") < concentration("train") / 2


def test_seed_decides(dataset: Path) -> None:
    fingerprints = []
    for seed in (0, 0, 1):
        options = SplitOptions(dataset, "random", seed=seed, overwrite=True)
        manifest = run(options, LOCAL)
        fingerprints.append(manifest.files)
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_a_share_of_nothing_makes_no_part(dataset: Path) -> None:
    options = SplitOptions(
        dataset, "intervened", intervened_shares=(0.0, 0.5, 0.5), overwrite=True
    )
    assert dict(run(options, LOCAL).counts) == {
        "train": 1200,
        "validation": 400,
        "test": 400,
    }
    assert not DatasetFolder(dataset).part("train_intervened").exists()


def test_refusals(dataset: Path, tmp_path: Path) -> None:
    run(SplitOptions(dataset, "random", overwrite=True), LOCAL)
    with pytest.raises(InputError, match="must not exist yet"):
        run(SplitOptions(dataset, "random"))
    with pytest.raises(InputError, match="found none"):
        run(SplitOptions(tmp_path, "random"))
    for changes, match in (
        ({"rule": "temporary"}, "Unknown rule `temporary`. Did you mean `temporal`"),
        ({"cap_percentile": 101.0}, r"\[0, 100\]"),
        ({"pool_fraction": 0.0}, r"\(0, 1\)"),
        ({"fractions": (0.5, 0.5)}, "3 shares"),
        ({"user_fractions": (0.5, 0.5, 0.5)}, "`user_fractions` must be 3 shares"),
        ({"popular_percentile": -1.0}, r"`popular_percentile` must lie in \[0, 100\]"),
        ({"fold_in": 1.0}, r"`fold_in` must lie in \(0, 1\)"),
        # Validation and test take three quarters of 40 %.
        ({"intervened_training_fraction": 0.7}, r"\[0, 0\.7\), .* take 0\.3 of all"),
        ({"intervened_training_fraction": -0.1}, r"got -0\.1"),
        ({"validation_from": 5, "test_from": 5}, "`validation_from` must be before"),
        ({"last_test": -1}, "neither below 0 and one above it; got 1 and -1"),
        ({"last_test": 0, "last_validation": 0}, "got 0 and 0"),
        ({"test_users": 4}, "`test_users` must both be given.*got None and 4"),
        ({"popular_shares": (0.3, 0.3)}, "different whole numbers of percent"),
        ({"popular_shares": (0.305,)}, "different whole numbers of percent"),
        ({"popular_shares": (0.3, 1.0)}, "different whole numbers of percent"),
        (
            {"rule": "popular_share", "fractions": (0.5, 0.5, 0.0)},
            "`fractions` must give test a share",
        ),
    ):
        with pytest.raises(InputError, match=match):
            SplitOptions(**({"dataset": dataset, "rule": "random"} | changes))


def test_too_few_rows_for_every_part(tmp_path: Path) -> None:
    raw = write_csv(tmp_path / "raw.csv", [("a", "x", 1, 1), ("b", "y", 1, 1)])
    ingest(IngestOptions(str(raw), "csv", tmp_path / "dataset"), LOCAL)
    with pytest.raises(InputError, match="`test` gets none of 2"):
        run(SplitOptions(tmp_path / "dataset", "random"), LOCAL)
    assert not DatasetFolder(tmp_path / "dataset").splits.exists()


def test_a_rule_that_finds_nothing_for_a_part_is_refused(dataset: Path) -> None:
    for options, match in (
        ({"rule": "temporal", "test_from": 300}, "`test` gets none of 2000"),
        ({"rule": "leave_last", "last_test": 500}, "gets none of 2000"),
        # 1,400 of 2,000 rows, rounded, where the others are validation and test.
        (
            {"rule": "intervened", "intervened_training_fraction": 0.6999},
            "`train` gets none of 2000",
        ),
        (
            {"rule": "held_out_users", "validation_users": 40, "test_users": 40},
            "Of 80 users, some must be left for train; 40 for validation and 40 for",
        ),
        # No item is popular, so no test set has a share of popular ones.
        (
            {"rule": "popular_share", "popular_percentile": 100.0},
            "`test_popular_30` gets none of 2000",
        ),
    ):
        with pytest.raises(InputError, match=match):
            run(SplitOptions(dataset, overwrite=True, **options), LOCAL)


def test_marked_rows_alone_are_held_out(dataset: Path) -> None:
    # Rows of the first 0 seconds are not marked, all others are.
    options = SplitOptions(
        dataset,
        "marked",
        marked_column="timestamp",
        intervened_shares=(0.1, 0.2, 0.7),
        overwrite=True,
    )
    sizes = dict(run(options, LOCAL).counts)
    folder = DatasetFolder(dataset)
    unmarked = sizes.pop("train")
    assert unmarked == sum(time == 0 for *_, time in raw_rows())
    times = read_interactions(folder.part("train"))["timestamp"].to_numpy()
    assert not times.any()
    marked = 2000 - unmarked
    assert sizes == pytest.approx(
        {
            "train_intervened": 0.1 * marked,
            "validation": 0.2 * marked,
            "test": 0.7 * marked,
        },
        abs=1,
    )
    parts = [rows_of(folder.part(name)) for name in (*sizes, "train")]
    assert sum(parts, Counter()) == rows_of(folder.interactions)
    assert read_interactions(folder.part("test"))["timestamp"].to_numpy().all()


@pytest.mark.parametrize("column", ["rating", "shown_at_random"])
def test_marks_are_a_column_of_integers(dataset: Path, column: str) -> None:
    options = SplitOptions(dataset, "marked", marked_column=column, overwrite=True)
    with pytest.raises(
        InputError, match=rf"got {column}, and there are user \(int32\), item"
    ):
        run(options, LOCAL)


def test_a_split_by_time_needs_timestamps(tmp_path: Path) -> None:
    raw = write_csv(tmp_path / "raw.csv", raw_rows())
    dataset = tmp_path / "dataset"
    ingest(IngestOptions(str(raw), "csv", dataset, timestamp_column=""), LOCAL)
    for changes in ({}, {"test_from": 3}):
        with pytest.raises(InputError, match="must have timestamps to be split by"):
            run(SplitOptions(dataset, "temporal", **changes), LOCAL)
    # The order of the input stands for time where that is all there is.
    run(SplitOptions(dataset, "leave_last"), LOCAL)


def test_a_data_set_that_lost_rows_is_refused(tmp_path: Path) -> None:
    raw = write_csv(tmp_path / "raw.csv", raw_rows())
    dataset = tmp_path / "dataset"
    ingest(IngestOptions(str(raw), "csv", dataset), LOCAL)
    path = dataset / "interactions/part-00001.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(InputError, match=r"must have \d+ rows, as its manifest says"):
        run(SplitOptions(dataset, "random"))
    path.unlink()
    with pytest.raises(InputError, match=r"part-00001\.parquet is missing"):
        run(SplitOptions(dataset, "random"))
