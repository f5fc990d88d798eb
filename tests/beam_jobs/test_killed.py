"""A job killed with SIGKILL and run again ends with the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from beam_jobs import graph, ingest, popularity, sequences, split, triplets
from tests.beam_jobs.raw import make_dataset, raw_rows, write_csv
from tfcausal.schema.manifest import checksums

JOBS = {
    module.JOB.name: module.JOB
    for module in (ingest, split, popularity, triplets, sequences, graph)
}
FLAGS = {
    "split": ["--rule=intervened"],
    "triplets": ["--epochs=3"],
    "popularity": [],
    "sequences": ["--max_length=5"],
    "graph": [],
}
GRAPH = "graph/train+train_intervened"


def files_under_way(folder: Path) -> int:
    return sum(1 for path in folder.rglob("*") if path.is_file())


def kill_when(command: list[str], partial: Path, num_files: int) -> bool:
    """Starts a job and kills it once it has written so many files.

    Returns:
        Whether it was still at work.
    """
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None:
        if partial.is_dir() and files_under_way(partial) >= num_files:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    return process.wait() == -signal.SIGKILL


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a raw file and a data set that all jobs have finished."""
    folder = tmp_path_factory.mktemp("finished")
    make_dataset(folder)
    dataset = folder / "dataset"
    triplets.run(triplets.TripletOptions(dataset, epochs=3))
    sequences.run(sequences.SequenceOptions(dataset, max_length=5))
    graph.run(graph.GraphOptions(dataset))
    return folder


@pytest.mark.parametrize(
    ("name", "result", "num_files"),
    [
        ("triplets", "triplets", 2),
        pytest.param("triplets", "triplets", 0, marks=pytest.mark.slow),
        pytest.param("triplets", "triplets", 12, marks=pytest.mark.slow),
        pytest.param("ingest", "", 0, marks=pytest.mark.slow),
        pytest.param("ingest", "", 2, marks=pytest.mark.slow),
        pytest.param("ingest", "", 5, marks=pytest.mark.slow),
        pytest.param("split", "splits", 0, marks=pytest.mark.slow),
        pytest.param("split", "splits", 5, marks=pytest.mark.slow),
        pytest.param("popularity", "features/popularity", 0, marks=pytest.mark.slow),
        pytest.param("popularity", "features/popularity", 1, marks=pytest.mark.slow),
        pytest.param("sequences", "sequences/train", 0, marks=pytest.mark.slow),
        pytest.param("sequences", "sequences/train", 2, marks=pytest.mark.slow),
        pytest.param("graph", GRAPH, 0, marks=pytest.mark.slow),
        pytest.param("graph", GRAPH, 3, marks=pytest.mark.slow),
    ],
)
def test_killed_and_run_again(
    finished: Path, tmp_path: Path, name: str, result: str, num_files: int
) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(finished / "dataset", dataset)
    target = dataset / result if result else dataset
    expected = checksums(target)
    if name == "ingest":
        raw = write_csv(tmp_path / "raw.csv", raw_rows())
        flags = [f"--input={raw}", "--format=csv", f"--output={dataset}"]
        flags.append("--row_group_size=100")
        expected = {
            path: checksum
            for path, checksum in expected.items()
            if path.split("/")[0] in ("interactions", "rejected")
            or path.endswith(("users.parquet", "items.parquet"))
        }
    else:
        flags = [f"--dataset={dataset}", *FLAGS[name]]
    shutil.rmtree(target)
    command = [sys.executable, "-m", f"beam_jobs.{name}", *flags]
    assert kill_when(command, target.parent / f".{target.name}.partial", num_files)
    assert not target.exists()

    assert JOBS[name].main(flags) == 0
    assert checksums(target) == expected
    left = {path.name for path in target.parent.iterdir()}
    assert not {leftover for leftover in left if leftover.startswith(".")}
