"""Samples cut in memory are those of the job, and histories those of plain Python."""

import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from beam_jobs.sequences import SequenceOptions
from beam_jobs.sequences import run as sequences
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from tests.beam_jobs.raw import raw_rows, read_interactions, write_csv
from tfcausal.data.histories import SequencesInMemory, read_histories
from tfcausal.data.interactions import CheckedDataset, open_dataset
from tfcausal.data.sequence_rows import SequenceShards
from tfcausal.errors import InputError
from tfcausal.schema.dataset import shard_name
from tfcausal.stats import order
from tfcausal.stats.sequences import SequenceRule

LOCAL = PipelineOptions(["--runner=local"])
SMALL_BLOCK = 50
FOLD_IN = ("validation_fold_in", "test_fold_in")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    """Returns a data set of four shards, two of every eight users held out."""
    folder = tmp_path_factory.mktemp("histories")
    raw = write_csv(folder / "raw.csv", raw_rows())
    root = folder / "dataset"
    ingest(IngestOptions(str(raw), "csv", root, row_group_size=100), LOCAL)
    held_out = SplitOptions(
        root, "held_out_sequences", user_fractions=(0.75, 0.125, 0.125), fold_in=0.6
    )
    split(held_out, LOCAL)
    return open_dataset(root)


@pytest.fixture
def copied(dataset: CheckedDataset, tmp_path: Path) -> CheckedDataset:
    """Returns a copy that a test may spoil."""
    root = shutil.copytree(dataset.folder.root, tmp_path / "copied")
    return open_dataset(root)


def items_by_user(dataset: CheckedDataset, part: str) -> dict[int, list[int]]:
    """Returns each user's items by time, equal times in the order of the rows."""
    rows: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for row in read_interactions(dataset.folder.part(part)).to_pylist():
        rows[row["user"]].append((row["timestamp"], row["item"]))
    return {
        user: [item for _, item in sorted(own, key=lambda row: row[0])]
        for user, own in rows.items()
    }


@pytest.mark.parametrize("block_rows", [order.BLOCK_ROWS, SMALL_BLOCK])
@pytest.mark.parametrize(("max_length", "min_length"), [(5, 1), (3, 4), (30, 2)])
@pytest.mark.parametrize("epochs", [1, 3])
def test_blocks_are_those_of_the_job(
    dataset: CheckedDataset,
    monkeypatch: pytest.MonkeyPatch,
    epochs: int,
    max_length: int,
    min_length: int,
    block_rows: int,
) -> None:
    cut: dict[str, Any] = {
        "targets": "sampled" if epochs > 1 else "every_prefix",
        "max_length": max_length,
        "min_length": min_length,
        "num_cuts": 4 if epochs > 1 else 1,
        "seed": 5,
    }
    sequences(
        SequenceOptions(
            dataset.folder.root,
            epochs=epochs,
            block_rows=block_rows,
            overwrite=True,
            **cut,
        ),
        LOCAL,
    )
    monkeypatch.setattr(order, "BLOCK_ROWS", block_rows)
    shards = SequenceShards(dataset, part="train", num_epochs=epochs)
    memory = SequencesInMemory(dataset, SequenceRule(**cut))
    assert memory.num_rows == shards.num_rows > 0
    assert memory.max_length == shards.max_length == max_length
    written = [list(shards.blocks(epoch)) for epoch in range(epochs)]
    for epoch, expected in enumerate(written):
        found = list(memory.blocks(epoch))
        sizes = [len(block["users"]) for block in found]
        assert sum(sizes) == memory.num_rows
        # Four shards, which take turns.
        assert len(found) > 4 if block_rows == SMALL_BLOCK else len(found) == 4
        assert sizes == [len(block["users"]) for block in expected]
        for own, other in zip(found, expected, strict=True):
            assert own.keys() == other.keys()
            for name in own:
                assert own[name].dtype == other[name].dtype == np.int32
                np.testing.assert_array_equal(own[name], other[name])
    if epochs > 1:
        first, second = (
            np.concatenate([block["targets"] for block in blocks])
            for blocks in written[:2]
        )
        assert not np.array_equal(first, second)


def test_every_epoch_of_every_prefix_is_the_same_from_memory_and_from_the_job(
    dataset: CheckedDataset,
) -> None:
    sequences(SequenceOptions(dataset.folder.root, max_length=4, overwrite=True), LOCAL)
    shards = SequenceShards(dataset, part="train", num_epochs=3)
    memory = SequencesInMemory(dataset, SequenceRule(max_length=4))
    for epoch in range(3):
        for own, other in zip(memory.blocks(epoch), shards.blocks(epoch), strict=True):
            np.testing.assert_array_equal(own["users"], other["users"])
            np.testing.assert_array_equal(own["histories"], other["histories"])


def test_samples_are_those_of_plain_python(dataset: CheckedDataset) -> None:
    memory = SequencesInMemory(dataset, SequenceRule(max_length=3, min_length=2))
    expected = []
    for user, items in items_by_user(dataset, "train").items():
        for place in range(2, len(items)):
            before = items[max(0, place - 3) : place]
            padded = before + [0] * (3 - len(before))
            expected.append((user, padded, len(before), items[place]))
    found = [
        (user, history, length, target)
        for block in memory.blocks(7)
        for user, history, length, target in zip(
            *(
                block[name].tolist()
                for name in ("users", "histories", "lengths", "targets")
            ),
            strict=True,
        )
    ]
    assert sorted(found) == sorted(expected)
    assert found != sorted(found)


def test_nobody_with_rows_enough_is_refused(dataset: CheckedDataset) -> None:
    with pytest.raises(InputError, match="must have at least 1001 rows; none has"):
        SequencesInMemory(dataset, SequenceRule(min_length=1_000))
    with pytest.raises(InputError, match="must hold the part `intervened` of a split"):
        SequencesInMemory(dataset, SequenceRule(), part="intervened")


@pytest.mark.parametrize(
    "read",
    [
        lambda dataset: SequencesInMemory(dataset, SequenceRule()),
        lambda dataset: read_histories(dataset, 5),
    ],
    ids=["samples", "histories"],
)
def test_rows_out_of_order_are_refused_with_their_file(
    copied: CheckedDataset, read: Callable[[CheckedDataset], object]
) -> None:
    path = copied.folder.part("train") / shard_name(2)
    table = pq.read_table(path)
    users = table["user"].to_numpy()
    times = table["timestamp"].to_numpy()
    # Two rows of one user change places.
    first = int(np.flatnonzero((np.diff(users) == 0) & (np.diff(times) > 0))[0])
    places = np.arange(len(table))
    places[[first, first + 1]] = places[[first + 1, first]]
    pq.write_table(table.take(places), path)
    message = rf"{path}.*row {first + 2} is out of order"
    with pytest.raises(InputError, match=message):
        read(copied)


def slow_histories(
    dataset: CheckedDataset, max_length: int, parts: tuple[str, ...]
) -> npt.NDArray[np.int32]:
    found = np.zeros((dataset.num_users, max_length), np.int32)
    for part in parts:
        for user, items in items_by_user(dataset, part).items():
            last = items[-max_length:]
            found[user, : len(last)] = last
    return found


@pytest.mark.parametrize("max_length", [1, 4, 200])
def test_histories_are_what_a_model_may_know(
    dataset: CheckedDataset, max_length: int
) -> None:
    found = read_histories(dataset, max_length)
    assert found.dtype == np.int32
    expected = slow_histories(dataset, max_length, ("train", *FOLD_IN))
    np.testing.assert_array_equal(found, expected)
    assert found[0].tolist() == [0] * max_length
    # Pads stand behind the items alone.
    exists = found > 0
    assert (exists[:, :-1] | ~exists[:, 1:]).all()


def test_targets_of_held_out_users_stay_unknown(dataset: CheckedDataset) -> None:
    found = read_histories(dataset, 200)
    longest = int((found > 0).sum(axis=1).max())
    assert 0 < longest < 200
    training = set(items_by_user(dataset, "train"))
    for part, fold_in in zip(("validation", "test"), FOLD_IN, strict=True):
        targets = items_by_user(dataset, part)
        known = items_by_user(dataset, fold_in)
        assert targets
        assert not training & set(targets)
        for user, items in targets.items():
            history = found[user][found[user] > 0].tolist()
            assert history == known.get(user, [])
            # A row of each user and item is kept, so that no item is on both sides.
            assert not set(history) & set(items)


def test_users_without_rows_have_pads_alone(copied: CheckedDataset) -> None:
    for fold_in in FOLD_IN:
        shutil.rmtree(copied.folder.part(fold_in))
    found = read_histories(copied, 6)
    np.testing.assert_array_equal(found, slow_histories(copied, 6, ("train",)))
    held_out = [
        user for part in ("validation", "test") for user in items_by_user(copied, part)
    ]
    assert len(held_out) > 10
    assert not found[held_out].any()


def test_rows_without_a_time_are_in_the_order_of_the_input(tmp_path: Path) -> None:
    raw = tmp_path / "raw.csv"
    rows = [("u", "c"), ("v", "a"), ("u", "a"), ("u", "b"), ("v", "c"), ("u", "d")]
    lines = "".join(f"{user},{item}\n" for user, item in rows)
    raw.write_text("user_id,item_id\n" + lines)
    root = tmp_path / "dataset"
    ingest(IngestOptions(str(raw), "csv", root), LOCAL)
    split(SplitOptions(root, "random", fractions=(1.0, 0.0, 0.0)), LOCAL)
    dataset = open_dataset(root)
    users = pq.read_table(dataset.folder.users)["user_id"].to_pylist()
    items = pq.read_table(dataset.folder.items)["item_id"].to_pylist()
    found = {
        users[user]: [items[item] for item in history]
        for user, history in enumerate(read_histories(dataset, 3))
    }
    # The longest loses its first item, c; the shorter one is filled.
    assert found == {"": ["", "", ""], "u": ["a", "b", "d"], "v": ["a", "c", ""]}
