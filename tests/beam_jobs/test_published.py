"""Every published form, on a small file of that form with a bad row in it."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.ingest import IngestOptions, run
from beam_jobs.sources.asked import AskedColumns
from beam_jobs.sources.forms import open_input, read_unit
from tests.beam_jobs.raw import read_interactions, with_ids
from tfcausal.errors import InputError
from tfcausal.schema.manifest import checksums
from tfcausal.stats.cleaning import clean

Bad = list[tuple[str, int, str]]


def read(
    path: Path, form: str, asked: AskedColumns | None = None
) -> tuple[list[tuple[Any, ...]], Bad]:
    """Returns good rows in the order of positions, and (file, row, reason) of others.

    A good row is (user, item, everything else).
    """
    found, bad = [], []
    places: list[int] = []
    for unit in open_input(str(path), form, asked or AskedColumns()).units:
        for block in read_unit(unit):
            cleaned = clean(block.raw, unit.file.name)
            places += block.raw.positions.tolist()
            found += zip(*cleaned.rows.to_pydict().values(), strict=True)
            for rejected in (block.rejected, cleaned.rejected):
                bad += [
                    (row["source"], row["row"], row["reason"])
                    for row in rejected.to_pylist()
                ]
    assert places == sorted(set(places))
    return found, sorted(bad)


def test_movielens_with_half_stars(tmp_path: Path) -> None:
    # 10M's ratings.dat and the ratings.csv of 20M, 25M and 32M.
    (tmp_path / "ratings.dat").write_text(
        "1::122::4.5::838985046\n1::5::838983525\n1:7:5::4::838983525\n"
    )
    assert read(tmp_path / "ratings.dat", "movielens") == (
        [("1", "122", 4.5, 838985046)],
        [
            ("ratings.dat", 2, "wrong_field_count"),
            ("ratings.dat", 3, "wrong_field_count"),
        ],
    )
    (tmp_path / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\r\n1,296,0.5,1147880044\r\n1,306,x,1\r\n"
    )
    assert read(tmp_path / "ratings.csv", "movielens") == (
        [("1", "296", 0.5, 1147880044)],
        [("ratings.csv", 3, "bad_rating")],
    )


def test_netflix_training_set(tmp_path: Path) -> None:
    (tmp_path / "mv_0000001.txt").write_text(
        "1:\n1488844,3,2005-09-06\n822109,5,2005-02-30\n885013,4,2005-10-19\n"
    )
    (tmp_path / "mv_0000002.txt").write_text("2:\n1488844,1,1999-12-31\n")
    (tmp_path / "qualifying.txt").write_text("1:\n1046323,2005-12-19\n")
    assert read(tmp_path, "netflix") == (
        [
            ("1488844", "1", 3.0, 1125964800),
            ("885013", "1", 4.0, 1129680000),
            ("1488844", "2", 1.0, 946598400),
        ],
        [("mv_0000001.txt", 3, "bad_timestamp")],
    )


def test_netflix_combined_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "combined_data_1.txt").write_text(
        "9,3,2005-09-06\n1:\n8,5,2005-05-13\n7,4\n\n2:\n3:\n8,2,2005-05-13\n"
    )
    expected = (
        [("8", "1", 5.0, 1115942400), ("8", "3", 2.0, 1115942400)],
        [
            ("combined_data_1.txt", 1, "empty_item"),
            ("combined_data_1.txt", 4, "wrong_field_count"),
        ],
    )
    assert read(tmp_path, "netflix") == expected
    # An item may go on in the next block.
    monkeypatch.setattr("beam_jobs.sources.text.BLOCK_BYTES", 20)
    assert read(tmp_path, "netflix") == expected


@pytest.mark.parametrize("damaged", ["2;", "2", "\x01:x", "8,1,2005-09-062:", "2:,,"])
def test_netflix_line_that_may_have_been_an_item(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "mv_1.txt").write_text(
        f"1:\n8,5,2005-05-13\n{damaged}\n7,4,2005-05-13\n3:\n6,3,2005-05-13\n"
    )
    # The ratings below it are nobody's; certainly not those of the item before.
    assert read(tmp_path, "netflix") == (
        [("8", "1", 5.0, 1115942400), ("6", "3", 3.0, 1115942400)],
        [("mv_1.txt", 3, "wrong_field_count"), ("mv_1.txt", 4, "empty_item")],
    )


REVIEWS = [
    {
        "reviewerID": "A2SUAM1J3GNN3B",
        "asin": "0000013714",
        "reviewerName": 'J. "\u00c9" {McDonald}',
        "helpful": [2, {"of": 3}],
        "reviewText": "I bought this\nfor my husband, \u0001",
        "overall": 5.0,
        "unixReviewTime": 1252800000,
    },
    {"overall": 4, "asin": "1", "reviewerID": "B", "unixReviewTime": 1},
]


def json_lines(rows: Sequence[Any]) -> str:
    return "".join(
        row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows
    )


@pytest.mark.parametrize("gz", [False, True])
def test_amazon_reviews(tmp_path: Path, gz: bool) -> None:
    broken = [
        '{"reviewerID": "C", "asin": \n',
        "null\n",
        "\n",
        '{"reviewerID": "C", "asin": "1"} {"reviewerID": "C", "asin": "2"}\n',
        json.dumps(REVIEWS[1] | {"overall": "five"}) + "\n",
    ]
    content = json_lines([REVIEWS[0], *broken, REVIEWS[1], {"asin": "2"}]).encode()
    name = "reviews_Books_5.json" + (".gz" if gz else "")
    (tmp_path / name).write_bytes(gzip.compress(content) if gz else content)
    assert read(tmp_path, "amazon") == (
        [
            ("A2SUAM1J3GNN3B", "0000013714", 5.0, 1252800000),
            ("B", "1", 4.0, 1),
        ],
        [
            *((name, row, "bad_json") for row in (2, 3, 4, 5)),
            (name, 7, "empty_user"),
        ],
    )


def test_amazon_ratings_of_2014_and_2023(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/ratings_Books.csv").write_text(
        "AH2L9G3DQHHAJ,0000000116,4.0,1019865600\nA2IIIDRK3PRRZY,0000000116,1.0\n"
    )
    assert read(tmp_path / "a", "amazon") == (
        [("AH2L9G3DQHHAJ", "0000000116", 4.0, 1019865600)],
        [("ratings_Books.csv", 2, "wrong_field_count")],
    )
    (tmp_path / "Books.csv").write_text(
        "user_id,parent_asin,rating,timestamp\nA,1,5.0,1617812345678\n,1,5,1\n"
    )
    assert read(tmp_path / "Books.csv", "amazon") == (
        [("A", "1", 5.0, 1617812345)],
        [("Books.csv", 3, "empty_user")],
    )
    review = {"user_id": "A", "asin": "9", "parent_asin": "1", "rating": 3.0}
    text = json_lines([review | {"timestamp": 1617812345678}, review])
    (tmp_path / "Books.jsonl").write_text(text)
    assert read(tmp_path / "Books.jsonl", "amazon") == (
        [("A", "1", 3.0, 1617812345)],
        [("Books.jsonl", 2, "bad_timestamp")],
    )
    # The ratings of 2018 have no header, and the item first.
    (tmp_path / "Video_Games.csv").write_text("0700026657,A1HP7NVNPFMA4N,5.0,1\n")
    with pytest.raises(InputError, match="without a header needs --column_names"):
        read(tmp_path / "Video_Games.csv", "amazon")
    asked = AskedColumns(
        user="user", item="item", names=("item", "user", "rating", "timestamp")
    )
    rows, _ = read(tmp_path / "Video_Games.csv", "csv", asked)
    assert rows == [("A1HP7NVNPFMA4N", "0700026657", 5.0, 1)]


def test_yelp_reviews(tmp_path: Path) -> None:
    review = {
        "review_id": "KU_O5",
        "user_id": "mh_-eMZ6K5RLWhZyISBhwA",
        "business_id": "XQfwVwDr-v0ZS3_CbbE5Xw",
        "stars": 3.0,
        "date": "2018-07-07 22:09:11",
    }
    (tmp_path / "yelp_academic_dataset_user.json").write_text('{"user_id": "x"}\n')
    (tmp_path / "yelp_academic_dataset_review.json").write_text(
        json_lines([review, review | {"date": "2018-07-07 22:61:11"}])
    )
    assert read(tmp_path, "yelp") == (
        [(review["user_id"], review["business_id"], 3.0, 1531001351)],
        [("yelp_academic_dataset_review.json", 2, "bad_timestamp")],
    )


def test_gowalla_checkins(tmp_path: Path) -> None:
    lines = (
        "0\t2010-10-19T23:55:27Z\t30.2359091167\t-97.7951395833\t22847\n"
        "0\t2010-10-18T22:17:43Z\t30.2691029532\t-97.7493953705\t\n"
    )
    path = tmp_path / "loc-gowalla_totalCheckins.txt.gz"
    path.write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "loc-gowalla_edges.txt.gz").write_bytes(gzip.compress(b"0\t1\n"))
    bad = [(path.name, 2, "empty_item")]
    assert read(tmp_path, "checkins") == ([("0", "22847", 1287532527)], bad)
    asked = AskedColumns(extras=("latitude",))
    (row,), _ = read(tmp_path, "checkins", asked)
    assert row[2:] == (1287532527, pytest.approx(30.2359091167))


def test_coat_matrices(tmp_path: Path) -> None:
    (tmp_path / "train.ascii").write_text("0 5 0 \n1 0 2\n0 .0 -0e3\n0 0 9x\n")
    (tmp_path / "test.ascii").write_text("0.0 0 3\n0 0 0\n0 4 0\n")
    (tmp_path / "propensities.ascii").write_text("0.1 0.2 0.3\n")
    rows, bad = read(tmp_path, "coat")
    # The user, the item, the rating, and whether the item was shown at random.
    assert rows == [
        ("0", "2", 3.0, 1),
        ("2", "1", 4.0, 1),
        ("0", "1", 5.0, 0),
        ("1", "0", 1.0, 0),
        ("1", "2", 2.0, 0),
    ]
    assert bad == [("train.ascii", 4, "bad_rating")]
    (tmp_path / "train.ascii").write_text("0 5\n1\n0 2\n")
    with pytest.raises(InputError, match="as many numbers in each line"):
        read(tmp_path, "coat")
    (tmp_path / "train.ascii").write_text("\n")
    assert read(tmp_path / "train.ascii", "coat") == ([], [])


def test_kuairec(tmp_path: Path) -> None:
    (tmp_path / "big_matrix.csv").write_text(
        "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio\n"
        "0,3649,13838,10867,2020-07-05 00:08:23.438,20200705,1593878903.438,1.27339\n"
        "0,9598,13665,10984,2020-07-05 00:13:41.297,20200705,,1.24408\n"
    )
    (tmp_path / "item_categories.csv").write_text("video_id,feat\n0,[8]\n")
    (row,), bad = read(tmp_path, "kuairec")
    assert row == ("0", "3649", pytest.approx(1.27339), 1593878903, 13838.0, 10867.0)
    assert bad == [("big_matrix.csv", 3, "bad_timestamp")]
    rows, bad = read(tmp_path, "kuairec", AskedColumns(timestamp="", extras=()))
    assert [len(row) for row in rows] == [3, 3]
    assert bad == []


KUAIRAND_HEADER = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,"
    "is_forward,is_hate,long_view,play_time_ms,duration_ms,profile_stay_time,"
    "comment_stay_time,is_profile_enter,is_rand,tab\n"
)


def test_kuairand(tmp_path: Path) -> None:
    (tmp_path / "log_standard_4_08_to_4_21_1k.csv").write_text(
        KUAIRAND_HEADER
        + "0,4,20220408,1500,1649402520500,1,0,1,0,0,0,1,9,19066,0,0,0,0,1\n"
        + "0,5,20220408,1500,1649402520500,1,,1,0,0,0,1,9,19066,0,0,0,0,1\n"
        + "0,6,20220408,1500,1649402520500,1,0,1,0,0,0,1,9,19066,0,0,0,0.5,1\n"
    )
    rows, bad = read(tmp_path, "kuairand")
    assert rows == [("0", "4", 1649402520, 1, 0, 1, 0, 0, 0, 1, 9, 19066, 0)]
    assert [entry[1:] for entry in bad] == [(3, "bad_label"), (4, "bad_extra")]
    asked = AskedColumns(labels=("is_click", "is_follow"), extras=("tab:int64",))
    rows, bad = read(tmp_path, "kuairand", asked)
    assert rows[0] == ("0", "4", 1649402520, 1.0, 1.0, 1)
    assert (len(rows), bad) == (3, [])


def test_wechat(tmp_path: Path) -> None:
    (tmp_path / "user_action.csv").write_text(
        "userid,feedid,date_,device,read_comment,comment,like,play,stay,click_avatar,"
        "forward,follow,favorite\n"
        "8,71474,1,1,0,0,1,500,5366,0,0,0,0\n"
        "8,73916,two,1,0,0,0,250,1533,0,0,0,0\n"
    )
    # Days count from the first of the log; a day has 86,400 seconds.
    assert read(tmp_path, "wechat") == (
        [("8", "71474", 86_400, 0, 0, 1, 0, 0, 0, 0, 500.0, 5366.0, 1)],
        [("user_action.csv", 3, "bad_timestamp")],
    )


def test_json_of_ones_own(tmp_path: Path) -> None:
    rows = [
        {"user_id": 7, "item_id": "x", "rating": 1, "timestamp": 2.5, "seen": True},
        {"user_id": 8, "item_id": "y", "rating": 2.5, "timestamp": 3},
        {"user_id": "9", "item_id": "y", "rating": 2.5, "timestamp": 3},
        {"user_id": 9, "item_id": "y", "rating": 2.5, "timestamp": -3, "seen": False},
    ]
    (tmp_path / "log.jsonl").write_text(json_lines(rows))
    asked = AskedColumns(extras=("seen?",))
    found, bad = read(tmp_path, "json", asked)
    assert found[0] == ("7", "x", 1.0, 2, 1.0)
    assert found[1][:4] == ("8", "y", 2.5, 3)
    assert found[1][4] != found[1][4]
    assert [entry[1:] for entry in bad] == [(3, "bad_json"), (4, "bad_timestamp")]
    (tmp_path / "log.jsonl").write_text("[1]\n")
    with pytest.raises(InputError, match="a JSON object on each line"):
        read(tmp_path, "json")
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(InputError, match="at least one row"):
        read(tmp_path, "json")


def test_bad_bytes_in_json(tmp_path: Path) -> None:
    line = b'{"user_id": "a", "item_id": "x"}\n'
    (tmp_path / "empty.json").write_bytes(b"\x01\n" * 3)
    with pytest.raises(InputError, match="a JSON object on each line"):
        read(tmp_path / "empty.json", "yelp")
    (tmp_path / "empty.json").unlink()
    bad = b'{"user_id": "a\xff", "item_id": "x"}\n{"user_id": "a\x01", "item_id": 1}\n'
    (tmp_path / "log.json").write_bytes(line + bad + line)
    rows, found = read(tmp_path, "json")
    assert len(rows) == 2
    assert found == [("log.json", 2, "bad_json"), ("log.json", 3, "bad_json")]
    # A surrogate is no UTF-8 either, though some take it for that.
    line = b'{"user_id": "a\xed\xa0\x80", "item_id": "x"}\n'
    (tmp_path / "log.json").write_bytes(line.replace(b"\xed\xa0\x80", b"") + line)
    assert read(tmp_path, "json") == ([("a", "x")], [("log.json", 2, "bad_json")])


@pytest.mark.parametrize("first", ["true", "false", "1.5", "null", "[1]"])
def test_ids_in_json_are_texts_or_integers(tmp_path: Path, first: str) -> None:
    line = f'{{"user_id": {first}, "item_id": "x"}}\n'
    (tmp_path / "log.json").write_text(line * 2)
    rows, bad = read(tmp_path, "json")
    assert rows == []
    assert [row for _, row, _ in bad] == [1, 2]


def test_times_in_json_are_exact(tmp_path: Path) -> None:
    times = [2**53 - 1, 2**53 + 1, 10**17 + 1]
    (tmp_path / "log.json").write_text(
        "".join(
            f'{{"user_id": "a", "item_id": "x", "timestamp": {time}}}\n'
            for time in times
        )
    )
    rows, bad = read(tmp_path, "json")
    assert rows == [("a", "x", 2**53 - 1)]
    assert [row for _, row, _ in bad] == [2, 3]


def test_csv_without_a_header_and_with_dates(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,a,2020-02-29\nx,b,2019-02-29\n")
    asked = AskedColumns(
        names=("item_id", "user_id", "timestamp"), timestamp_unit="iso"
    )
    assert read(tmp_path, "csv", asked) == (
        [("a", "x", 1582934400)],
        [("a.csv", 2, "bad_timestamp")],
    )
    with pytest.raises(InputError, match="must go with --format=csv"):
        read(tmp_path, "json", asked)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"labels": ("nothing",)}, "must have one column `nothing`"),
        ({"labels": ("like", "like")}, "`like` comes twice"),
        ({"labels": ("like",), "extras": ("like",)}, "`like` comes twice"),
        ({"labels": ("rating",)}, "`rating` is a name of the data set's own"),
        ({"extras": ("long:double",)}, "must be NAME, NAME"),
        ({"extras": ("long:int64?",)}, "must be NAME, NAME"),
    ],
)
def test_columns_that_cannot_be_carried(
    tmp_path: Path, changes: dict[str, Any], match: str
) -> None:
    (tmp_path / "a.csv").write_text("user_id,item_id,like,rating\na,x,1,2\n")
    with pytest.raises(InputError, match=match):
        read(tmp_path, "csv", AskedColumns(**changes))


def test_carried_columns_reach_the_data_set(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "user_id,item_id,timestamp,like,length,tab\n"
        "a,x,2000,1,,3\na,x,1000,0,2.5,4\nb,y,3000,1,7,5\n"
    )
    options = {
        "label_columns": ("like",),
        "extra_columns": ("length?", "tab:int64"),
        "timestamp_unit": "ms",
        "num_shards": 2,
    }
    found = []
    for name, flags in (("a", []), ("b", ["--runner=local"])):
        dataset = tmp_path / name
        given = IngestOptions(str(tmp_path / "a.csv"), "csv", dataset, **options)
        manifest = run(given, PipelineOptions(flags))
        found.append(checksums(dataset))
    assert found[0] == found[1]
    table = read_interactions(dataset / "interactions")
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("user", "int32"),
        ("item", "int32"),
        ("timestamp", "int64"),
        ("like", "float"),
        ("length", "float"),
        ("tab", "int64"),
    ]
    rows = dict(zip(with_ids(dataset, table), table.to_pylist(), strict=True))
    # Of a's two meetings with x the earliest stays, whole.
    assert rows["a", "x"] | {"user": 0, "item": 0} == {
        "user": 0,
        "item": 0,
        "timestamp": 1,
        "like": 0.0,
        "length": 2.5,
        "tab": 4,
    }
    assert manifest.details["label_columns"] == ["like"]
    assert manifest.details["extra_columns"] == ["length", "tab"]
