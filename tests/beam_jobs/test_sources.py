"""The published forms of data sets, and blocks that do not show."""

import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from beam_jobs.sources import text
from beam_jobs.sources.asked import AskedColumns
from beam_jobs.sources.forms import open_input, read_unit
from tfcausal.errors import InputError
from tfcausal.stats.cleaning import clean


def rows_of(path: Path, form: str, **asked: str) -> list[tuple[object, ...]]:
    """Returns (user, item, rating, timestamp) in the order of positions."""
    found: list[tuple[object, ...]] = []
    places: list[int] = []
    for unit in open_input(str(path), form, AskedColumns(**asked)).units:
        for block in read_unit(unit):
            places += block.raw.positions.tolist()
            table = clean(block.raw, unit.file.name).rows
            found += zip(*table.to_pydict().values(), strict=True)
    assert places == sorted(set(places))
    return found


RATED = [("196", "242", 3.0, 881250949), ("186", "302", 4.5, 891717742)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("u.data", "196\t242\t3\t881250949\n186\t302\t4.5\t891717742\n"),
        ("ratings.dat", "196::242::3::881250949\n186::302::4.5::891717742\n"),
        (
            "ratings.csv",
            "userId,movieId,rating,timestamp\n"
            "196,242,3.0,881250949\n186,302,4.5,891717742\n",
        ),
    ],
)
def test_movielens(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert rows_of(tmp_path / name, "movielens") == RATED
    assert rows_of(tmp_path, "movielens") == RATED


def test_movielens_under_another_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_text("userId,movieId\n")
    with pytest.raises(InputError, match="must be named one of"):
        open_input(str(tmp_path / "my.csv"), "movielens", AskedColumns())
    with pytest.raises(InputError, match="must hold one of"):
        open_input(str(tmp_path), "movielens", AskedColumns())
    with pytest.raises(InputError, match="must not be named"):
        open_input(str(tmp_path), "movielens", AskedColumns(user="who"))


def test_lines(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes(b"0 10 11  12 \n1\n\n2\t10\r\n 3 9\n")
    found = rows_of(path, "lines")
    assert found == [("0", "10"), ("0", "11"), ("0", "12"), ("2", "10"), ("3", "9")]
    (unit,) = open_input(str(path), "lines", AskedColumns()).units
    assert [block.blank for block in read_unit(unit)] == [1]


def test_lines_with_bad_bytes(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes(b"0 10 a\xff\n1 b\x01c 3\n2 4\n")
    (unit,) = open_input(str(path), "lines", AskedColumns()).units
    (block,) = read_unit(unit)
    cleaned = clean(block.raw, "train.txt")
    assert cleaned.rows["item_id"].to_pylist() == ["10", "3", "4"]
    assert cleaned.rejected["row"].to_pylist() == [1, 2]
    assert cleaned.rejected["reason"].to_pylist() == ["not_utf8", "control_character"]


def test_csv_with_quotes_tabs_gzip_and_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(
        b'\xef\xbb\xbfuser_id,title,item_id\r\n"a, b","x\r\ny","c ""d"""\r\n'
    )
    assert rows_of(tmp_path / "a.csv", "csv") == [("a, b", 'c "d"')]
    content = gzip.compress(b"user_id\titem_id\nu\ti\n")
    (tmp_path / "b.tsv.gz").write_bytes(content)
    assert rows_of(tmp_path / "b.tsv.gz", "csv") == [("u", "i")]
    (tmp_path / "c.csv").write_text("user_id,item_id\nNA,null\n007,1e3\n")
    assert rows_of(tmp_path / "c.csv", "csv") == [("NA", "null"), ("007", "1e3")]


def test_blocks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"u{row % 13},{'x' * (row % 7)}{row},{row % 5}" for row in range(500)]
    for row in (3, 77, 78, 400, 499):
        lines[row] = "short"
    path = tmp_path / "raw.csv"
    path.write_text("user_id,item_id,rating\n" + "\n".join(lines))

    def read() -> tuple[list[int], list[int], list[int]]:
        (unit,) = open_input(str(path), "csv", AskedColumns()).units
        blocks = list(read_unit(unit))
        return (
            [row for block in blocks for row in block.raw.rows],
            [place for block in blocks for place in block.raw.positions],
            [row for block in blocks for row in block.rejected["row"].to_pylist()],
        )

    whole = read()
    monkeypatch.setattr(text, "BLOCK_BYTES", 256)
    assert read() == whole
    assert whole[2] == [5, 79, 80, 402, 501]
    assert sorted(whole[0] + whole[2]) == list(range(2, 502))


def test_a_row_longer_than_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", 64)
    path = tmp_path / "raw.csv"
    path.write_text("user_id,item_id\na,b\n" + "a," + "b" * 1_000 + "\nc,d\n")
    (unit,) = open_input(str(path), "csv", AskedColumns()).units
    with pytest.raises(InputError, match="in rows below 64 bytes"):
        list(read_unit(unit))


def test_wrong_rows_behind_the_last_good_one_are_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", 64)
    for good in (0, 3):
        path = tmp_path / f"{good}.csv"
        path.write_text("user_id,item_id\n" + "a,b\n" * good + "short\n" * 40)
        (unit,) = open_input(str(path), "csv", AskedColumns()).units
        blocks = list(read_unit(unit))
        rejected = pa.concat_tables([block.rejected for block in blocks])
        assert rejected["row"].to_pylist() == list(range(2 + good, 42 + good))
        assert sum(len(block.raw.rows) for block in blocks) == good
