"""Tables of features as arrays, by what their rows say in plain Python."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfcausal.data.side_features import (
    FeatureTables,
    SideFeatures,
    read_features,
    read_texts,
)
from tfcausal.errors import InputError
from tfcausal.schema.dataset import DatasetFolder

import tensorflow as tf  # isort: skip

COLUMNS: dict[str, Any] = {
    "city": [None, "Rom", "Bonn", "Rom", None, ""],
    "age": pa.array([None, 25, 7, 25, 131, None], pa.int64()),
    "vip": [None, True, False, None, True, True],
    "tags": [None, ["b", "a"], [], ["c", "c", "a"], [None, "", "b"], ["a"]],
    "years": pa.array([None, [7], [10, 7], [], None, [7]], pa.list_(pa.int32())),
    "kind": pa.array([None, "x", "y", "x", "x", "y"]).dictionary_encode(),
    "spend": pa.array([None, 1.0, 2.0, float("nan"), 6.0, None], pa.float64()),
    "score": pa.array([None, 0.5, 0.5, 0.5, None, 0.5], pa.float32()),
}


def write(folder: Path, columns: dict[str, Any], num_rows: int = 6) -> DatasetFolder:
    ids = ["", *(f"u{row}" for row in range(1, num_rows))]
    pq.write_table(pa.table({"user_id": ids}), folder / "users.parquet")
    table = pa.table({"user_id": ids, **columns})
    pq.write_table(table, folder / "user_features.parquet")
    return DatasetFolder(folder)


def read(
    folder: Path,
    columns: dict[str, Any],
    *,
    hash_buckets: int = 1000,
    wanted: tuple[str, ...] | None = None,
) -> SideFeatures:
    found = FeatureTables(write(folder, columns)).read_users(wanted, hash_buckets)
    assert found is not None
    return found


def codes(features: SideFeatures, name: str) -> list[list[int]]:
    """The codes of each row in one column."""
    names = [column.name for column in features.categories]
    place, width = names.index(name), len(names)
    return [
        features.codes[slice(*features.offsets[cell : cell + 2])].tolist()
        for cell in range(place, features.num_rows * width, width)
    ]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("city", ("Bonn", "Rom"), [[0], [2], [1], [2], [0], [0]]),
        # As texts: "131" comes before "25".
        ("age", ("131", "25", "7"), [[0], [2], [3], [2], [1], [0]]),
        ("vip", ("false", "true"), [[0], [2], [1], [0], [2], [2]]),
        ("tags", ("a", "b", "c"), [[0], [2, 1], [0], [3, 3, 1], [2], [1]]),
        ("years", ("10", "7"), [[0], [2], [1, 2], [0], [0], [2]]),
        ("kind", ("x", "y"), [[0], [1], [2], [1], [1], [2]]),
    ],
)
def test_categories_have_codes(
    tmp_path: Path, name: str, values: tuple[str, ...], expected: list[list[int]]
) -> None:
    features = read(tmp_path, COLUMNS)
    (column,) = [one for one in features.categories if one.name == name]
    assert column.values == values
    assert column.num_codes == len(values) + 1
    assert column.is_list == (name in ("tags", "years"))
    assert codes(features, name) == expected


def test_numbers_are_standardised_and_missing_ones_are_the_mean(tmp_path: Path) -> None:
    features = read(tmp_path, COLUMNS)
    assert [column.name for column in features.numbers] == ["spend", "score"]
    # Mean 3, variance (4 + 1 + 9) / 3.
    deviation = (14 / 3) ** 0.5
    expected = [0, -2 / deviation, -1 / deviation, 0, 3 / deviation, 0]
    np.testing.assert_allclose(features.values[:, 0], expected, rtol=1e-6)
    assert not features.values[:, 1].any()


def test_far_numbers_are_cut(tmp_path: Path) -> None:
    column = pa.array([None, *np.zeros(998), 1e6], pa.float32())
    folder = write(tmp_path, {"plays": column}, num_rows=1000)
    found = FeatureTables(folder).read_users(None, 10)
    assert found is not None
    assert found.values[-1, 0] == 10.0
    # (0 - 1001) / 31623, cut at neither side.
    assert found.values[1, 0] == pytest.approx(-0.0316, abs=1e-3)


def test_many_values_are_hashed_as_tensorflow_hashes(tmp_path: Path) -> None:
    features = read(tmp_path, COLUMNS, hash_buckets=2)
    hashed = {column.name: column.hash_buckets for column in features.categories}
    assert hashed == {"city": 0, "age": 2, "vip": 0, "tags": 2, "years": 0, "kind": 0}
    buckets = {
        text: int(tf.strings.to_hash_bucket_fast(text, 2)) + 1
        for text in ("7", "25", "131", "a", "b", "c")
    }
    assert codes(features, "age") == [
        [0],
        [buckets["25"]],
        [buckets["7"]],
        [buckets["25"]],
        [buckets["131"]],
        [0],
    ]
    assert codes(features, "tags")[3] == [buckets[one] for one in "cca"]
    assert codes(features, "tags")[2] == [0]


def test_the_hash_is_the_same_for_ever() -> None:
    # FarmHash's fingerprint, which runs of years ago must find again.
    found = tf.strings.to_hash_bucket_fast(["Rom", "25", "Ü"], 1000).numpy()
    assert found.tolist() == [539, 988, 589]


def test_chosen_columns_alone_are_read_in_their_order(tmp_path: Path) -> None:
    features = read(tmp_path, COLUMNS, wanted=("tags", "city"))
    assert [column.name for column in features.categories] == ["tags", "city"]
    assert features.values.shape == (6, 0)
    assert codes(features, "city")[2] == [1]


def test_numbers_alone(tmp_path: Path) -> None:
    features = read(tmp_path, {"spend": COLUMNS["spend"]})
    assert features.categories == ()
    assert features.offsets.tolist() == [0]
    assert features.num_rows == 6


def test_texts_are_what_a_request_would_hold(tmp_path: Path) -> None:
    folder = write(tmp_path, COLUMNS)
    features = FeatureTables(folder).read_users(None, 2)
    assert features is not None
    rows = np.asarray([3, 0, 4], np.int32)
    found = read_texts(folder.user_features, features, rows)
    spend = found.pop("spend")
    assert np.isnan(spend[:2]).all()
    assert spend[2] == 6.0
    assert np.isnan(found.pop("score")[1])
    assert found == {
        "city": ["Rom", "", ""],
        "age": ["25", "", "131"],
        "vip": ["", "", "true"],
        "tags": [["c", "c", "a"], ["", "", ""], ["", "", "b"]],
        "years": [[""], [""], [""]],
        "kind": ["x", "", "x"],
    }


def test_no_table_is_no_features(tmp_path: Path) -> None:
    tables = FeatureTables(DatasetFolder(tmp_path))
    assert tables.read_items(None, 10) is None
    with pytest.raises(InputError, match=r"columns genre; it is not.*--item_features"):
        tables.read_items(("genre",), 10)
    assert FeatureTables(write(tmp_path, COLUMNS)).read_users((), 10) is None


@pytest.mark.parametrize(
    ("columns", "wanted", "message"),
    [
        (
            {"city": ["a"] * 6},
            ("citty",),
            "Unknown column `citty`. Did you mean `city`",
        ),
        ({"vector": [[0.5]] * 6}, None, "`vector` must be lists of texts"),
        ({"release year": [1] * 6}, None, "got `release year`. Rename it"),
        ({"class": [1] * 6}, None, "got `class`"),
        ({"exclude_seen": [1] * 6}, None, "got `exclude_seen`"),
        ({"größe": [1] * 6}, None, "got `größe`"),
    ],
)
def test_refusals(
    tmp_path: Path,
    columns: dict[str, Any],
    wanted: tuple[str, ...] | None,
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, columns, wanted=wanted)


def test_a_column_that_is_not_wanted_is_not_looked_at(tmp_path: Path) -> None:
    columns = {"release year": [1] * 6, "city": COLUMNS["city"]}
    assert codes(read(tmp_path, columns, wanted=("city",)), "city")[1] == [2]


def test_a_table_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, COLUMNS)
    pq.write_table(pa.table({"user_id": ["", "u1"]}), folder.users)
    with pytest.raises(InputError, match="a row for each of 2; got 6"):
        read_features(folder.user_features, folder.users, None, 10)
