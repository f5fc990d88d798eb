"""Counting items, as a CombineFn, as a PTransform and as a job."""

from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as BeamPipeline
from apache_beam.testing.util import BeamAssertException, assert_that

from beam_jobs.popularity import PopularityOptions, run
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from beam_jobs.transforms.popularity import CountItems, CountPopularity, ReadRowGroups
from tests.beam_jobs.raw import make_dataset, read_interactions
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
    assert set(manifest.files) == {"popularity.parquet"}

    with pytest.raises(InputError, match="must not exist yet"):
        run(PopularityOptions(dataset))
    split(SplitOptions(dataset, "random", fractions=(0.0, 0.5, 0.5), overwrite=True))
    with pytest.raises(InputError, match="at least one interaction"):
        run(PopularityOptions(dataset, overwrite=True))


def test_refuses_what_is_not_split(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must hold a finished dataset"):
        run(PopularityOptions(tmp_path))
