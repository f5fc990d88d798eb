"""Counting items, as a CombineFn, as a PTransform and as a job."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_pipeline import TestPipeline as BeamPipeline
from apache_beam.testing.util import BeamAssertException, assert_that

from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from beam_jobs.popularity import PopularityOptions, run
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from beam_jobs.transforms.popularity import CountItems, CountPopularity, ReadRowGroups
from tests.beam_jobs.raw import (
    Row,
    make_dataset,
    raw_rows,
    read_interactions,
    write_csv,
)
from tfcausal.errors import InputError
from tfcausal.schema.columns import popularity_schema
from tfcausal.schema.dataset import DatasetFolder
from tfcausal.schema.manifest import read_manifest


def batch(items: list[int]) -> pa.RecordBatch:
    return pa.record_batch({"item": pa.array(items, pa.int32())})


def is_counts(expected: list[int]) -> object:
    def check(actual: list[np.ndarray]) -> None:
        if [counts.tolist() for counts in actual] != [expected]:
            raise BeamAssertException(f"{actual} is not {expected}")

    return check


def test_any_grouping_of_batches_gives_the_same_counts() -> None:
    batches = [batch([1, 2, 2]), batch([]), batch([3]), batch([2, 1])]
    count = CountItems(5)
    for cuts in ([], [1], [2, 3], [1, 2, 3]):
        accumulators = []
        for group in np.split(np.arange(4), cuts):
            accumulator = count.create_accumulator()
            for number in group:
                accumulator = count.add_input(accumulator, batches[number])
            accumulators.append(accumulator)
        merged = count.merge_accumulators(accumulators)
        assert count.extract_output(merged).tolist() == [0, 2, 3, 1, 0]


def test_transform() -> None:
    with BeamPipeline(runner="FnApiRunner") as pipeline:
        counts = (
            pipeline
            | beam.Create([batch([1, 2, 2]), batch([]), batch([3])])
            | CountPopularity(4)
        )
        assert_that(counts, is_counts([0, 1, 2, 1]))


def test_transform_of_nothing_counts_nothing() -> None:
    with BeamPipeline(runner="FnApiRunner") as pipeline:
        counts = pipeline | beam.Create([]) | CountPopularity(3)
        assert_that(counts, is_counts([0, 0, 0]))


def test_reads_only_what_is_asked_for(tmp_path: Path) -> None:
    table = pa.table({"user": [1, 2, 3], "item": pa.array([1, 1, 2], pa.int32())})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=2)
    pq.write_table(table.slice(0, 0), tmp_path / "empty.parquet")
    paths = [tmp_path / "rows.parquet", tmp_path / "empty.parquet"]

    def check(batches: list[pa.RecordBatch]) -> None:
        found = sorted((b.schema.names, b.column("item").to_pylist()) for b in batches)
        if found != [(["item"], [1, 1]), (["item"], [2])]:
            raise BeamAssertException(str(found))

    with BeamPipeline(runner="FnApiRunner") as pipeline:
        assert_that(pipeline | ReadRowGroups(paths, ["item"]), check)


def test_job_counts_the_training_parts_only(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    folder = DatasetFolder(dataset)
    table = pq.read_table(folder.popularity / "popularity.parquet")
    assert table.schema.equals(popularity_schema())
    num_items = pq.read_metadata(folder.items).num_rows
    for part, column in (
        ("train", "popularity"),
        ("train_intervened", "popularity_intervened"),
    ):
        items = read_interactions(folder.part(part))["item"].to_numpy()
        expected = np.bincount(items, minlength=num_items)
        assert table[column].to_pylist() == expected.tolist()
    rank = table["popularity_rank"].to_numpy()
    by_rank = table["popularity"].to_numpy()[np.argsort(rank)]
    assert (np.diff(by_rank) <= 0).all()
    assert rank[0] == num_items - 1
    manifest = read_manifest(folder.popularity, kind="popularity")
    splits = read_manifest(folder.splits, kind="splits")
    assert manifest.inputs == {"splits": splits.fingerprint}
    assert set(manifest.files) == {
        "popularity.parquet",
        "normalised.parquet",
        "propensity.parquet",
        "popularity_by_slot.parquet",
    }

    with pytest.raises(InputError, match="must not exist yet"):
        run(PopularityOptions(dataset))
    split(SplitOptions(dataset, "random", fractions=(0.0, 0.5, 0.5), overwrite=True))
    with pytest.raises(InputError, match="at least one interaction"):
        run(PopularityOptions(dataset, overwrite=True))


def read(dataset: Path, name: str) -> dict[str, Any]:
    """Returns the columns of a table that the job wrote."""
    path = DatasetFolder(dataset).popularity / f"{name}.parquet"
    columns: dict[str, Any] = pq.read_table(path).to_pydict()
    return columns


def train_rows(dataset: Path) -> dict[str, list[Any]]:
    """Returns the columns of the rows that are counted."""
    rows: dict[str, list[Any]] = read_interactions(
        DatasetFolder(dataset).part("train")
    ).to_pydict()
    return rows


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a data set with times of some weeks, split by time."""
    rows = [
        (user, item, rating, START + time * 9_973)
        for user, item, rating, time in raw_rows()
    ]
    return make_timed(tmp_path_factory.mktemp("plain"), rows)


START = 951_000_000
"""A second of February 2000."""


def make_timed(folder: Path, rows: Sequence[Row], rule: Any = "temporal") -> Path:
    """Ingests rows, of which all but a tenth, the last, are for training."""
    raw = write_csv(folder / "raw.csv", rows)
    dataset = folder / "dataset"
    ingest(
        IngestOptions(
            str(raw), "csv", dataset, repeats="keep", row_group_size=100, num_shards=3
        )
    )
    split(SplitOptions(dataset, rule, fractions=(0.9, 0.0, 0.1)))
    return dataset


@pytest.mark.parametrize("rule", ["equal_time", "equal_rows"])
def test_slots(plain: Path, rule: Any) -> None:
    options = PopularityOptions(plain, num_slots=5, slot_rule=rule, overwrite=True)
    slots = run(options).details["slots"]
    rows = train_rows(plain)
    begins, times = slots["begins"], rows["timestamp"]
    assert begins[0] == min(times)
    if rule == "equal_time":
        length = (max(times) - min(times) + 1) / 5
        assert np.diff(begins) == pytest.approx([length] * 4, abs=1)
    counts = np.zeros((pq.read_metadata(DatasetFolder(plain).items).num_rows, 5), int)
    for item, time in zip(rows["item"], times, strict=True):
        slot = max(number for number, begin in enumerate(begins) if begin <= time)
        counts[item, slot] += 1
    assert read(plain, "popularity_by_slot")["popularity_by_slot"] == counts.tolist()
    assert slots["rows"] == counts.sum(axis=0).tolist()
    if rule == "equal_rows":
        # All rows of a second are in one slot.
        most = max(Counter(times).values())
        assert np.abs(np.asarray(slots["rows"]) - len(times) / 5).max() <= 2 * most


def test_by_day_the_same_counts(plain: Path) -> None:
    run(PopularityOptions(plain, overwrite=True))
    names = ("popularity", "normalised", "propensity")
    at_once = [read(plain, name) for name in names]
    manifest = run(PopularityOptions(plain, by_day=True, overwrite=True))
    assert [read(plain, name) for name in names] == at_once
    begins = manifest.details["slots"]["begins"]
    assert len(begins) == 9
    assert {begin % 86_400 for begin in begins} == {0}
    assert [name for name in manifest.files if name.startswith("days/")] == [
        "days/2000-02.parquet",
        "days/2000-03.parquet",
    ]


def test_older_interactions_weigh_less(plain: Path) -> None:
    run(PopularityOptions(plain, half_life=3.0, overwrite=True))
    rows = train_rows(plain)
    days = [time // 86_400 for time in rows["timestamp"]]
    expected = [0.0] * pq.read_metadata(DatasetFolder(plain).items).num_rows
    for item, day in zip(rows["item"], days, strict=True):
        expected[item] += 0.5 ** ((max(days) - day) / 3.0)
    found = read(plain, "normalised")["popularity_decayed"]
    assert found == pytest.approx(expected, rel=1e-12)


def test_later_days_are_added_to_earlier_ones(tmp_path: Path) -> None:
    rows = [
        (user, item, rating, START + time * 9_973)
        for user, item, rating, time in raw_rows()
    ]
    rows.sort(key=lambda row: row[3])
    # A cut between two days, within a month.
    cut = next(n for n, row in enumerate(rows) if row[3] >= 11_015 * 86_400)
    whole_folder, early_folder, late_folder = (
        tmp_path / name for name in ("whole", "early", "late")
    )
    datasets = []
    for folder, part in (
        (whole_folder, rows),
        (early_folder, rows[:cut]),
        (late_folder, rows[cut:]),
    ):
        folder.mkdir()
        raw = write_csv(folder / "raw.csv", part)
        ingest(IngestOptions(str(raw), "csv", folder / "dataset", repeats="keep"))
        split(SplitOptions(folder / "dataset", "random", fractions=(1.0, 0.0, 0.0)))
        datasets.append(folder / "dataset")
    whole, early, late = datasets
    expected = run(PopularityOptions(whole, half_life=5.0))
    run(PopularityOptions(early, by_day=True))
    state = DatasetFolder(early).popularity
    options = PopularityOptions(late, half_life=5.0, increment=state)
    found = run(options)
    days = {name for name in expected.files if name.startswith("days/")}
    assert len(days) >= 2
    assert {name: found.files[name] for name in days} == {
        name: expected.files[name] for name in days
    }
    # An item's counts are those of all rows, wherever the vocabulary knows it.
    by_id = []
    for dataset in (whole, late):
        ids = pq.read_table(DatasetFolder(dataset).items)["item_id"].to_pylist()
        counts = read(dataset, "popularity")["popularity"]
        decayed = read(dataset, "normalised")["popularity_decayed"]
        by_id.append(dict(zip(ids, zip(counts, decayed, strict=True), strict=True)))
    assert by_id[1] == {name: by_id[0][name] for name in by_id[1]}
    left = set(by_id[0]) - set(by_id[1])
    assert found.counts["interactions_of_other_items"] == sum(
        by_id[0][name][0] for name in left
    )
    assert found.counts["train"] + found.counts["interactions_of_other_items"] == 2_000

    for increment, match in (
        (DatasetFolder(late).popularity, r"must end before the first day"),
        (DatasetFolder(whole).splits, r"kind must be popularity"),
        (tmp_path, r"must hold a finished result of kind popularity"),
    ):
        with pytest.raises(InputError, match=match):
            run(PopularityOptions(late, increment=increment, overwrite=True))
    with pytest.raises(InputError, match=r"`increment` must go without `label`"):
        run(
            PopularityOptions(
                late, increment=state, confounder="rating", overwrite=True
            )
        )
    (state / "days" / "2000-02.parquet").write_bytes(b"")
    with pytest.raises(InputError, match=r"is missing or has changed since"):
        run(PopularityOptions(late, increment=state, overwrite=True))
    run(PopularityOptions(early, overwrite=True))
    with pytest.raises(InputError, match=r"must have counts by day"):
        run(PopularityOptions(late, increment=state, overwrite=True))


@pytest.mark.parametrize("flags", [[], ["--runner=local"]])
def test_a_shard_without_rows(tmp_path: Path, flags: list[str]) -> None:
    rows = [("u", f"i{n}", 1.0, START + n) for n in range(20)]
    dataset = make_timed(tmp_path, rows, "random")
    run(PopularityOptions(dataset, slot_rule="equal_rows"), PipelineOptions(flags))
    slots = read(dataset, "popularity_by_slot")["popularity_by_slot"]
    assert np.sum(slots, axis=0).tolist() == [2] * 9
    options = PopularityOptions(dataset, by_day=True, overwrite=True)
    assert run(options, PipelineOptions(flags)).counts["train"] == 18
    # All rows are of one day, which nine slots cannot share.
    folder = DatasetFolder(dataset).popularity
    assert not (folder / "popularity_by_slot.parquet").exists()


def test_entropy_of_every_part(plain: Path) -> None:
    found = run(PopularityOptions(plain, overwrite=True)).details["entropy"]
    assert set(found) == {"train", "test"}
    for part, nats in found.items():
        items = read_interactions(DatasetFolder(plain).part(part))["item"].to_pylist()
        shares = [count / len(items) for count in Counter(items).values()]
        assert nats == pytest.approx(-sum(p * math.log(p) for p in shares))


def write_lengths(path: Path, dataset: Path) -> dict[str, float | None]:
    """Writes a length for nearly every item, and for one that nobody knows."""
    ids = pq.read_table(DatasetFolder(dataset).items)["item_id"].to_pylist()[1:]
    lengths = {name: float(place % 17) for place, name in enumerate(ids)}
    known = dict(list(lengths.items())[1:])
    known[ids[2]] = None
    table = pa.table(
        {"item_id": [*known, "unheard of"], "length": [*known.values(), 1_000.0]}
    )
    pq.write_table(table, path)
    return known


def test_confounder_of_items(plain: Path, tmp_path: Path) -> None:
    file = tmp_path / "lengths.parquet"
    lengths = write_lengths(file, plain)
    manifest = run(
        PopularityOptions(
            plain,
            confounder="length",
            item_features=file,
            discretisation="edges",
            edges=(4.0, 5.0, 12.0),
            overwrite=True,
        )
    )
    ids = pq.read_table(DatasetFolder(plain).items)["item_id"].to_pylist()
    items = train_rows(plain)["item"]
    bins: Counter[int] = Counter()
    for item in items:
        length = lengths.get(ids[item])
        number = -1 if length is None else sum(length >= edge for edge in (4, 5, 12))
        assert read_bin(plain, item) == number
        bins[number] += 1
    table = read(plain, "confounder")
    assert table["count"] == [bins[number] for number in range(4)]
    met = len(items) - bins[-1]
    assert table["probability"] == [bins[number] / met for number in range(4)]
    assert manifest.details["confounder"] == {
        "bins": 4,
        "interactions_without_value": bins[-1],
    }
    assert bins[-1] > 0
    assert set(manifest.inputs) == {"splits", "item_features"}
    assert str(tmp_path) not in manifest.to_json()


def read_bin(dataset: Path, item: int) -> int:
    found: int = read(dataset, "item_confounder")["bin"][item]
    return found


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a data set whose rows have a length and a label, and features."""
    folder = tmp_path_factory.mktemp("labelled")
    generator = np.random.default_rng(0)
    rows = raw_rows()
    raw = pa.table(
        {
            "user_id": [row[0] for row in rows],
            "item_id": [row[1] for row in rows],
            "seconds": generator.integers(3, 60, len(rows)),
            "finish": generator.integers(0, 2, len(rows)),
            "stars": generator.integers(0, 6, len(rows)),
        }
    )
    pq.write_table(raw, folder / "raw.parquet")
    names = sorted(set(raw["item_id"].to_pylist()))
    features = pa.table(
        {
            "item_id": names,
            "length": generator.integers(1, 9, len(names)),
            "title": names,
        }
    )
    pq.write_table(features, folder / "features.parquet")
    dataset = folder / "dataset"
    ingest(
        IngestOptions(
            str(folder / "raw.parquet"),
            "parquet",
            dataset,
            repeats="keep",
            label_columns=("finish", "stars"),
            extra_columns=("seconds:int64",),
            item_features=str(folder / "features.parquet"),
            row_group_size=100,
        )
    )
    split(SplitOptions(dataset, "random"))
    return dataset


@pytest.mark.parametrize("column", ["seconds", "length"])
def test_weights_against_a_confounder(labelled: Path, column: str) -> None:
    run(
        PopularityOptions(
            labelled,
            confounder=column,
            label="finish",
            discretisation="values",
            overwrite=True,
        )
    )
    rows = train_rows(labelled)
    if column == "length":
        lengths = pq.read_table(DatasetFolder(labelled).item_features)["length"]
        rows["length"] = [lengths[item].as_py() for item in rows["item"]]
    by_value: dict[float, list[float]] = {}
    for value, label in zip(rows[column], rows["finish"], strict=True):
        by_value.setdefault(value, []).append(label)
    table = read(labelled, "confounder")
    assert table["lower"] == table["upper"] == sorted(by_value)
    rates = [sum(by_value[v]) / len(by_value[v]) for v in sorted(by_value)]
    assert table["label_rate"] == rates
    assert table["propensity_positive"] == pytest.approx(
        [math.sqrt(rate / max(rates)) for rate in rates]
    )
    assert table["propensity_negative"] == pytest.approx(
        [math.sqrt((1 - rate) / (1 - min(rates))) for rate in rates]
    )
    folder = DatasetFolder(labelled).popularity
    assert (folder / "item_confounder.parquet").is_file() == (column == "length")
    # Without timestamps there are no slots.
    assert not (folder / "popularity_by_slot.parquet").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"num_slots": 4, "slot_rule": "equal_rows", "smoothness": 0.5},
        {"half_life": 2.0, "slot_rule": "equal_rows"},
    ],
)
def test_without_beam_and_in_two_threads_the_same_bytes(
    plain: Path, changes: dict[str, Any]
) -> None:
    manifests = [
        run(
            PopularityOptions(plain, **changes, confounder="rating", overwrite=True),
            PipelineOptions(flags),
        )
        for flags in (
            [],
            ["--runner=local"],
            ["--direct_running_mode=multi_threading", "--direct_num_workers=2"],
        )
    ]
    assert manifests[0] == manifests[1] == manifests[2]
    assert "confounder.parquet" in manifests[0].files


def test_refusals(plain: Path, labelled: Path, tmp_path: Path) -> None:
    for changes, match in (
        ({"num_slots": -1}, "`num_slots` must be at least 0"),
        ({"num_groups": 0}, "`num_groups` must be at least 1"),
        ({"num_bins": 1}, "`num_bins` must be at least 2"),
        ({"slot_rule": "months"}, "Unknown slot_rule `months`"),
        ({"trend": math.nan}, "`trend` must be finite"),
        ({"half_life": 0.0}, "`half_life` must be finite and above 0"),
        ({"smoothness": math.inf}, "`smoothness` must be finite and above 0"),
        ({"label": "finish"}, "`label` must go with `confounder`"),
        ({"item_features": tmp_path}, "`item_features` must go with `confounder`"),
        ({"discretisation": "even"}, "Unknown discretisation `even`"),
        ({"discretisation": "edges"}, "`edges` must be given"),
        ({"confounder": "length", "edges": (1.0,)}, "`edges` must be given"),
        (
            {"confounder": "a", "discretisation": "edges", "edges": (2.0, 1.0)},
            "`edges` must be finite and increasing; got 2.0,1.0",
        ),
    ):
        with pytest.raises(InputError, match=match):
            PopularityOptions(plain, **changes)
    text = tmp_path / "text.parquet"
    pq.write_table(pa.table({"item_id": ["film 1"], "length": ["long"]}), text)
    strange = tmp_path / "strange.parquet"
    pq.write_table(pa.table({"item_id": ["film x"], "length": [3]}), strange)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"no table")
    for dataset, changes, match in (
        (plain, {"num_slots": 10**8}, "must leave no slot empty"),
        (labelled, {"num_slots": 2}, "must have timestamps"),
        (labelled, {"by_day": True}, "must have timestamps"),
        (labelled, {"confounder": "lenght"}, "Did you mean `length`"),
        (labelled, {"confounder": "title"}, "`title` must be a column of numbers"),
        (
            labelled,
            {"confounder": "length", "label": "stars"},
            "Labels in `stars` must be 0 or 1",
        ),
        (labelled, {"confounder": "length", "label": "f"}, "Unknown column `f`"),
        (
            plain,
            {"confounder": "length", "item_features": tmp_path / "none"},
            "must be a Parquet file; found none",
        ),
        (plain, {"confounder": "length", "item_features": broken}, "Parquet file"),
        (plain, {"confounder": "a", "item_features": text}, "have the column `a`"),
        (plain, {"confounder": "length", "item_features": text}, "column of numbers"),
        (plain, {"confounder": "length", "item_features": strange}, "for some item"),
    ):
        with pytest.raises(InputError, match=match):
            run(PopularityOptions(dataset, overwrite=True, **changes))


def test_refuses_what_is_not_split(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must hold a finished result of kind dataset"):
        run(PopularityOptions(tmp_path))
