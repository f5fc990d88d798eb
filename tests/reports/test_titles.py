"""Titles of items, from CSV and Parquet."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfcausal.errors import InputError
from tfcausal.reports.titles import TitleFile


def test_reads_csv_as_text(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text(
        "movieId,year,name\n"
        '007,1962,"Dr. ""No"", a\nfilm"\n'
        "7,1995,Se7en\n"
        "8,,\n"
        "8,,later\n"
        "8,,too late\n"
        "9,2000,unasked\n",
        encoding="utf-8",
    )
    found = TitleFile(path, "movieId", "name").read(["007", "7", "8", "10"])
    assert found == {"007": 'Dr. "No", a\nfilm', "7": "Se7en", "8": "later"}


@pytest.mark.parametrize("kind", [pa.int64(), pa.string(), pa.large_string()])
def test_reads_parquet(tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "items.parquet"
    ids = pa.array(["3", "4", None]).cast(kind)
    titles = pa.array(["three", None, "none"]).dictionary_encode()
    more = [[1], [2], [3]]
    pq.write_table(pa.table({"item_id": ids, "title": titles, "more": more}), path)
    assert TitleFile(path, "item_id", "title").read(["3", "4"]) == {"3": "three"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item_id,name\n1,a\n", "must have one column `title`; got item_id, name"),
        ("item_id,title,title\n1,a,b\n", "must have one column `title`"),
        ("item_id,title\n2,a\n", "none of its ids is one of theirs"),
        ("item_id,title\n", "none of its ids is one of theirs"),
        ("", "must be a CSV or Parquet file"),
        ("item_id,title\n1,a,b\n", "must be a CSV or Parquet file"),
        ("item_id,title\n1,\udcff\n", "must be a CSV or Parquet file"),
    ],
)
def test_refuses(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "items.csv"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(InputError, match=message):
        TitleFile(path, "item_id", "title").read(["1"])


def test_refuses_what_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a file; got"):
        TitleFile(tmp_path, "item_id", "title").read(["1"])
    path = tmp_path / "items.parquet"
    path.write_text("item_id,title\n1,a\n")
    with pytest.raises(InputError, match="must be a CSV or Parquet file"):
        TitleFile(path, "item_id", "title").read(["1"])
    pq.write_table(pa.table({"item_id": ["1"], "title": [["a"]]}), path)
    with pytest.raises(InputError, match=r"Column `title` .* must be text; got list"):
        TitleFile(path, "item_id", "title").read(["1"])
