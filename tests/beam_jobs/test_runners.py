"""The same bytes whatever runs the jobs, and the same rows however they are cut."""

from pathlib import Path

import numpy as np
import pytest

from tests.beam_jobs.chain import BESIDE, run_chain, steps, write_input
from tests.beam_jobs.raw import Row, raw_rows, read_interactions
from tfcausal.schema.dataset import DatasetFolder


def rows_with_bad_ones() -> list[Row]:
    rows = raw_rows()
    for row in (7, 900, 901, 1_999):
        rows[row] = ("", "x", 1.0, 1)
    return rows


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with three raw files, each with a few bad rows."""
    return write_input(tmp_path_factory.mktemp("source"), rows_with_bad_ones())


@pytest.fixture(scope="module")
def in_one_thread(
    source: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Returns the checksums of the chain in this process."""
    dataset = tmp_path_factory.mktemp("one") / "dataset"
    return run_chain(source, dataset, [], repeats="keep")


def test_without_beam_the_same_bytes(
    source: Path, in_one_thread: dict[str, str], tmp_path: Path
) -> None:
    found = run_chain(source, tmp_path / "dataset", ["--runner=local"], repeats="keep")
    assert found == in_one_thread


@pytest.mark.parametrize(
    "mode",
    [
        "multi_threading",
        pytest.param("multi_processing", marks=pytest.mark.slow),
    ],
)
def test_two_workers_write_the_same_bytes(
    source: Path, in_one_thread: dict[str, str], tmp_path: Path, mode: str
) -> None:
    flags = [f"--direct_running_mode={mode}", "--direct_num_workers=2"]
    found = run_chain(source, tmp_path / "dataset", flags, repeats="keep")
    assert found == in_one_thread
    # Nothing but the results is left.
    assert {path.name for path in tmp_path.iterdir()} == {
        "dataset",
        *(f"dataset_{name}" for name in BESIDE),
    }
    hidden = [p for p in (tmp_path / "dataset").rglob("*") if p.name.startswith(".")]
    assert hidden == []


def all_parts(dataset: Path) -> dict[str, list[dict[str, object]]]:
    """Returns the rows of the data set and of each part, by user, item and time."""
    folder = DatasetFolder(dataset)
    parts = ("train", "train_intervened", "validation", "test")
    found = {"": folder.interactions} | {name: folder.part(name) for name in parts}
    keys = [(name, "ascending") for name in ("user", "item", "timestamp")]
    return {
        name: read_interactions(path).sort_by(keys).to_pylist()
        for name, path in found.items()
    }


def test_shuffled_input_gives_the_same_data_set(tmp_path: Path) -> None:
    # Rows of a user at one time lie in the order of the input; here there are none.
    rows = [(*row[:3], time) for time, row in enumerate(raw_rows())]
    order = np.random.default_rng(3).permutation(len(rows))
    found = []
    for name, chosen in (("a", rows), ("b", [rows[place] for place in order])):
        write_input(tmp_path / name, chosen)
        dataset = tmp_path / name / "dataset"
        found.append(run_chain(tmp_path / name, dataset, ["--runner=local"]))
    # The manifests name the raw files by their checksums, which differ.
    first, second = (
        {path: checksum for path, checksum in each.items() if path.endswith("parquet")}
        for each in found
    )
    assert first == second
    assert len(first) > 30


def test_other_shards_hold_the_same_rows(tmp_path: Path) -> None:
    source = write_input(tmp_path)
    found = []
    for num_shards in (2, 4, 7):
        dataset = tmp_path / f"dataset{num_shards}"
        chain = steps(source, dataset, num_shards=num_shards)
        for name in ("ingest", "split"):
            chain[name].job.run(chain[name].options)
        found.append(all_parts(dataset))
    assert found[0] == found[1] == found[2]
    assert len(found[0][""]) > 1_000
    assert all(found[0].values())
