"""Facts of training rows and the window's counts, against the rows themselves."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from beam_jobs.popularity import PopularityOptions
from beam_jobs.popularity import run as count_popularity
from tests.beam_jobs.raw import make_dataset
from tests.datasets import write_dataset
from tfcausal import methods
from tfcausal.data.interactions import CheckedDataset, open_dataset, read_part
from tfcausal.data.train_window import (
    INTERVENED,
    SLOT,
    TrainWindow,
    read_fact,
    slot_begins,
)
from tfcausal.errors import InputError
from tfcausal.schema.dataset import TRAINING_PARTS
from tfcausal.schema.manifest import read_manifest
from tfcausal.training.options import TrainingOptions
from tfcausal.training.trainer import compile_model, training_batches

PARTS = ["train", "train_intervened"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    folder = make_dataset(tmp_path_factory.mktemp("data"))
    count_popularity(PopularityOptions(folder, num_slots=4, overwrite=True))
    return open_dataset(folder)


def rows_of(dataset: CheckedDataset) -> list[tuple[int, int, int, int]]:
    """Returns user, item, timestamp and whether intervened, shard after shard."""
    found = []
    names = sorted(path.name for path in dataset.folder.part("train").iterdir())
    for name in names:
        for part in PARTS:
            path = dataset.folder.part(part) / name
            if path.is_file():
                rows = pq.read_table(path).to_pylist()
                found += [
                    (row["user"], row["item"], row["timestamp"], part != "train")
                    for row in rows
                ]
    return found


def test_facts_stand_in_the_order_of_the_rows(dataset: CheckedDataset) -> None:
    rows = rows_of(dataset)
    read = read_part(dataset.folder, PARTS)
    assert list(zip(read.users, read.items, strict=True)) == [row[:2] for row in rows]
    intervened = read_fact(dataset, PARTS, INTERVENED)
    assert intervened.tolist() == [int(row[3]) for row in rows]
    assert 0 < intervened.sum() < len(rows)
    begins = slot_begins(dataset)
    slots = [sum(row[2] >= begin for begin in begins[1:]) for row in rows]
    assert read_fact(dataset, PARTS, SLOT).tolist() == slots
    assert set(slots) == {0, 1, 2, 3}


def test_the_window_counts_what_the_rows_say(dataset: CheckedDataset) -> None:
    window = TrainWindow.of(dataset)
    rows = rows_of(dataset)
    counts = np.bincount(
        [row[1] for row in rows if not row[3]], minlength=dataset.num_items
    )
    np.testing.assert_array_equal(window.popularity, counts)
    drawn = np.bincount([row[1] for row in rows], minlength=dataset.num_items)
    np.testing.assert_array_equal(window.drawn, drawn)
    assert (drawn > counts).any()
    assert len(window.read_rows(TRAINING_PARTS)) == len(rows)
    slots = window.read_slots()
    begins = slot_begins(dataset)
    for slot in range(4):
        ends = [*begins[1:], np.inf]
        items = [
            row[1] for row in rows if not row[3] and begins[slot] <= row[2] < ends[slot]
        ]
        if slot == 0:
            items += [row[1] for row in rows if not row[3] and row[2] < begins[0]]
        share = np.bincount(items, minlength=dataset.num_items)[1:] + 1.0
        share = (share - share.min()) / (share.max() - share.min())
        np.testing.assert_allclose(slots.slots[slot, 1:], share, atol=1e-12)
    assert slots.following.shape == (dataset.num_items,)


def test_pd_learns_with_the_slot_of_each_row(dataset: CheckedDataset) -> None:
    pd = methods.get("pd")
    model = pd.of_dataset(
        dataset, pd.options_class(embedding_dim=8, gamma=0.3, learning_rate=0.05)
    )
    options = TrainingOptions(batch_size=64, steps_per_execution=4)
    batches = training_batches(dataset, model, options)
    (first,) = batches.dataset(0, 1).take(1)
    times = {(user, item): time for user, item, time, _ in rows_of(dataset)}
    begins = slot_begins(dataset)
    for user, item, slot in zip(
        first["users"].numpy(),
        first["positives"].numpy(),
        first[SLOT].numpy(),
        strict=True,
    ):
        assert slot == sum(times[user, item] >= begin for begin in begins[1:])
    compile_model(model, options)
    history = model.fit(
        batches.dataset(0, 8),
        epochs=8,
        steps_per_epoch=batches.steps_per_epoch,
        verbose=0,
    ).history["click"]
    assert history[-1] < 0.9 * history[0]


def test_facts_that_are_not_there_are_refused(tmp_path: Path) -> None:
    plain = write_dataset(tmp_path / "plain")
    assert (
        "slots" not in read_manifest(plain.folder.popularity, kind="popularity").details
    )
    with pytest.raises(InputError, match=r"must have time slots; it has none"):
        read_fact(plain, ["train"], SLOT)
    with pytest.raises(InputError, match=r"row fact.*weather"):
        read_fact(plain, ["train"], "weather")
