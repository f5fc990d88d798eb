"""The job that compares two data sets, from raw rows on."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.drift import JOB, DriftOptions, run
from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from tests.beam_jobs.raw import raw_rows, write_csv
from tfcausal.errors import InputError
from tfcausal.schema.manifest import checksums


@pytest.fixture
def datasets(tmp_path: Path) -> tuple[Path, Path]:
    rows = raw_rows()
    for name, chosen in (("before", rows[:1_200]), ("after", rows[800:])):
        write_csv(tmp_path / f"{name}.csv", chosen)
        options = IngestOptions(str(tmp_path / f"{name}.csv"), "csv", tmp_path / name)
        ingest(options)
    return tmp_path / "before", tmp_path / "after"


def test_figures_follow_the_vocabularies(
    datasets: tuple[Path, Path], tmp_path: Path
) -> None:
    manifest = run(DriftOptions(*datasets, tmp_path / "drift", top=5))
    before, after = (
        set(pq.read_table(folder / "users.parquet")["user_id"].to_pylist()) - {""}
        for folder in datasets
    )
    figures = manifest.details["users"]
    assert figures["ids_new"] == len(after - before)
    assert figures["ids_vanished"] == len(before - after)
    assert 0 < figures["jensen_shannon_distance"] < 1
    assert manifest.counts["users_in_both"] == len(before & after)
    moved = pq.read_table(tmp_path / "drift" / "items.parquet")
    assert len(moved) == 5
    assert set(moved.column_names) == {"id", "before", "after", "shift"}


def test_the_same_without_beam(datasets: tuple[Path, Path], tmp_path: Path) -> None:
    run(DriftOptions(*datasets, tmp_path / "one"))
    local = PipelineOptions(["--runner=local"])
    run(DriftOptions(*datasets, tmp_path / "two"), local)
    assert checksums(tmp_path / "one") == checksums(tmp_path / "two")


def test_refusals(
    datasets: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="top"):
        DriftOptions(*datasets, tmp_path / "drift", top=0)
    with pytest.raises(InputError, match="finished result of kind dataset"):
        run(DriftOptions(datasets[0], tmp_path, tmp_path / "drift"))
    flags = [f"--before={datasets[0]}", f"--after={datasets[1]}"]
    assert JOB.main([*flags, f"--output={datasets[1]}"]) == 2
    assert "must not exist yet" in capsys.readouterr().err
