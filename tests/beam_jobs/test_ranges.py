"""Large files in ranges of bytes: the same rows, numbers and bytes as in one piece."""

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.ingest import IngestOptions, run
from beam_jobs.sources import ranges
from beam_jobs.sources.asked import AskedColumns
from beam_jobs.sources.forms import open_input, read_unit
from beam_jobs.sources.ranges import RangeRows, count_rows, placed
from tfcausal.errors import InputError
from tfcausal.schema.manifest import checksums
from tfcausal.stats.cleaning import clean


def csv(bad: str = "short") -> bytes:
    rows = [f"u{row % 17},{'x' * (row % 9)}{row},{row % 5}" for row in range(300)]
    for row in (0, 3, 77, 78, 299):
        rows[row] = bad
    # Blank lines are not counted, whatever their ends.
    rows[20] += "\n"
    rows[100] += "\r\n\r\n"
    rows[180] += "\r"
    return ("user_id,item_id,rating\n" + "\n".join(rows)).encode()


def lines() -> bytes:
    return "".join(
        f"{user} {' '.join(str(user * item) for item in range(user % 7))}\n"
        for user in range(90)
    ).encode()


def json_lines() -> bytes:
    rows = [{"user_id": f"u{row % 7}", "item_id": row} for row in range(90)]
    return b"\n".join(
        b"{" if row == 50 else json.dumps(entry).encode()
        for row, entry in enumerate(rows)
    )


def netflix() -> bytes:
    text = ""
    for item in range(40):
        text += f"{item}:\n"
        text += "".join(f"{user},3,2005-01-02\n" for user in range(item % 5 * 3))
    return (text + "1,2\n").encode()


FORMS = [
    ("raw.csv", "csv", csv),
    ("raw.tsv", "csv", lambda: csv().replace(b",", b"\t")),
    ("raw.txt", "lines", lines),
    ("raw.json", "json", json_lines),
    ("combined_data_1.txt", "netflix", netflix),
]

Row = tuple[object, ...]


def read(path: Path, form: str) -> tuple[int, list[Row], list[Row]]:
    """Returns the number of pieces, good rows and rejected ones, in order."""
    units = open_input(str(path), form, AskedColumns()).units
    found = [count_rows(unit) for unit in units if unit.end is not None]
    good: list[Row] = []
    bad: list[Row] = []
    places: list[int] = []
    for unit in units:
        here = placed(unit, found)
        for block in [] if here is None else read_unit(here):
            cleaned = clean(block.raw, unit.file.name)
            table = cleaned.rows.to_pydict()
            places += block.raw.positions.tolist()
            if len(cleaned.rejected) == 0:
                good += zip(block.raw.rows.tolist(), *table.values(), strict=True)
            for rejected in (block.rejected, cleaned.rejected):
                bad += [(row["row"], row["text"]) for row in rejected.to_pylist()]
    assert places == sorted(set(places))
    return len(units), good, sorted(bad)


@pytest.mark.parametrize(("name", "form", "content"), FORMS)
@pytest.mark.parametrize("size", [60, 200, 1_000])
def test_ranges_do_not_show(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    form: str,
    content: Callable[[], bytes],
    size: int,
) -> None:
    path = tmp_path / name
    path.write_bytes(content())
    pieces, *whole = read(path, form)
    assert pieces == 1
    assert whole[0]
    monkeypatch.setattr(ranges, "RANGE_BYTES", size)
    monkeypatch.setattr(ranges, "_LOOK_BYTES", 7)
    monkeypatch.setattr(ranges, "_LONGEST_BOUNDARY", 20)
    pieces, *cut = read(path, form)
    assert pieces > 1
    assert cut == whole
    # Blocks within a range do not show either.
    monkeypatch.setattr("beam_jobs.sources.text.BLOCK_BYTES", 100)
    assert read(path, form)[1:] == tuple(whole)


def test_a_file_with_a_quote_is_read_in_one_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "raw.csv"
    path.write_bytes(csv() + b'\n"u1\nwith a line end",x,3\nu2,y,5\nshort\n')
    _, *whole = read(path, "csv")
    monkeypatch.setattr(ranges, "RANGE_BYTES", 100)
    pieces, *cut = read(path, "csv")
    assert pieces > 1
    assert cut == whole


def test_a_range_of_nothing_but_blank_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "raw.csv"
    path.write_bytes(b"user_id,item_id\na,b\n" + b"\n" * 90 + b"c\n" + b"\r\n" * 50)
    _, *whole = read(path, "csv")
    monkeypatch.setattr(ranges, "RANGE_BYTES", 30)
    pieces, *cut = read(path, "csv")
    assert pieces > 3
    assert cut == whole == [[(2, "a", "b")], [(3, "c")]]


def test_what_is_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "RANGE_BYTES", 100)
    (tmp_path / "raw.csv.gz").write_bytes(gzip.compress(csv()))
    assert read(tmp_path / "raw.csv.gz", "csv")[0] == 1
    (tmp_path / "long.csv").write_bytes(b"user_id,item_id\na," + b"b" * 500)
    assert read(tmp_path / "long.csv", "csv")[0] == 1


def test_pieces_and_their_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "RANGE_BYTES", 10)
    path = tmp_path / "raw.csv"
    path.write_bytes(b"user_id,item_id\naaa,bbb\nc,d\n\ne,f\ngg,h\n")
    units = open_input(str(path), "csv", AskedColumns()).units
    content = path.read_bytes()
    assert [content[unit.begin : unit.end] for unit in units] == [
        b"user_id,item_id\n",
        b"aaa,bbb\nc,d\n",
        b"\ne,f\ngg,h\n",
    ]
    found = [count_rows(unit) for unit in units]
    assert [entry.rows for entry in found] == [1, 2, 2]
    there = [placed(unit, found[::-1]) for unit in units]
    assert [unit and unit.first_row for unit in there] == [0, 1, 3]
    quoted = [*found[:2], RangeRows(0, found[2].begin, 2, True)]
    assert [placed(unit, quoted) for unit in units] == [
        replace(units[0], end=None),
        None,
        None,
    ]


@pytest.mark.parametrize("quote", [b"", b'\n"u1\n2",x,3'])
def test_the_same_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quote: bytes
) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/1.csv").write_bytes(csv() + quote)
    (tmp_path / "raw/2.csv").write_bytes(csv(bad=",x,1"))

    def ingest(name: str, flags: list[str]) -> dict[str, str]:
        options = IngestOptions(
            str(tmp_path / "raw"), "csv", tmp_path / name, max_bad_fraction=0.1
        )
        run(options, PipelineOptions(flags))
        return checksums(tmp_path / name)

    whole = ingest("whole", [])
    monkeypatch.setattr(ranges, "RANGE_BYTES", 300)
    assert ingest("beam", []) == whole
    assert ingest("local", ["--runner=local"]) == whole


def test_a_damaged_range_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "RANGE_BYTES", 300)
    monkeypatch.setattr("beam_jobs.sources.text.BLOCK_BYTES", 64)
    (tmp_path / "raw.csv").write_bytes(csv() + b"\na," + b"b" * 1_000 + b",1\n")
    options = IngestOptions(str(tmp_path / "raw.csv"), "csv", tmp_path / "dataset")
    with pytest.raises(InputError, match="in rows below 64 bytes"):
        run(options)


def test_a_byte_order_mark_amid_a_file_is_no_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes(b"\xef\xbb\xbf1 2\n" * 20)
    monkeypatch.setattr(ranges, "RANGE_BYTES", 16)
    num_pieces, rows, _ = read(path, "lines")
    assert num_pieces > 5
    assert [user for _, user, _ in rows] == ["1"] + ["\ufeff1"] * 19
