"""A second real runner, on a cluster of its own processes, gives the same bytes.

Beam's DaskRunner does not part a DoFn's tagged outputs, which ingest needs; the other
jobs run on it.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from distributed import LocalCluster, default_client

from beam_jobs import popularity, split, triplets
from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from tests.beam_jobs.raw import raw_rows, write_shards
from tfcausal.schema.manifest import checksums

RUNNER = "apache_beam.runners.dask.dask_runner.DaskRunner"


@pytest.fixture(scope="module")
def flags() -> Iterator[list[str]]:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        yield [
            f"--runner={RUNNER}",
            f"--dask_client_address={cluster.scheduler_address}",
        ]
        # Each pipeline left a client, which would go on asking for the cluster.
        with contextlib.suppress(ValueError):
            while True:
                default_client().close()


def run_features(dataset: Path, flags: list[str]) -> dict[str, str]:
    for job, options in (
        (split, split.SplitOptions(dataset, "intervened")),
        (popularity, popularity.PopularityOptions(dataset)),
        (triplets, triplets.TripletOptions(dataset, epochs=2)),
    ):
        job.run(options, PipelineOptions(flags))
    return checksums(dataset)


def test_dask_writes_the_same_bytes(tmp_path: Path, flags: list[str]) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    write_shards(raw, raw_rows())
    ingest(IngestOptions(str(raw), "csv", tmp_path / "one"))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert run_features(tmp_path / "two", flags) == run_features(tmp_path / "one", [])
