"""Bad input: rejected rows, and what makes the whole job fail."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.ingest import IngestOptions, run
from tests.beam_jobs.raw import raw_rows, read_interactions, write_csv
from tfcausal.errors import InputError

HEADER = b"user_id,item_id,rating,timestamp\n"


def ingest(raw: Path | str, dataset: Path, **changes: object) -> IngestOptions:
    values = {"format": "csv", "output": dataset} | changes
    return IngestOptions(str(raw), **values)


def refused(options: IngestOptions, match: str) -> None:
    """Asserts that the job is refused and leaves nothing behind."""
    before = set(options.output.parent.iterdir())
    with pytest.raises(InputError, match=match):
        run(options)
    assert set(options.output.parent.iterdir()) == before


def test_each_kind_of_bad_row_is_reported_with_its_place(tmp_path: Path) -> None:
    bad = [
        b"a,b,1",
        b"a,b,1,2,3",
        b",x,1,2",
        b"a,,1,2",
        b"a\xff,x,1,2",
        b"a\x07,x,1,2",
        b"a,x,nan,2",
        b"a,x,good,2",
        b"a,x,1,-2",
        b"a,x,1,soon",
    ]
    good = [b"u%d,i%d,3,4" % (row % 9, row) for row in range(90)]
    lines = good[:40] + bad[:5] + [b""] + good[40:] + bad[5:]
    raw = tmp_path / "raw.csv"
    raw.write_bytes(HEADER + b"\n".join(lines) + b"\n")
    manifest = run(ingest(raw, tmp_path / "dataset", max_bad_fraction=0.1))
    table = pa.concat_tables(
        pq.read_table(path) for path in (tmp_path / "dataset/rejected").iterdir()
    )
    found = {row["row"]: row["reason"] for row in table.to_pylist()}
    # Row 1 is the header; the blank line between them is not counted.
    assert found == {
        42: "wrong_field_count",
        43: "wrong_field_count",
        44: "empty_user",
        45: "empty_item",
        46: "not_utf8",
        97: "control_character",
        98: "bad_rating",
        99: "bad_rating",
        100: "bad_timestamp",
        101: "bad_timestamp",
    }
    assert set(table["source"].to_pylist()) == {"raw.csv"}
    assert table["text"].to_pylist()[0] == "a,b,1"
    assert manifest.counts["rows_rejected"] == 10
    assert manifest.counts["rejected/bad_rating"] == 2
    assert manifest.counts["interactions"] == 90
    refused(ingest(raw, tmp_path / "other", max_bad_fraction=0.09), "wrong_field_count")


def test_an_unclosed_quote_counts_every_line_that_it_swallows(tmp_path: Path) -> None:
    raw = tmp_path / "raw.csv"
    raw.write_bytes(HEADER + b"a,x,1,2\n" * 10 + b'"b,x,1,2\n' + b"c,x,1,2\n" * 9)
    refused(ingest(raw, tmp_path / "dataset"), "got 10 of 20|got 11 of 21")


def test_among_good_files_an_empty_and_an_all_bad_one(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    write_csv(folder / "good.csv", raw_rows())
    (folder / "empty.csv").write_bytes(b"")
    (folder / "header.csv").write_bytes(HEADER)
    (folder / "bad.csv").write_bytes(HEADER + b",,,\n" * 10)
    manifest = run(ingest(folder, tmp_path / "dataset"))
    alone = run(ingest(folder / "good.csv", tmp_path / "alone"))
    assert manifest.counts["rejected/empty_user"] == 10
    assert manifest.counts["interactions"] == alone.counts["interactions"]
    assert read_interactions(tmp_path / "dataset/interactions").equals(
        read_interactions(tmp_path / "alone/interactions")
    )


def test_all_rows_bad(tmp_path: Path) -> None:
    (tmp_path / "raw.csv").write_bytes(HEADER + b"a,x,nan,2\n" * 5)
    refused(
        ingest(tmp_path / "raw.csv", tmp_path / "dataset"),
        r"got 5 of 5: raw.csv row 2: bad_rating in 'a,x,nan,2'",
    )


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "at least one row; all files of"),
        (HEADER, "at least one row"),
        (b"user,item\na,b\n", "must have one column `user_id`; got user, item"),
        (b"user_id,item_id,user_id\na,b,c\n", "must have one column `user_id`"),
        (b"user_id;item_id\na;b\n", "its header is one field, 'user_id;item_id'"),
        (b"\xff\xfe,item_id\na,b\n", "must have column names in UTF-8"),
    ],
)
def test_empty_files_and_wrong_headers(
    tmp_path: Path, content: bytes, match: str
) -> None:
    (tmp_path / "raw.csv").write_bytes(content)
    refused(ingest(tmp_path / "raw.csv", tmp_path / "dataset"), match)


def test_wrong_places_and_options(tmp_path: Path) -> None:
    raw = write_csv(tmp_path / "raw.csv", raw_rows())
    dataset = tmp_path / "dataset"
    refused(ingest(tmp_path / "none.csv", dataset), "found none at")
    refused(ingest(tmp_path / "*.tsv", dataset), "found none at")
    refused(ingest("ftp://host/raw.csv", dataset), "local path or begin")
    with pytest.raises(InputError, match="local path or begin"):
        run(ingest(raw, Path("ftp://host/dataset")))
    refused(ingest(raw, dataset, rating_column="stars"), "one column `stars`")
    refused(ingest(raw, dataset, min_rating=6.0), "all 2,000 were dropped")
    refused(ingest(raw, dataset, min_item_count=10_000), "must pass the filters")
    (tmp_path / "plain.csv").write_text("user_id,item_id\na,b\n")
    refused(ingest(tmp_path / "plain.csv", dataset, min_rating=3.0), "a rating column")
    refused(ingest(raw, dataset, format="parquet"), "must be a Parquet file")
    for changes, match in (
        ({"format": "xml"}, "Unknown format `xml`"),
        ({"timestamp_unit": "us"}, "Unknown timestamp_unit `us`"),
        ({"repeats": "first"}, "Unknown repeats `first`"),
        ({"num_shards": 0}, "`num_shards` must be at least 1"),
        ({"max_bad_fraction": 1.5}, r"must lie in \[0, 1\]"),
        ({"min_rating": float("nan")}, "must be finite"),
    ):
        with pytest.raises(InputError, match=match):
            ingest(raw, dataset, **changes)


def test_files_that_differ_in_their_columns(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "1.csv").write_text("user_id,item_id,rating\na,b,3\n")
    (folder / "2.csv").write_text("item_id,user_id\nb,c\n")
    refused(ingest(folder, tmp_path / "dataset"), "must have the same columns")


def test_damaged_files(tmp_path: Path) -> None:
    text = HEADER + b"".join(b"u%d,i%d,3,4\n" % (n * 7919, n) for n in range(30_000))
    whole = gzip.compress(text)
    (tmp_path / "raw.csv.gz").write_bytes(whole[: len(whole) // 2])
    refused(
        ingest(tmp_path / "raw.csv.gz", tmp_path / "dataset"), "readable to its end"
    )
    table = pa.table({"user_id": list(range(5_000)), "item_id": list(range(5_000))})
    pq.write_table(table, tmp_path / "raw.parquet", compression="zstd")
    content = bytearray((tmp_path / "raw.parquet").read_bytes())
    content[4:4_000] = bytes(3_996)
    (tmp_path / "raw.parquet").write_bytes(bytes(content))
    options = ingest(tmp_path / "raw.parquet", tmp_path / "dataset", format="parquet")
    refused(options, "readable to its end")


def test_parquet_without_rows_and_with_wrong_types(tmp_path: Path) -> None:
    raw, dataset = tmp_path / "raw.parquet", tmp_path / "dataset"
    empty = pa.table({"user_id": pa.array([], "i8"), "item_id": pa.array([], "i8")})
    pq.write_table(empty, raw)
    refused(ingest(raw, dataset, format="parquet"), "at least one row")
    pq.write_table(pa.table({"user_id": [1.5], "item_id": [1]}), raw)
    refused(ingest(raw, dataset, format="parquet"), "must hold text or integers")
    for kind in (pa.time32("s"), pa.duration("s"), pa.decimal128(5)):
        times = pa.nulls(1, kind)
        table = pa.table({"user_id": [1], "item_id": [1], "timestamp": times})
        pq.write_table(table, raw)
        refused(ingest(raw, dataset, format="parquet"), "the timestamp column")
