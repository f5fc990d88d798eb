"""Indexes of shards hold every item once, and lists through them are the exact ones."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.embed import EmbedOptions
from beam_jobs.embed import run as embed
from beam_jobs.index import JOB, IndexOptions, run
from beam_jobs.recommend import RecommendOptions
from beam_jobs.recommend import run as recommend
from tests.exports import NUM_ITEMS, exported_model
from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.exported import index_shard
from tfcausal.schema.manifest import checksums, read_manifest
from tfcausal.serving.index_files import load_index

pytest.importorskip("scann")
WITHOUT_BEAM = PipelineOptions(["--runner=local"])
FILE_ITEMS = 16
SHARD_ITEMS = 2 * FILE_ITEMS
"""Items of all shards but the last."""
SHARDS = math.ceil((NUM_ITEMS - 1) / SHARD_ITEMS)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the vectors of the exported model, in files of 16."""
    folder = tmp_path_factory.mktemp("vectors") / "vectors"
    embed(EmbedOptions(exported_model(), folder, block_rows=FILE_ITEMS), WITHOUT_BEAM)
    return folder


@pytest.fixture(scope="module")
def index(vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns an index of two files a shard; the option asks for somewhat more."""
    folder = tmp_path_factory.mktemp("index") / "index"
    run(IndexOptions(vectors, folder, SHARD_ITEMS + 5, k=10), WITHOUT_BEAM)
    return folder


def table(folder: Path) -> pa.Table:
    return pa.concat_tables(
        pq.read_table(path) for path in sorted(folder.glob("part-*.parquet"))
    )


def test_every_item_is_in_one_shard(vectors: Path, index: Path) -> None:
    assert len(list(index.glob("shard-*"))) == SHARDS
    shards = [load_index(index_shard(index, number)) for number in range(SHARDS)]
    assert [len(shard) for shard in shards[:-1]] == [SHARD_ITEMS] * (SHARDS - 1)
    items = table(vectors / "items")
    ids = [item for shard in shards for item in shard.base.items]
    assert ids == items[columns.ITEM_ID].to_pylist()
    found = [row for shard in shards for row in shard.base.vectors.tolist()]
    assert found == items[columns.EMBEDDING].to_pylist()


def test_the_manifests(vectors: Path, index: Path) -> None:
    manifest = read_manifest(index, kind="sharded_index")
    assert dict(manifest.counts) == {"items": NUM_ITEMS - 1, "shards": SHARDS}
    fingerprint = read_manifest(vectors, kind="vectors").fingerprint
    assert manifest.inputs == {"vectors": fingerprint}
    assert manifest.options == {
        "items_per_shard": SHARD_ITEMS + 5,
        "floor": 0.95,
        "k": 10,
        "num_users": 256,
    }
    assert manifest.files == checksums(index)
    shard = read_manifest(index_shard(index, 1), kind="index")
    assert shard.inputs == manifest.inputs
    # Every cause at every weight was measured; so small a shard is searched exactly.
    assert len(shard.details["recall"]) == 9
    assert set(shard.details["recall"].values()) == {1.0}


@pytest.mark.parametrize(
    "options",
    [
        {"k": 20},
        {"k": 7, "weight": ("conformity=-0.5",), "include_seen": True},
        {"k": 500},
        {"do": "interest_only"},
    ],
)
def test_lists_through_shards(
    vectors: Path, index: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    # What finds every item of a shard leaves nothing to chance but the merging.
    found = tmp_path / "through"
    given = RecommendOptions(vectors, found, index=index, **options)
    recommend(given, WITHOUT_BEAM)
    recommend(RecommendOptions(vectors, tmp_path / "exact", **options), WITHOUT_BEAM)
    assert table(found).equals(table(tmp_path / "exact"))
    manifest = read_manifest(found, kind="recommendations")
    fingerprint = read_manifest(index, kind="sharded_index").fingerprint
    assert manifest.inputs["index"] == fingerprint


@pytest.mark.slow
def test_on_the_direct_runner(vectors: Path, tmp_path: Path) -> None:
    processes = PipelineOptions(
        ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    )
    index = tmp_path / "index"
    run(IndexOptions(vectors, index, SHARD_ITEMS, k=10), processes)
    assert len(list(index.glob("shard-*"))) == SHARDS
    for name, options in (("index", {"index": index}), ("exact", {})):
        target = tmp_path / f"by-{name}"
        recommend(RecommendOptions(vectors, target, **options), processes)
    assert table(tmp_path / "by-index").equals(table(tmp_path / "by-exact"))


def test_in_a_store(vectors: Path, bucket: Path, tmp_path: Path) -> None:
    copied = bucket / "vectors"
    for path in vectors.rglob("*"):
        if path.is_file():
            with (copied / path.relative_to(vectors)).open("wb") as stream:
                stream.write(path.read_bytes())
    run(IndexOptions(copied, bucket / "index", SHARD_ITEMS, k=10), WITHOUT_BEAM)
    manifest = read_manifest(bucket / "index", kind="sharded_index")
    assert manifest.counts["shards"] == SHARDS
    lists = bucket / "lists"
    options = RecommendOptions(copied, lists, index=bucket / "index")
    recommend(options, WITHOUT_BEAM)
    recommend(RecommendOptions(vectors, tmp_path / "exact"), WITHOUT_BEAM)
    assert table(lists).equals(table(tmp_path / "exact"))


def test_refuses_the_index_of_other_vectors(index: Path, tmp_path: Path) -> None:
    other = tmp_path / "vectors"
    embed(EmbedOptions(exported_model(), other, block_rows=50), WITHOUT_BEAM)
    with pytest.raises(InputError, match="`index` must be of the vectors that"):
        recommend(RecommendOptions(other, tmp_path / "r", index=index), WITHOUT_BEAM)
    assert not (tmp_path / "r").exists()


def changed(vectors: Path, target: Path, kind: str, column: str, values: Any) -> Path:
    """Returns a copy of the vectors with other values in a column of every file."""
    shutil.copytree(vectors, target)
    for path in (target / kind).iterdir():
        rows = pq.read_table(path)
        place = rows.schema.get_field_index(column)
        filled = pa.array([values] * len(rows), rows.schema.field(place).type)
        pq.write_table(rows.set_column(place, rows.schema.field(place), filled), path)
    return target


@pytest.mark.parametrize(
    ("kind", "column", "values", "message"),
    [
        ("users", columns.KNOWN_USER, False, "must have a user that the model knows"),
        ("items", columns.ITEM_ID, "same", "must name each item once"),
        ("items", columns.EMBEDDING, [float("nan")] * 8, "must be finite"),
    ],
)
def test_what_cannot_be_indexed(
    vectors: Path, tmp_path: Path, kind: str, column: str, values: Any, message: str
) -> None:
    wrong = changed(vectors, tmp_path / "wrong", kind, column, values)
    with pytest.raises(InputError, match=message):
        run(IndexOptions(wrong, tmp_path / "index"), WITHOUT_BEAM)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"items_per_shard": 0}, "`items_per_shard` must be at least 1"),
        ({"k": 0}, "`k` must be at least 1"),
        ({"num_users": 0}, "`num_users` must be at least 1"),
        ({"floor": 1.5}, "`floor` must be from 0 to 1"),
        ({"floor": float("nan")}, "`floor` must be from 0 to 1"),
    ],
)
def test_refusals(
    vectors: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        IndexOptions(vectors, tmp_path, **options)


def test_command(vectors: Path, tmp_path: Path, capsys: Any) -> None:
    flags = [f"--vectors={vectors}", f"--output={tmp_path / 'i'}", "--runner=local"]
    assert JOB.main([*flags, "--items_per_shard=40", "--k=5", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["counts"] == {"items": NUM_ITEMS - 1, "shards": SHARDS}
    assert JOB.main(flags) == 2
    assert "must not exist yet" in capsys.readouterr().err
