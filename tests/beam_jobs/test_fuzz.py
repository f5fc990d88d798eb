"""Damaged files of every form: refused, or their rows rejected, but never read wrongly.

What a reader accepts is held against a slow reader of the same damaged bytes.
"""

import gzip
import io
import json
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.ingest import IngestOptions, run
from beam_jobs.sources import text, tfrecord
from beam_jobs.sources.asked import AskedColumns
from beam_jobs.sources.feature_file import feature_file, read_features
from beam_jobs.sources.forms import open_input, read_unit
from tests.beam_jobs import slow_readers
from tests.beam_jobs.raw import read_interactions, with_ids
from tests.beam_jobs.slow_readers import Reader, Row, UnreadableError
from tests.beam_jobs.test_tfrecord import example, framed
from tfcausal.errors import InputError
from tfcausal.stats.cleaning import clean

COLUMNS = ("user_id", "item_id", "rating", "timestamp")
ROWS = 12
Generator = np.random.Generator


@dataclass(frozen=True)
class Form:
    """A form of input.

    Attributes:
        format: The --format.
        file_name: A file of it.
        content: Makes a small good file.
        slow_reader: What reads it slowly.
        damage_inside: Damages what is inside an envelope and leaves that whole.
    """

    format: str
    file_name: str
    content: Callable[[], bytes]
    slow_reader: Reader
    damage_inside: Callable[[Generator, bytes], bytes] | None = None

    def __str__(self) -> str:
        """Returns a name for the test."""
        return f"{self.format}-{self.file_name}"

    @property
    def quoted(self) -> bool:
        """Whether an open quote may take lines in."""
        return self.format == "csv"


def lines(template: str, end: str = "\n") -> bytes:
    return "".join(
        template.format(
            user=number * 7 % 5 + 1,
            item=number * 31 % 11 + 100,
            rating=number % 5 + 1,
            time=881_250_949 + number * 7_919,
            day=number + 1,
        )
        + end
        for number in range(ROWS)
    ).encode()


def csv_file() -> bytes:
    return b"user_id,item_id,rating,timestamp\n" + lines(
        '"u{user}","film, {item}",{rating}.5,{time}'
    )


def plain_csv() -> bytes:
    return b"item_id,title,user_id,rating\r\n" + lines(
        "{item},été,{user},{rating}", "\r\n"
    )


def json_file() -> bytes:
    return lines(
        '{{"user_id": "u{user}", "item_id": {item}, "rating": {rating}.0, '
        '"timestamp": {time}, "more": {{"a": [1, null]}}}}'
    )


def netflix_file() -> bytes:
    return b"".join(
        b"%d:\n" % item
        + lines("{user},{rating},2005-09-{day:02}")[: 60 + 20 * item].rpartition(b"\n")[
            0
        ]
        + b"\n"
        for item in range(1, 5)
    )


def tfrecord_file() -> bytes:
    return framed(
        [
            example(
                user_id=f"u{number % 5}",
                item_id=number,
                rating=number % 4 + 0.5,
                timestamp=881_250_949 + number,
            )
            for number in range(ROWS)
        ]
    )


def damage_records(generator: Generator, content: bytes) -> bytes:
    """Damages Examples, whose frames then hold the checksums of what they became."""
    records = [content[begin:end] for begin, end in record_places(content)]
    for _ in range(generator.integers(1, 4)):
        place = int(generator.integers(len(records)))
        records[place] = mutate(generator, records[place])
    return framed(records)


def record_places(content: bytes) -> Iterator[tuple[int, int]]:
    begin = 12
    while begin < len(content):
        end = begin + int.from_bytes(content[begin - 12 : begin - 4], "little")
        yield begin, end
        begin = end + 16


def parquet_file() -> bytes:
    table = pa.table(
        {
            "user_id": [f"u{number % 5}" for number in range(ROWS)],
            "item_id": list(range(ROWS)),
            "rating": [number % 4 + 0.5 for number in range(ROWS)],
            "timestamp": pa.array(range(ROWS), pa.timestamp("s")),
        }
    )
    stream = io.BytesIO()
    pq.write_table(table, stream, row_group_size=5, write_page_checksum=True)
    return stream.getvalue()


def damage_gzip(generator: Generator, content: bytes) -> bytes:
    """Damages what is compressed."""
    return gzip.compress(mutate(generator, gzip.decompress(content)), mtime=0)


def matrix_file() -> bytes:
    return b"".join(
        b"%s \n" % b"  ".join(b"%d" % (user * item % 6) for item in range(8))
        for user in range(9)
    )


FORMS = [
    Form("csv", "raw.csv", csv_file, slow_readers.read_csv),
    Form("csv", "raw.csv", plain_csv, slow_readers.read_csv),
    Form(
        "csv",
        "raw.csv.gz",
        lambda: gzip.compress(csv_file(), mtime=0),
        slow_readers.gunzipped(slow_readers.read_csv),
        damage_gzip,
    ),
    Form(
        "lines",
        "train.txt",
        lambda: lines("{user} {item} {day}  {rating}"),
        slow_readers.read_lines,
    ),
    Form("json", "raw.json", json_file, slow_readers.read_json),
    Form(
        "movielens",
        "u.data",
        lambda: lines("{user}\t{item}\t{rating}\t{time}"),
        slow_readers.delimited(
            b"\t",
            slow_readers.id_of,
            slow_readers.id_of,
            slow_readers.rating_of,
            slow_readers.time_of,
        ),
    ),
    Form(
        "movielens",
        "ratings.dat",
        lambda: lines("{user}::{item}::{rating}::{time}"),
        slow_readers.delimited(
            b"::",
            slow_readers.id_of,
            slow_readers.id_of,
            slow_readers.rating_of,
            slow_readers.time_of,
        ),
    ),
    Form(
        "checkins",
        "checkins.txt",
        lambda: lines("{user}\t2010-10-{day:02}T23:55:27Z\t30.2\t-97.7\t{item}"),
        slow_readers.checkins,
    ),
    Form("netflix", "combined_data_1.txt", netflix_file, slow_readers.read_netflix),
    Form("coat", "train.ascii", matrix_file, slow_readers.read_matrix),
    Form(
        "tfrecord",
        "part-0.tfrecord",
        tfrecord_file,
        slow_readers.read_tfrecord,
        damage_records,
    ),
    Form("parquet", "raw.parquet", parquet_file, slow_readers.read_parquet),
]

ODD = [
    *(bytes([letter]) for letter in b"\"',:;\t \r\n\0\x01\x0b\x1c\x7f\x80\xff"),
    *(bytes([letter]) for letter in b"{}[]\\.-+0"),
    *(b'""', b"\r\n", b"\n\n", b"\n\r", b"::", b",,", b'",', b',"', b'"\n', b"\\u0000"),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xc3", b"\xe9", "é\u2028\u0085\u00a0".encode()),
    *(b"nan", b"inf", b"-inf", b"1e400", b"1e-400", b"1e5", b"0x1F", b"1_000", b"-1"),
    *(b"9" * 17, b"9" * 19, b"9" * 400, b"1.", b".5", b"+3", "٣".encode(), b"1e"),
    *(b"null", b"true", b"NaN", b'{"user_id": 1}', b"\xed\xa0\x80", b'"\\ud800"'),
    *(b"x" * 1_000, b" " * 300, b"2005-02-30", b"1969-12-31", b"2005-01-01T24:00"),
]


def mutate(generator: Generator, content: bytes) -> bytes:
    """Damages bytes in one to three ways, and now and then altogether."""
    for _ in range(generator.integers(1, 4)):
        content = mutate_once(generator, content)
    whole = generator.integers(60)
    if whole == 0:
        return generator.bytes(len(content))
    if whole == 1:
        return content.decode("latin-1").encode("utf-16")
    return b"\xef\xbb\xbf" + content if whole == 2 else content


def mutate_once(generator: Generator, content: bytes) -> bytes:
    begin, end = sorted(generator.integers(0, len(content) + 1, 2).tolist())
    short = min(end, begin + int(generator.integers(1, 6)))
    odd = ODD[generator.integers(len(ODD))]
    line_end = (b"\r", b"\r\n", b"", b"\n\n")[generator.integers(4)]
    before, behind = content[:begin], content[begin:]
    ways = (
        before,
        behind,
        flip_bits(generator, content),
        before + odd + behind,
        before + odd + content[short:],
        before + content[short:],
        before + generator.bytes(short - begin) + content[short:],
        before + content[begin:end] * 2 + content[end:],
        content[begin:end] + before + content[end:],
        content.replace(b"\n", line_end),
        content.replace(behind[:1] or b"\n", odd),
    )
    return ways[generator.integers(len(ways))][: 1 << 14]


def flip_bits(generator: Generator, content: bytes) -> bytes:
    """Flips one to three bits."""
    flipped = bytearray(content or b"\0")
    for place in generator.integers(0, len(flipped), generator.integers(1, 4)):
        flipped[place] ^= 1 << int(generator.integers(8))
    return bytes(flipped)


def damaged(generator: Generator, form: Form) -> bytes:
    """Returns a damaged file; every other time only inside, where it has an inside."""
    damage = mutate
    if form.damage_inside is not None and generator.random() < 0.5:
        damage = form.damage_inside
    return damage(generator, form.content())


def read(path: Path, form: str) -> tuple[list[Row], list[int]]:
    """Returns accepted rows in the order of the file, and numbers of the others."""
    good: list[Row] = []
    bad: list[int] = []
    for unit in open_input(str(path), form, AskedColumns()).units:
        for block in read_unit(unit):
            cleaned = clean(block.raw, unit.file.name)
            values = cleaned.rows.select(
                [name for name in cleaned.rows.column_names if name in COLUMNS]
            )
            rejected = cleaned.rejected["row"].to_pylist()
            kept = Counter(block.raw.rows.tolist()) - Counter(rejected)
            numbers = sorted(kept.elements())
            good += zip(numbers, *values.to_pydict().values(), strict=True)
            bad += rejected + block.rejected["row"].to_pylist()
    return good, sorted(bad)


def check(form: Form, path: Path, content: bytes) -> bool:
    """Reads damaged bytes both ways; returns whether they were read at all."""
    path.write_bytes(content)
    both = outcome(path, form.format)
    if both is None:
        return False
    found, bad = both
    try:
        slowly = list(form.slow_reader(content))
    except UnreadableError:
        assert found == [], content
        return True
    wrong = Counter(found) - Counter(slowly)
    assert not wrong, (wrong, content)
    # No row is lost without a word.
    assert len(found) + len(bad) >= len(slowly), content
    if not form.quoted:
        lost = {number for number, *_ in slowly} - {number for number, *_ in found}
        assert lost <= set(bad), (lost, content)
    return True


def fuzz(form: Form, folder: Path, seed: int, rounds: int) -> None:
    """Damages a file often; its own seed for each form."""
    good = form.content()
    generator = np.random.default_rng([seed, zlib.crc32(good)])
    path = folder / form.file_name
    path.write_bytes(good)
    found, bad = read(path, form.format)
    assert Counter(found) == Counter(form.slow_reader(good))
    assert bad == []
    num_read = 0
    for _ in range(rounds):
        num_read += check(form, path, damaged(generator, form))
    # A reader that refused everything would pass, too.
    assert num_read > rounds / 100


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize(
    ("seed", "rounds"), [(1, 120), pytest.param(2, 2_000, marks=pytest.mark.slow)]
)
def test_damaged_files(tmp_path: Path, form: Form, seed: int, rounds: int) -> None:
    fuzz(form, tmp_path, seed, rounds)


@pytest.mark.parametrize("form", FORMS[:-1], ids=str)
def test_damaged_files_in_small_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    path = tmp_path / form.file_name
    generator = np.random.default_rng(zlib.crc32(form.content()))
    num_read = 0
    for _ in range(50):
        content = damaged(generator, form)
        path.write_bytes(content)
        whole = outcome(path, form.format)
        size = int(generator.integers(200, 400))
        monkeypatch.setattr(text, "BLOCK_BYTES", size)
        monkeypatch.setattr(tfrecord, "BLOCK_BYTES", size)
        in_blocks = outcome(path, form.format)
        monkeypatch.undo()
        # Blocks may be too small for a row; otherwise they do not show.
        if in_blocks is not None:
            assert in_blocks == whole, content
            num_read += 1
    assert num_read > 5


def outcome(path: Path, form: str) -> tuple[list[Row], list[int]] | None:
    """Returns what is read; None where the file is refused."""
    try:
        return read(path, form)
    except InputError:
        return None


def test_parquet_without_checksums_ends_in_rows_or_a_refusal(tmp_path: Path) -> None:
    # What a page holds is then taken for what was written, but nothing breaks.
    generator = np.random.default_rng(5)
    table = pq.read_table(pa.BufferReader(parquet_file()))
    path = tmp_path / "raw.parquet"
    for compression in ("none", "snappy", "zstd"):
        pq.write_table(table, path, compression=compression, row_group_size=5)
        good = path.read_bytes()
        found = []
        for _ in range(200):
            path.write_bytes(flip_bits(generator, good))
            found.append(outcome(path, "parquet"))
        assert found.count(None) < len(found)


FEATURES = {
    "raw.csv": lambda: (
        b"item_id,title,year,genres\n" + lines('{item},"film, {user}",{day},a|b')
    ),
    "raw.json": lambda: json.dumps({str(n): [n, n + 1] for n in range(9)}).encode(),
    "raw.ascii": lambda: matrix_file().translate(bytes.maketrans(b"2345", b"0101")),
    "raw.parquet": parquet_file,
}


@pytest.mark.parametrize("name", FEATURES)
def test_damaged_features(tmp_path: Path, name: str) -> None:
    generator = np.random.default_rng(6)
    good = FEATURES[name]()
    path = tmp_path / name
    num_read = 0
    for _ in range(200):
        content = mutate(generator, good)
        path.write_bytes(content)
        try:
            file = feature_file(str(path), "item_id", "item_id", ("genres",), "|")
            ids, table = read_features(file)
        except InputError:
            continue
        num_read += 1
        table.validate(full=True)
        assert len(ids) == len(table) or not table.num_columns
        if name == "raw.csv":
            header, *rows = slow_readers.csv_records(content)
            place = header.index(b"item_id")
            assert ids.to_pylist() == [row[place].decode() for row in rows]
    assert num_read


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_ingest_of_damaged_files(tmp_path: Path, form: Form) -> None:
    """Whole runs: refused without a trace, or rows that the slow reader has too."""
    generator = np.random.default_rng(8)
    path = tmp_path / form.file_name
    dataset = tmp_path / "dataset"
    for _ in range(8):
        content = damaged(generator, form)
        path.write_bytes(content)
        options = IngestOptions(
            str(path), form.format, dataset, repeats="keep", max_bad_fraction=0.9
        )
        try:
            counts = run(options, PipelineOptions(["--runner=local"])).counts
        except InputError:
            assert list(tmp_path.iterdir()) == [path]
            continue
        slowly = Counter(row[1:3] for row in form.slow_reader(content))
        found = read_interactions(dataset / "interactions")
        assert not Counter(with_ids(dataset, found)) - slowly
        rejected = pa.concat_tables(
            pq.read_table(shard) for shard in (dataset / "rejected").iterdir()
        )
        assert len(rejected) == counts["rows_rejected"]
        assert len(found) + len(rejected) == counts["rows_read"]
        shutil.rmtree(dataset)
