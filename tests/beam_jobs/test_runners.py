"""The same bytes whatever runs the jobs."""

from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs import ingest, popularity, split, triplets
from tests.beam_jobs.raw import raw_rows, write_shards
from tfcausal.schema.manifest import checksums


def run_chain(raw: Path, dataset: Path, flags: list[str]) -> dict[str, str]:
    """Runs all jobs and returns the checksum of every file that they wrote."""
    for job, options in (
        (ingest, ingest.IngestOptions(str(raw), "csv", dataset, repeats="keep")),
        (split, split.SplitOptions(dataset, "intervened")),
        (popularity, popularity.PopularityOptions(dataset)),
        (triplets, triplets.TripletOptions(dataset, epochs=2)),
    ):
        job.run(options, PipelineOptions(flags))
    return checksums(dataset) | {"": (dataset / "manifest.json").read_text()}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder of three files, each with a few bad rows."""
    folder = tmp_path_factory.mktemp("raw")
    rows = raw_rows()
    for row in (7, 900, 901, 1_999):
        rows[row] = ("", "x", 1.0, 1)
    return write_shards(folder, rows)


@pytest.fixture(scope="module")
def in_one_thread(
    raw: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Returns the checksums of the chain in this process."""
    return run_chain(raw, tmp_path_factory.mktemp("one") / "dataset", [])


def test_without_beam_the_same_bytes(
    raw: Path, in_one_thread: dict[str, str], tmp_path: Path
) -> None:
    assert run_chain(raw, tmp_path / "dataset", ["--runner=local"]) == in_one_thread


@pytest.mark.parametrize(
    "mode",
    [
        "multi_threading",
        pytest.param("multi_processing", marks=pytest.mark.slow),
    ],
)
def test_two_workers_write_the_same_bytes(
    raw: Path, in_one_thread: dict[str, str], tmp_path: Path, mode: str
) -> None:
    flags = [f"--direct_running_mode={mode}", "--direct_num_workers=2"]
    assert run_chain(raw, tmp_path / "dataset", flags) == in_one_thread
    # Nothing but the data set is left.
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]
    hidden = [p for p in (tmp_path / "dataset").rglob("*") if p.name.startswith(".")]
    assert hidden == []
