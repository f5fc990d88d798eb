"""Sequences as a loop over the rows gives them, the same bytes on every runner."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from beam_jobs.sequences import SequenceOptions, main, run
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from beam_jobs.transforms.sequences import CutShard, SequencePlan
from tests.beam_jobs.raw import make_dataset, read_interactions, write_csv
from tests.beam_jobs.sent import as_sent
from tfcausal.data.interactions import open_dataset
from tfcausal.data.sequence_rows import SequenceShards
from tfcausal.data.training_rows import epoch_chunks
from tfcausal.errors import InputError
from tfcausal.schema.dataset import DatasetFolder, shard_name
from tfcausal.schema.manifest import checksums
from tfcausal.stats.sequences import SequenceRule

WITHOUT_BEAM = PipelineOptions(["--runner=local"])

Sample = tuple[int, tuple[int, ...], int, int]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a data set that is split."""
    return make_dataset(tmp_path_factory.mktemp("sequences"))


@pytest.fixture
def copied(dataset: Path, tmp_path: Path) -> Path:
    """Returns a copy of the data set that a test may spoil, without sequences."""
    hidden = shutil.ignore_patterns("sequences")
    return shutil.copytree(dataset, tmp_path / "copied", ignore=hidden)


def read(dataset: Path, part: str, epoch: int = 0, **more: Any) -> list[Sample]:
    shards = SequenceShards(open_dataset(dataset), part=part, **more)
    samples = [
        (user, tuple(history), length, target)
        for block in shards.blocks(epoch)
        for user, history, length, target in zip(
            *(block[name].tolist() for name in ("users", "histories", "lengths")),
            block["targets"].tolist(),
            strict=True,
        )
    ]
    assert len(samples) == shards.num_rows
    return samples


def prefixes(folder: Path, max_length: int, min_length: int) -> list[Sample]:
    """Returns all samples of right-padded histories, user by user."""
    table = read_interactions(folder)
    rows = list(zip(table["user"].to_pylist(), table["item"].to_pylist(), strict=True))
    samples = []
    for user, group in itertools.groupby(rows, key=lambda row: row[0]):
        items = [item for _, item in group]
        for place in range(min_length, len(items)):
            history = items[max(0, place - max_length) : place]
            padded = (*history, *[0] * (max_length - len(history)))
            samples.append((user, padded, len(history), items[place]))
    return samples


def test_every_prefix(dataset: Path) -> None:
    manifest = run(
        SequenceOptions(
            dataset, max_length=6, min_length=2, block_rows=50, overwrite=True
        )
    )
    expected = prefixes(DatasetFolder(dataset).part("train"), 6, 2)
    assert sorted(read(dataset, "train")) == sorted(expected)
    assert manifest.counts["rows"] == manifest.counts["rows_per_epoch"] == len(expected)
    users = read_interactions(DatasetFolder(dataset).part("train"))["user"].to_numpy()
    _, counts = np.unique(users, return_counts=True)
    assert manifest.counts["users"] == len(counts)
    assert manifest.counts["users_too_short"] == (counts < 3).sum()


def test_rows_are_in_order_of_time(tmp_path: Path) -> None:
    # Equal times (30) stay in the order of the input; c comes first by its time.
    times = [("a", 30), ("b", 30), ("c", 10), ("d", 40)]
    raw = write_csv(
        tmp_path / "raw.csv", [("u", item, 5, time) for item, time in times]
    )
    dataset = tmp_path / "dataset"
    ingest(IngestOptions(str(raw), "csv", dataset), WITHOUT_BEAM)
    split(SplitOptions(dataset, "random", fractions=(1.0, 0.0, 0.0)), WITHOUT_BEAM)
    options = SequenceOptions(dataset, part="all", targets="last", min_length=1)
    run(options, WITHOUT_BEAM)
    ids = pq.read_table(dataset / "items.parquet")["item_id"].to_pylist()
    ((_, history, length, target),) = read(dataset, "all")
    assert [ids[item] for item in history[:length]] == ["c", "a", "b"]
    assert ids[target] == "d"


def test_parts_lie_side_by_side(dataset: Path) -> None:
    run(SequenceOptions(dataset, part="test", targets="whole", min_length=1))
    run(SequenceOptions(dataset, part="all", targets="last", order="by_user"))
    rows = read_interactions(DatasetFolder(dataset).part("test"))
    assert len(read(dataset, "test")) == len(set(rows["user"].to_pylist()))
    assert {target for *_, target in read(dataset, "test")} == {0}
    expected = prefixes(DatasetFolder(dataset).interactions, 20, 4)
    last = {user: (user, *rest) for user, *rest in expected}
    # Shards take turns block by block, and each of them has one block here.
    assert read(dataset, "all") == list(last.values())


def test_sampled_epochs(dataset: Path) -> None:
    manifest = run(
        SequenceOptions(
            dataset, targets="sampled", epochs=2, num_cuts=3, overwrite=True
        )
    )
    allowed = set(prefixes(DatasetFolder(dataset).part("train"), 20, 4))
    epochs = [read(dataset, "train", epoch, num_epochs=2) for epoch in (0, 1)]
    assert sorted(epochs[0]) != sorted(epochs[1])
    for samples in epochs:
        assert set(samples) <= allowed
        assert len(samples) == 3 * len({user for user, *_ in allowed})
    assert manifest.counts["rows"] == 2 * manifest.counts["rows_per_epoch"]
    with pytest.raises(InputError, match=r"must hold 3 epochs; got 2. Run .*epochs=3"):
        read(dataset, "train", num_epochs=3)


def test_blocks_are_views_of_the_file(dataset: Path) -> None:
    run(SequenceOptions(dataset, overwrite=True), WITHOUT_BEAM)
    shards = SequenceShards(open_dataset(dataset), part="train")
    before = pa.total_allocated_bytes()
    blocks = list(shards.blocks(0))
    assert pa.total_allocated_bytes() == before
    for column in (column for block in blocks for column in block.values()):
        assert not column.flags.owndata
        assert not column.flags.writeable


def test_batches_for_training_hold_every_sample_once(dataset: Path) -> None:
    run(SequenceOptions(dataset, block_rows=16, overwrite=True))
    shards = SequenceShards(open_dataset(dataset), part="train", num_epochs=7)
    size = 5
    for epoch in (0, 6):
        chunks = list(
            epoch_chunks(shards, seed=1, epoch=epoch, batch_size=size, skip_batches=0)
        )
        found = [
            (user, tuple(history))
            for chunk in chunks
            for user, history in zip(
                chunk["users"].tolist(), chunk["histories"].tolist(), strict=True
            )
        ]
        assert len(found) == shards.num_rows // size * size
        expected = {(user, history) for user, history, *_ in read(dataset, "train")}
        assert set(found) <= expected


@pytest.mark.parametrize(
    "flags",
    [
        ["--runner=local"],
        ["--direct_running_mode=multi_threading", "--direct_num_workers=2"],
    ],
)
def test_the_same_bytes_on_every_runner(dataset: Path, flags: list[str]) -> None:
    options = SequenceOptions(
        dataset, targets="sampled", epochs=2, block_rows=32, overwrite=True
    )
    first = run(options)
    written = checksums(DatasetFolder(dataset).sequences("train"))
    again = run(options, PipelineOptions(flags))
    assert again == first
    assert checksums(DatasetFolder(dataset).sequences("train")) == written


def test_command(dataset: Path, monkeypatch: Any, capsys: Any) -> None:
    argv = ["sequences", f"--dataset={dataset}", "--targets=last", "--overwrite"]
    monkeypatch.setattr("sys.argv", argv)
    assert main() == 0
    monkeypatch.setattr("sys.argv", [*argv, "--max_length=0"])
    assert main() == 2
    assert "`max_length` must be at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"epochs": 0}, "`epochs` must be at least 1"),
        ({"block_rows": 0}, "`block_rows` must be at least 1"),
        ({"epochs": 2}, "`epochs` must be 1 unless targets=sampled"),
        ({"targets": "first"}, "Unknown targets `first`"),
    ],
)
def test_options_are_refused(dataset: Path, changes: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        SequenceOptions(dataset, **changes)


def test_refusals(dataset: Path) -> None:
    with pytest.raises(InputError, match=r"Unknown part `tset`\. Did you mean `test`"):
        run(SequenceOptions(dataset, part="tset"))
    with pytest.raises(InputError, match="must have at least 1001 rows; none of"):
        run(SequenceOptions(dataset, min_length=1_000, overwrite=True))
    run(SequenceOptions(dataset, overwrite=True))
    with pytest.raises(InputError, match="must not exist yet"):
        run(SequenceOptions(dataset))


def test_rows_out_of_order_are_refused(copied: Path) -> None:
    path = DatasetFolder(copied).interactions / shard_name(1)
    table = pq.read_table(path)
    pq.write_table(table.take(list(range(len(table)))[::-1]), path)
    for flags in ([], ["--runner=local"]):
        with pytest.raises(InputError, match=r"part-00001.*row 2 is out of order"):
            run(SequenceOptions(copied, part="all"), PipelineOptions(flags))
    assert not DatasetFolder(copied).sequences("all").exists()


def test_what_does_not_fit_is_not_read(copied: Path) -> None:
    with pytest.raises(
        InputError, match="must hold a finished result of kind sequences"
    ):
        read(copied, "train")
    run(SequenceOptions(copied), WITHOUT_BEAM)
    path = DatasetFolder(copied).sequences("train") / "epoch-0000" / "part-00000.arrow"
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(InputError, match="must be an Arrow file"):
        read(copied, "train")
    path.unlink()
    with pytest.raises(InputError, match="must be an Arrow file"):
        read(copied, "train")
    with pa.ipc.open_file(content) as whole:
        batches = [whole.get_batch(n) for n in range(whole.num_record_batches)]
    with pa.ipc.new_file(path, batches[0].schema) as writer:
        writer.write_batch(batches[0].slice(1))
    with pytest.raises(InputError, match="as its manifest says; got"):
        read(copied, "train")
    renamed = batches[0].rename_columns(["user", "history", "length", "next"])
    with pa.ipc.new_file(path, renamed.schema) as writer:
        writer.write_batch(renamed)
    with pytest.raises(InputError, match="must hold histories of 20 items"):
        read(copied, "train")


def test_sequences_of_another_split_are_refused(copied: Path) -> None:
    run(SequenceOptions(copied), WITHOUT_BEAM)
    run(SequenceOptions(copied, part="all"), WITHOUT_BEAM)
    split(SplitOptions(copied, "intervened", seed=1, overwrite=True), WITHOUT_BEAM)
    with pytest.raises(InputError, match=r"inputs\.splits must be"):
        read(copied, "train")
    # Those of all rows do not depend on the split.
    assert read(copied, "all")


def test_workers_get_what_they_need() -> None:
    plan = SequencePlan(Path("r"), Path("f"), SequenceRule(), 8)
    sent = CutShard(plan)
    again = as_sent(sent)
    assert again.__dict__ == sent.__dict__
