"""The jobs on real data sets, which users bring: TFCAUSAL_DATA names their folder."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from beam_jobs.popularity import PopularityOptions
from beam_jobs.popularity import run as popularity
from beam_jobs.sequences import SequenceOptions
from beam_jobs.sequences import run as sequences
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from beam_jobs.triplets import TripletOptions
from beam_jobs.triplets import run as triplets
from tests.beam_jobs.raw import read_interactions
from tfcausal.data.interactions import open_dataset
from tfcausal.data.sequence_rows import SequenceShards
from tfcausal.data.training_rows import TripletShards
from tfcausal.schema.dataset import DatasetFolder
from tfcausal.schema.manifest import Manifest

LOCAL = PipelineOptions(["--runner=local"])


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
    # GroupLens' README of ML-1M: 1,000,209 ratings.
    assert counts["rows_read"] == 1_000_209
    assert (counts["interactions"], counts["items"]) == (575_281, 3_533)


def test_movielens_1m_to_triplets(tmp_path: Path) -> None:
    raw = data("ml-1m/ratings.parquet")
    dataset = tmp_path / "d"
    options = IngestOptions(str(raw), "parquet", dataset, min_rating=5.0)
    counts = ingest(options, LOCAL).counts
    # 226,310 of the ratings are 5.
    assert counts["interactions"] == 226_310
    require_triplets(dataset, *train_on(dataset))


def train_on(dataset: Path) -> tuple[Manifest, Manifest]:
    """Splits and counts a data set and draws an epoch; returns the manifests."""
    by_split = split(SplitOptions(dataset, "intervened"), LOCAL)
    popularity(PopularityOptions(dataset), LOCAL)
    by_triplets = triplets(TripletOptions(dataset, epochs=1), LOCAL)
    return by_split, by_triplets


def require_triplets(dataset: Path, by_split: Manifest, by_triplets: Manifest) -> None:
    """Asserts that each training row has its triplets, with what is no positive."""
    parts = by_split.details["parts"]
    positives = parts["train"] + parts["train_intervened"]
    folder = DatasetFolder(dataset)
    num_items = pq.read_metadata(folder.items).num_rows
    training = pa.concat_tables(
        read_interactions(folder.part(name)) for name in ("train", "train_intervened")
    )
    known = np.unique(pairs(training["user"], training["item"], num_items))
    shards = TripletShards(open_dataset(dataset), num_epochs=1)
    assert shards.num_rows == by_triplets.counts["rows"] == positives
    drawn = []
    for block in shards.blocks(0):
        users, negatives = block["users"], block["negatives"]
        drawn.append(pairs(users, block["positives"], num_items))
        met = pairs(np.repeat(users, negatives.shape[1]), negatives.ravel(), num_items)
        nearest = np.minimum(np.searchsorted(known, met), len(known) - 1)
        assert not (known[nearest] == met).any()
    assert sum(map(len, drawn)) == positives
    assert np.array_equal(np.unique(np.concatenate(drawn)), known)


def pairs(users: Any, items: Any, num_items: int) -> Any:
    return np.asarray(users, np.int64) * num_items + np.asarray(items, np.int64)


def test_gowalla_to_triplets(tmp_path: Path) -> None:
    raw = data("gowalla/train.txt")
    dataset = tmp_path / "d"
    counts = ingest(IngestOptions(str(raw), "lines", dataset), LOCAL).counts
    assert counts["interactions"] == 810_128
    assert (counts["users"], counts["items"]) == (29_858, 40_981)
    require_triplets(dataset, *train_on(dataset))


def test_gowalla_whole(tmp_path: Path) -> None:
    # He et al., LightGCN, SIGIR 2020, Table 2: 1,027,370 interactions, density 0.00084.
    raw = data("gowalla/train.txt").parent / "t*.txt"
    counts = ingest(IngestOptions(str(raw), "lines", tmp_path / "d"), LOCAL).counts
    assert counts["interactions"] == 1_027_370
    assert (counts["users"], counts["items"]) == (29_858, 40_981)
    density = counts["interactions"] / counts["users"] / counts["items"]
    assert round(density, 5) == 0.00084


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
        LOCAL,
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
    # Schnabel et al., ICML 2016, section 6.4: each of 290 users rated 24 of 300 coats
    # of their own choice, and 16 drawn at random.
    train = data("coat/train.ascii")
    counts = ingest(
        IngestOptions(str(train.parent), "coat", tmp_path / "d", repeats="keep"), LOCAL
    ).counts
    assert counts["interactions"] == 290 * (24 + 16)
    assert (counts["users"], counts["items"]) == (290, 300)
    table = read_interactions(tmp_path / "d/interactions")
    intervened = table["intervened"].to_numpy()
    users = table["user"].to_numpy()
    assert set(np.bincount(users[intervened == 1])[1:]) == {16}
    assert set(np.bincount(users[intervened == 0])[1:]) == {24}


def test_coat_to_triplets(tmp_path: Path) -> None:
    raw = data("coat/train.ascii")
    dataset = tmp_path / "d"
    ratings = np.loadtxt(raw)
    counts = ingest(
        IngestOptions(str(raw), "coat", dataset, min_rating=4.0), LOCAL
    ).counts
    assert counts["interactions"] == np.count_nonzero(ratings >= 4)
    assert counts["rows_read"] == np.count_nonzero(ratings) == 6_960
    require_triplets(dataset, *train_on(dataset))


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


@pytest.mark.parametrize("name", ["yelp", "beauty"])
def test_sequences_to_histories(tmp_path: Path, name: str) -> None:
    raw = data(f"{name}-sequences/sequences.txt")
    dataset = tmp_path / "d"
    ingest(IngestOptions(str(raw), "lines", dataset, repeats="keep"), LOCAL)
    parts = split(SplitOptions(dataset, "leave_last"), LOCAL).details["parts"]
    lines = [line.split() for line in raw.read_text().splitlines()]
    histories = {user: items for user, *items in lines}
    assert parts["validation"] == parts["test"] == len(histories)
    counts = sequences(
        SequenceOptions(dataset, max_length=20, min_length=1), LOCAL
    ).counts
    lengths = [len(items) - 2 for items in histories.values()]
    assert counts["rows"] == sum(length - 1 for length in lengths if length > 1)
    folder = DatasetFolder(dataset)
    users = pq.read_table(folder.users)["user_id"].to_pylist()
    items = np.asarray(pq.read_table(folder.items)["item_id"].to_pylist())
    met = 0
    for block in SequenceShards(open_dataset(dataset), part="train").blocks(0):
        for user, history, length, target in zip(
            *(block[name] for name in ("users", "histories", "lengths", "targets")),
            strict=True,
        ):
            before = histories[users[user]]
            found = [*items[history[:length]], items[target]]
            # The same items follow each other in the file, before the last two.
            ends = range(2, len(before) - 1)
            assert any(before[max(0, end - 21) : end] == found for end in ends)
            met += 1
            if met == 2_000:
                return
