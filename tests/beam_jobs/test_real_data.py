"""The jobs on real data sets, which users bring: TFCAUSAL_DATA names their folder."""

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from tests.beam_jobs.raw import read_interactions
from tfcausal.schema.dataset import DatasetFolder


def data(name: str) -> Path:
    """Returns a file of real data, or skips the test."""
    folder = os.environ.get("TFCAUSAL_DATA")
    path = Path(folder or ".") / name
    if folder is None or not path.is_file():
        pytest.skip(f"real data: TFCAUSAL_DATA must name a folder that holds {name}")
    return path


def test_movielens_100k(tmp_path: Path) -> None:
    raw = data("ml-100k/ratings.csv")
    dataset = tmp_path / "dataset"
    manifest = ingest(IngestOptions(str(raw), "csv", dataset, min_rating=4.0))
    counts = manifest.counts
    # 55,375 of the 100,000 ratings are 4 or 5 (GroupLens' u.data).
    assert (counts["rows_read"], counts["rows_rejected"]) == (100_000, 0)
    assert (counts["interactions"], counts["users"], counts["items"]) == (
        55_375,
        942,
        1_447,
    )
    parts = split(SplitOptions(dataset, "intervened")).details["parts"]
    assert sum(parts.values()) == 55_375
    assert parts["train"] == 33_225
    folder = DatasetFolder(dataset)
    popular = np.bincount(read_interactions(folder.interactions)["item"].to_numpy())
    means = {
        name: popular[read_interactions(folder.part(name))["item"].to_numpy()].mean()
        for name in parts
    }
    # The intervened parts are alike, and far less popular than the log's own.
    assert means["test"] == pytest.approx(means["validation"], rel=0.1)
    assert means["test"] < 0.6 * means["train"]


def test_movielens_1m_as_parquet(tmp_path: Path) -> None:
    raw = data("ml-1m/ratings.parquet")
    options = IngestOptions(str(raw), "parquet", tmp_path / "d", min_rating=4.0)
    counts = ingest(options).counts
    assert counts["rows_read"] == 1_000_209
    assert (counts["interactions"], counts["items"]) == (575_281, 3_533)


def test_gowalla_lines(tmp_path: Path) -> None:
    raw = data("gowalla/train.txt")
    counts = ingest(IngestOptions(str(raw), "lines", tmp_path / "d")).counts
    assert counts["interactions"] == 810_128
    assert (counts["users"], counts["items"]) == (29_858, 40_981)


def test_movielens_1m_features(tmp_path: Path) -> None:
    raw = data("ml-1m/ratings.parquet")
    ingest(
        IngestOptions(
            str(raw),
            "parquet",
            tmp_path / "d",
            min_core=10,
            item_features=str(raw.parent / "items.csv"),
            user_features=str(raw.parent / "users.csv"),
            list_columns=("genres", "actors"),
        ),
        PipelineOptions(["--runner=local"]),
    )
    folder = DatasetFolder(tmp_path / "d")
    items = pq.read_table(folder.item_features)
    assert items["item_id"].to_pylist()[0] == ""
    films = {row["item_id"]: row for row in items.to_pylist()}
    assert films["1"]["title"] == "Toy Story"
    assert films["1"]["genres"] == ["Animation", "Children's", "Comedy"]
    assert films["1"]["year"] == 1995
    table = read_interactions(folder.interactions)
    for name in ("user", "item"):
        assert np.bincount(table[name].to_numpy())[1:].min() >= 10
    users = pq.read_table(folder.user_features)
    assert users.num_rows == pq.read_metadata(folder.users).num_rows


def test_coat(tmp_path: Path) -> None:
    train = data("coat/train.ascii")
    counts = ingest(
        IngestOptions(str(train.parent), "coat", tmp_path / "d", repeats="keep")
    ).counts
    assert counts["interactions"] == 6_960 + 4_640
    table = read_interactions(tmp_path / "d/interactions")
    assert sum(table["intervened"].to_pylist()) == 4_640


@pytest.mark.parametrize(
    ("name", "rows", "users", "items"),
    [("yelp", 316_354, 30_431, 20_033), ("beauty", 198_502, 22_363, 12_101)],
)
def test_sequences_are_lines(
    tmp_path: Path, name: str, rows: int, users: int, items: int
) -> None:
    raw = data(f"{name}-sequences/sequences.txt")
    counts = ingest(
        IngestOptions(
            str(raw),
            "lines",
            tmp_path / "d",
            repeats="keep",
            item_features=str(raw.parent / "item2attributes.json"),
        )
    ).counts
    found = (counts["interactions"], counts["users"], counts["items"])
    assert found == (rows, users, items)
    assert counts["items_without_features"] < items / 10
