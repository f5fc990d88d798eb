"""Triplets drawn ahead: complete, valid, and what the training graph would draw."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from beam_jobs.popularity import PopularityOptions
from beam_jobs.popularity import run as popularity
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from beam_jobs.triplets import TripletOptions, run
from tests.beam_jobs.raw import make_dataset, read_interactions, write_csv
from tfcausal.data.interactions import open_dataset, read_part
from tfcausal.data.training_rows import PositivesInMemory, TripletShards
from tfcausal.errors import InputError
from tfcausal.schema.dataset import TRAINING_PARTS, DatasetFolder
from tfcausal.stats.triplet_blocks import TripletBlock


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a data set that is split and counted."""
    return make_dataset(tmp_path_factory.mktemp("triplets"))


def read_blocks(dataset: Path, epoch: int) -> list[TripletBlock]:
    folder = DatasetFolder(dataset).triplets / f"epoch-{epoch:04d}"
    paths = [str(path) for path in sorted(folder.iterdir())]
    records = tf.data.TFRecordDataset(paths).as_numpy_iterator()
    return [TripletBlock.from_bytes(record) for record in records]


def test_every_training_row_gets_negatives_it_never_met(dataset: Path) -> None:
    manifest = run(
        TripletOptions(
            dataset, epochs=2, margin=3, min_pool=4, block_rows=64, overwrite=True
        )
    )
    rows = [
        pair
        for part in TRAINING_PARTS
        for pair in zip(
            *read_interactions(DatasetFolder(dataset).part(part))
            .select(["user", "item"])
            .to_pydict()
            .values(),
            strict=True,
        )
    ]
    met = set(rows)
    drawn = []
    for epoch in (0, 1):
        blocks = read_blocks(dataset, epoch)
        assert all(len(block.users) <= 64 for block in blocks)
        users = np.concatenate([block.users for block in blocks])
        positives = np.concatenate([block.positives for block in blocks])
        negatives = np.concatenate([block.negatives for block in blocks])
        assert sorted(zip(users.tolist(), positives.tolist(), strict=True)) == sorted(
            rows
        )
        assert negatives.shape == (len(rows), 4)
        for user, chosen in zip(users.tolist(), negatives.tolist(), strict=True):
            assert len(set(chosen)) == 4
            assert not {(user, item) for item in chosen} & met
        drawn.append(negatives)
    assert not np.array_equal(drawn[0], drawn[1])
    assert manifest.counts["rows_per_epoch"] == len(rows)
    assert manifest.counts["rows_short_of_negatives"] == 0


def test_training_meets_the_same_positives_in_the_same_order(dataset: Path) -> None:
    run(TripletOptions(dataset, epochs=1, seed=5, overwrite=True))
    checked = open_dataset(dataset)
    rows = read_part(checked.folder, checked.parts(TRAINING_PARTS))
    in_memory = PositivesInMemory(rows, seed=5).blocks(0)
    ahead = TripletShards(checked, num_epochs=1).blocks(0)
    for expected, found in zip(in_memory, ahead, strict=True):
        for name in ("users", "positives"):
            assert np.array_equal(expected[name], found[name])


def test_examples_hold_the_same_triplets(dataset: Path) -> None:
    run(TripletOptions(dataset, epochs=1, overwrite=True))
    blocks = read_blocks(dataset, 0)
    run(TripletOptions(dataset, epochs=1, record_format="examples", overwrite=True))
    folder = DatasetFolder(dataset).triplets / "epoch-0000"
    paths = [str(path) for path in sorted(folder.iterdir())]
    width = 4
    shape = {
        name: tf.io.FixedLenFeature(
            [1 if name in ("user", "positive") else width], tf.int64
        )
        for name in ("user", "positive", "negative", "case", "support")
    }
    records = list(tf.data.TFRecordDataset(paths).as_numpy_iterator())
    parsed = tf.io.parse_example(records, shape)
    for name, field in (
        ("user", "users"),
        ("positive", "positives"),
        ("negative", "negatives"),
        ("case", "case"),
        ("support", "support"),
    ):
        expected = np.concatenate([getattr(block, field) for block in blocks])
        assert np.array_equal(parsed[name].numpy().reshape(expected.shape), expected)


def test_a_user_who_met_everything_has_no_negative(tmp_path: Path) -> None:
    rows = [("all", f"i{item}", 5, 1) for item in range(6)]
    rows += [("some", f"i{item}", 5, 1) for item in range(3)]
    raw = write_csv(tmp_path / "raw.csv", rows)
    dataset = tmp_path / "dataset"
    ingest(IngestOptions(str(raw), "csv", dataset))
    split(SplitOptions(dataset, "random", fractions=(1.0, 0.0, 0.0)))
    popularity(PopularityOptions(dataset))
    manifest = run(
        TripletOptions(dataset, epochs=1, negatives="uniform", num_negatives=2)
    )
    assert manifest.counts["rows_short_of_negatives"] == 6
    for block in read_blocks(dataset, 0):
        for user, support, chosen in zip(
            block.users, block.support, block.negatives, strict=True
        ):
            # Users are numbered by falling count: "all" is 1.
            expected = [0, 0] if user == 1 else [3, 3]
            assert support.tolist() == expected
            assert (chosen == 0).all() == (user == 1)


def test_refusals(dataset: Path, tmp_path: Path) -> None:
    run(TripletOptions(dataset, epochs=1, overwrite=True))
    with pytest.raises(InputError, match="must not exist yet"):
        run(TripletOptions(dataset, epochs=1))
    for changes, match in (
        ({"epochs": 0}, "`epochs` must be at least 1"),
        ({"negatives": "hard"}, "Unknown negatives `hard`"),
        ({"record_format": "json"}, "Unknown record_format `json`"),
        ({"min_pool": 2}, "`min_pool` must be at least num_negatives=4"),
        ({"margin": -1.0}, "`margin` must be finite"),
    ):
        with pytest.raises(InputError, match=match):
            TripletOptions(**({"dataset": dataset, "epochs": 1} | changes))


def test_popularity_of_another_split_is_refused(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    split(SplitOptions(dataset, "intervened", seed=1, overwrite=True))
    with pytest.raises(InputError, match=r"inputs\.splits must be"):
        run(TripletOptions(dataset, epochs=1))
