"""Ingest from end to end, against a plain computation."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.ingest import IngestOptions, run
from tests.beam_jobs.raw import (
    Expected,
    raw_rows,
    read_interactions,
    with_ids,
    write_csv,
    write_shards,
)
from tfcausal.schema.columns import interactions_schema, vocabulary_schema
from tfcausal.schema.dataset import DatasetFolder
from tfcausal.schema.manifest import file_checksum, read_manifest


def options(raw: Path, dataset: Path, **changes: object) -> IngestOptions:
    return IngestOptions(str(raw), **({"format": "csv", "output": dataset} | changes))


@pytest.mark.parametrize(
    ("min_rating", "min_item", "min_user"), [(1, 1, 1), (3, 4, 1), (3, 10, 6)]
)
def test_three_files_against_a_plain_computation(
    tmp_path: Path, min_rating: float, min_item: int, min_user: int
) -> None:
    rows = raw_rows()
    raw = write_shards(tmp_path / "raw", rows)
    manifest = run(
        options(
            raw,
            tmp_path / "dataset",
            min_rating=min_rating,
            min_item_count=min_item,
            min_user_count=min_user,
            row_group_size=50,
        )
    )
    expected = Expected.of(
        rows, min_rating=min_rating, min_item=min_item, min_user=min_user
    )
    folder = DatasetFolder(tmp_path / "dataset")
    for place, path, name in (
        (0, folder.users, "user_id"),
        (1, folder.items, "item_id"),
    ):
        table = pq.read_table(path)
        assert table.schema.equals(vocabulary_schema(name))
        found = list(zip(*table.to_pydict().values(), strict=True))
        assert found == expected.vocabulary(place)
    table = read_interactions(folder.interactions)
    assert table.schema.equals(interactions_schema(rating=True, timestamp=True))
    values = zip(
        table["rating"].to_pylist(), table["timestamp"].to_pylist(), strict=True
    )
    pairs = with_ids(folder.root, table)
    assert dict(zip(pairs, values, strict=True)) == expected.rows
    assert len(pairs) == len(expected.rows) == manifest.counts["interactions"]
    assert manifest.counts["users"] == len(expected.vocabulary(0)) - 1
    assert manifest.counts["items"] == len(expected.vocabulary(1)) - 1
    assert manifest.counts["rows_read"] == len(rows)


def test_each_shard_is_ordered_and_users_stay_whole(tmp_path: Path) -> None:
    raw = write_csv(tmp_path / "raw.csv", raw_rows())
    run(options(raw, tmp_path / "dataset", num_shards=5, repeats="keep"))
    paths = sorted((tmp_path / "dataset/interactions").iterdir())
    assert [path.name for path in paths] == [f"part-0000{n}.parquet" for n in range(5)]
    seen: set[int] = set()
    for path in paths:
        shard = pq.read_table(path).to_pydict()
        keys = list(zip(shard["user"], shard["timestamp"], strict=True))
        assert keys == sorted(keys)
        assert not seen & set(shard["user"])
        seen |= set(shard["user"])
    assert seen == set(range(1, 81))


def test_occurrences_number_a_users_meetings_with_an_item(tmp_path: Path) -> None:
    rows = [("a", "x", 1, 9), ("a", "x", 2, 3), ("a", "y", 3, 5), ("a", "x", 4, 3)]
    raw = write_csv(tmp_path / "raw.csv", rows)
    run(options(raw, tmp_path / "dataset", repeats="keep", num_shards=1))
    table = read_interactions(tmp_path / "dataset/interactions")
    assert table["rating"].to_pylist() == [2, 4, 3, 1]
    assert table["occurrence"].to_pylist() == [0, 1, 0, 2]
    run(options(raw, tmp_path / "latest", repeats="latest", num_shards=1))
    table = read_interactions(tmp_path / "latest/interactions")
    assert table["rating"].to_pylist() == [3, 1]
    assert "occurrence" not in table.column_names


def test_manifest_promises_every_file_and_names_no_place(tmp_path: Path) -> None:
    raw = write_shards(tmp_path / "raw", raw_rows())
    dataset = tmp_path / "dataset"
    manifest = run(options(raw, dataset))
    assert read_manifest(dataset, kind="dataset") == manifest
    files = {
        path.relative_to(dataset).as_posix(): file_checksum(path)
        for path in dataset.rglob("*.parquet")
    }
    assert manifest.files == files
    assert set(files) == {
        "users.parquet",
        "items.parquet",
        "rejected/part-00000.parquet",
        *(f"interactions/part-0000{shard}.parquet" for shard in range(4)),
    }
    assert manifest.inputs == {
        f"{number}.csv": file_checksum(raw / f"{number}.csv") for number in range(3)
    }
    assert str(tmp_path) not in manifest.to_json()
    assert set(manifest.versions) == {"python", "numpy", "pyarrow", "apache-beam"}


def test_integer_ids_of_parquet_equal_those_of_csv(tmp_path: Path) -> None:
    rows = [(number % 7, number % 11, 1.0, number) for number in range(60)]
    columns = dict(
        zip(
            ("user_id", "item_id", "rating", "timestamp"),
            zip(*rows, strict=True),
            strict=True,
        )
    )
    pq.write_table(pa.table(columns), tmp_path / "raw.parquet", row_group_size=13)
    write_csv(tmp_path / "raw.csv", rows)
    run(options(tmp_path / "raw.csv", tmp_path / "a"))
    run(options(tmp_path / "raw.parquet", tmp_path / "b", format="parquet"))
    for path in (tmp_path / "a").rglob("*.parquet"):
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == other.read_bytes()


def test_named_columns_and_none_of_the_optional_ones(tmp_path: Path) -> None:
    (tmp_path / "raw.csv").write_text("who,what,stars\na,x,5\nb,x,3\n")
    run(
        options(
            tmp_path / "raw.csv",
            tmp_path / "dataset",
            user_column="who",
            item_column="what",
        )
    )
    table = read_interactions(tmp_path / "dataset/interactions")
    assert table.column_names == ["user", "item"]


def test_an_empty_name_means_no_column(tmp_path: Path) -> None:
    (tmp_path / "raw.csv").write_text(
        "user_id,item_id,rating,timestamp\na,x,5,2024-01-01\nb,x,3,2024-01-02\n"
    )
    run(options(tmp_path / "raw.csv", tmp_path / "dataset", timestamp_column=""))
    table = read_interactions(tmp_path / "dataset/interactions")
    assert table.column_names == ["user", "item", "rating"]


def test_overwrite_replaces_and_its_absence_protects(tmp_path: Path) -> None:
    raw = write_csv(tmp_path / "raw.csv", raw_rows())
    first = run(options(raw, tmp_path / "dataset"))
    with pytest.raises(ValueError, match="must not exist yet"):
        run(options(raw, tmp_path / "dataset"))
    second = run(options(raw, tmp_path / "dataset", min_rating=5, overwrite=True))
    assert second.counts["interactions"] < first.counts["interactions"]
