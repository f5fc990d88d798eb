"""Tables of features beside the interactions."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.ingest import IngestOptions, run
from tfcausal.errors import InputError
from tfcausal.schema.dataset import DatasetFolder
from tfcausal.schema.manifest import Manifest, checksums, file_checksum

ITEMS = "item_id,title,year,genres\ny,Y,1999,War|Drama\nzz,Z,1,\nx,X,1995,\ny,2,3,4\n"


def ingest(tmp_path: Path, name: str, flags: Any = (), **changes: Any) -> Manifest:
    raw = tmp_path / "raw.csv"
    raw.write_text("user_id,item_id\na,x\nb,x\nb,y\nc,w\n")
    given = {"input": str(raw), "format": "csv"} | changes
    options = IngestOptions(output=tmp_path / name, **given)
    return run(options, PipelineOptions(list(flags)))


def test_items_and_users_in_the_order_of_their_vocabularies(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text(ITEMS)
    users = pa.table({"age": [31, 20], "user_id": ["c", "a"], "tags": [["t"], []]})
    pq.write_table(users, tmp_path / "users.parquet")
    changes = {
        "item_features": str(tmp_path / "items.csv"),
        "user_features": str(tmp_path / "users.parquet"),
        "list_columns": ("genres",),
    }
    manifest = ingest(tmp_path, "beam", **changes)
    again = ingest(tmp_path, "local", ["--runner=local"], **changes)
    assert checksums(tmp_path / "beam") == checksums(tmp_path / "local")
    assert manifest.fingerprint == again.fingerprint
    assert str(tmp_path) not in manifest.to_json()
    folder = DatasetFolder(tmp_path / "beam")
    table = pq.read_table(folder.item_features)
    ids = pq.read_table(folder.items)["item_id"]
    assert table["item_id"].to_pylist() == ids.to_pylist() == ["", "x", "w", "y"]
    assert table.drop_columns(["item_id"]).to_pydict() == {
        "title": [None, "X", None, "Y"],
        "year": [None, 1995, None, 1999],
        "genres": [None, [], None, ["War", "Drama"]],
    }
    table = pq.read_table(folder.user_features)
    assert table.to_pydict() == {
        "user_id": ["", "b", "a", "c"],
        "age": [None, None, 20, 31],
        "tags": [None, None, [], ["t"]],
    }
    counts = manifest.counts
    assert counts["item_features_unknown"] == 1
    assert counts["item_features_repeated"] == 1
    assert counts["items_without_features"] == 1
    assert counts["users_without_features"] == 1
    assert manifest.inputs["item_features/items.csv"] == file_checksum(
        tmp_path / "items.csv"
    )


def test_the_inputs_own_name_of_the_ids(tmp_path: Path) -> None:
    (tmp_path / "raw2.csv").write_text("user_id,video_id\na,x\n")
    (tmp_path / "items.tsv").write_text("video_id\tlength\nx\t7.5\n")
    ingest(
        tmp_path,
        "a",
        ["--runner=local"],
        input=str(tmp_path / "raw2.csv"),
        item_column="video_id",
        item_features=str(tmp_path / "items.tsv"),
    )
    table = pq.read_table(tmp_path / "a/item_features.parquet")
    assert table.to_pydict() == {"item_id": ["", "x"], "length": [None, 7.5]}


def test_published_attributes_and_matrices(tmp_path: Path) -> None:
    (tmp_path / "item2attributes.json").write_text(json.dumps({"y": [3, 1], "x": []}))
    ingest(
        tmp_path,
        "a",
        ["--runner=local"],
        item_features=str(tmp_path / "item2attributes.json"),
    )
    table = pq.read_table(tmp_path / "a/item_features.parquet")
    assert table["features"].to_pylist() == [None, [], None, [3, 1]]
    (tmp_path / "train.ascii").write_text("0 5\n3 0\n")
    (tmp_path / "user_features.ascii").write_text("0 1 1\n1 0 0\n")
    ingest(
        tmp_path,
        "b",
        ["--runner=local"],
        input=str(tmp_path / "train.ascii"),
        format="coat",
        user_features=str(tmp_path / "user_features.ascii"),
    )
    table = pq.read_table(tmp_path / "b/user_features.parquet")
    assert table.to_pydict() == {
        "user_id": ["", "0", "1"],
        "features": [None, [1, 2], [0]],
    }


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("items.txt", b"item_id\nx\n", "must end in .csv"),
        ("items.csv", b"film,year\nx,1\n", "one column `item_id`; got film, year"),
        ("items.csv", b"", "one column `item_id`; got none"),
        ("items.csv", b"item_id,year\nx,1\ny\n", "row 3 has more or fewer: 'y'"),
        ("items.csv", b"item_id,title\nx,caf\xe9\n", "must be text in UTF-8"),
        ("items.parquet", b"item_id", "must be a Parquet file"),
        ("items.json", b"[1]", "one JSON object"),
        ("items.json", b'{"x": [1], "y": ["a"]}', "one JSON object"),
        ("items.ascii", b"0 1\n0 2\n", "must hold 0 and 1"),
    ],
)
def test_files_that_cannot_be_read(
    tmp_path: Path, name: str, content: bytes, match: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=match):
        ingest(tmp_path, "a", ["--runner=local"], item_features=str(tmp_path / name))
    assert not (tmp_path / "a").exists()


def test_wrong_options_and_types(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"item_id": ["x"], "a": [{"b": 1}]}), path)
    with pytest.raises(InputError, match="`a` must hold texts, numbers or lists"):
        ingest(tmp_path, "a", ["--runner=local"], item_features=str(path))
    pq.write_table(pa.table({"item_id": [1.5]}), path)
    with pytest.raises(InputError, match="must hold text or integers; got double"):
        ingest(tmp_path, "a", ["--runner=local"], item_features=str(path))
    with pytest.raises(InputError, match="none of them has `genres`"):
        ingest(tmp_path, "a", item_features=str(path), list_columns=("genres",))
    with pytest.raises(InputError, match="`--item_features` must name a file"):
        ingest(tmp_path, "a", item_features=str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match="must be a local path"):
        ingest(tmp_path, "a", item_features="ftp://host/items.csv")
    with pytest.raises(InputError, match="`list_separator` must be"):
        ingest(tmp_path, "a", list_separator="")
