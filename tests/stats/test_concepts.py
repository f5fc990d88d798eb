"""Concepts of items and the users' shares against plain Python, row by row."""

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.stats import concepts
from tfcausal.stats.concepts import (
    Binning,
    ConceptRule,
    IndexedConcept,
    MultiHot,
    dense_shares,
    mean_shares,
    shares_matrix,
    user_shares,
)
from tfcausal.stats.graph import Edges


def chunked(values: list[Any], kind: pa.DataType | None = None) -> pa.ChunkedArray:
    """Returns a column in two chunks."""
    half = len(values) // 2
    if kind is None:
        kind = pa.array(values).type
    return pa.chunked_array([values[:half], values[half:]], kind)


def by_item(indexed: IndexedConcept) -> list[list[str]]:
    """Returns the texts of each item's values, in the order of their rows."""
    texts = indexed.values["value"].to_pylist()
    items = indexed.items
    return [
        [texts[value] for value in items.indices[begin:end]]
        for begin, end in zip(items.indptr[:-1], items.indptr[1:], strict=True)
    ]


def test_values_by_hand() -> None:
    column = chunked([None, ["War", "Drama"], [], ["Drama", "Drama", ""], ["War"]])
    indexed = ConceptRule("genres").index(column)
    # Two items each; ties by the bytes of the text.
    assert indexed.values.to_pydict() == {
        "value": ["", "Drama", "War"],
        "count": [0, 2, 2],
    }
    assert by_item(indexed) == [[], ["Drama", "War"], [], ["Drama"], ["War"]]
    assert indexed.items.indptr.dtype == np.int64
    assert indexed.items.indices.dtype == np.int32
    assert indexed.items.num_described == 3
    assert indexed.values.schema.equals(columns.concept_values_schema(binned=False))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (chunked([None, "b", "a", "b", ""]), ["", "b", "a"]),
        (chunked([None, "b", "a"]).dictionary_encode(), ["", "a", "b"]),
        (chunked([None, 7, 3, 7]), ["", "7", "3"]),
        (chunked([None, True, False, True]), ["", "true", "false"]),
        (chunked([None, [3, None], [11, 3]]), ["", "3", "11"]),
    ],
)
def test_types_of_columns(column: pa.ChunkedArray, values: list[str]) -> None:
    rule = ConceptRule("x")
    rule.require_fits(column.type)
    assert rule.index(column).values["value"].to_pylist() == values


def test_lists_of_dictionaries() -> None:
    codes = pa.array(["b", "a", "b"]).dictionary_encode()
    lists = pa.ListArray.from_arrays(pa.array([0, 0, 2, 3]), codes)
    rule = ConceptRule("x")
    rule.require_fits(lists.type)
    indexed = rule.index(pa.chunked_array([lists]))
    assert by_item(indexed) == [[], ["b", "a"], ["b"]]


@pytest.mark.parametrize(
    ("min_count", "max_values"), [(1, None), (3, None), (1, 4), (2, 3), (2, 100)]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_rare_values_as_in_plain_python(
    seed: int, min_count: int, max_values: int | None
) -> None:
    generator = np.random.default_rng(seed)
    rows = [
        [f"v{value}" for value in generator.zipf(1.5, generator.integers(0, 4)) % 30]
        for _ in range(60)
    ]
    indexed = ConceptRule("x", min_count, max_values).index(chunked([None, *rows]))
    met = Counter(value for row in rows for value in set(row))
    kept = [value for value in sorted(met) if met[value] >= min_count]
    kept = sorted(kept, key=lambda value: -met[value])[:max_values]
    expected = [
        sorted(
            {value if value in kept else "" for value in row},
            key=["", *kept].index,
        )
        for row in rows
    ]
    assert indexed.values["value"].to_pylist() == ["", *kept]
    assert by_item(indexed) == [[], *expected]
    assert indexed.values["count"].to_pylist() == [
        sum(value in row for row in expected) for value in ["", *kept]
    ]


def test_bins_by_hand() -> None:
    column = chunked([None, 1990, 2000, 1994, 1990, 1995], pa.int64())
    indexed = ConceptRule("year", 5, 1, Binning("equal_width", 2)).index(column)
    # Neither `min_count` nor `max_values` touches bins.
    assert by_item(indexed) == [
        [],
        ["[1990.0, 1995.0)"],
        ["[1995.0, 2000.0]"],
        ["[1990.0, 1995.0)"],
        ["[1990.0, 1995.0)"],
        ["[1995.0, 2000.0]"],
    ]
    assert indexed.values["count"].to_pylist() == [0, 3, 2]
    assert indexed.values["lower"].to_pylist()[1:] == [1990, 1995]
    assert indexed.values["upper"].to_pylist()[1:] == [1995, 2000]
    assert indexed.values.schema.equals(columns.concept_values_schema(binned=True))
    indexed = ConceptRule("year", binning=Binning("quantile", 2)).index(column)
    # Cut where the five items are nearest to equally many on both sides.
    assert indexed.values["count"].to_pylist() in ([0, 2, 3], [0, 3, 2])


def test_numbers_with_fractions_are_binned() -> None:
    column = chunked([None, 0.5, float("nan"), 0.25, None], pa.float32())
    rule = ConceptRule("length", binning=Binning("quantile", 10))
    rule.require_fits(column.type)
    indexed = rule.index(column)
    assert indexed.items.indptr.tolist() == [0, 0, 1, 1, 2, 2]
    assert indexed.items.indices.tolist() == [2, 1]


@pytest.mark.parametrize("text", ["year", "year:10", ":quantile:10"])
def test_bins_of_another_form(text: str) -> None:
    with pytest.raises(InputError, match="must be of the form COLUMN:RULE:NUMBER"):
        Binning.parse(text)


def test_bins_are_read() -> None:
    assert Binning.parse("a:b:quantile:7") == ("a:b", Binning("quantile", 7))
    with pytest.raises(InputError, match="Unknown rule of `bins` `quantil`"):
        Binning.parse("year:quantil:10")
    for number in ("1", "-3", "x", ""):
        with pytest.raises(InputError, match="must give `year` at least 2 bins"):
            Binning.parse(f"year:quantile:{number}")


def test_what_cannot_be_a_concept() -> None:
    quantile = Binning("quantile", 2)
    for kind, binning, match in (
        (pa.float64(), None, "or be binned; it is double. Pass --bins=x:quantile:10"),
        (pa.list_(pa.float32()), None, "or be binned"),
        (pa.struct([]), None, "must hold texts, whole numbers or lists"),
        (pa.string(), quantile, "`bins` must name columns of numbers; `x` is string"),
        (pa.list_(pa.int64()), quantile, "`bins` must name columns of numbers"),
    ):
        with pytest.raises(InputError, match=match):
            ConceptRule("x", binning=binning).require_fits(kind)
    for column, rule, match in (
        (chunked([None, "", None]), ConceptRule("x"), "must have a value for some"),
        (chunked([None, [], [""]]), ConceptRule("x"), "must have a value for some"),
        (chunked([None, "a", "a", "b"]), ConceptRule("x", 3), "none has more than 2"),
        (
            chunked([None, None], pa.int64()),
            ConceptRule("x", binning=quantile),
            "must have a value for some item",
        ),
        (
            chunked([None, 3, 3]),
            ConceptRule("x", binning=quantile),
            "at least two values to be binned; all are 3.0",
        ),
        (
            chunked([None, 1.0, float("inf")]),
            ConceptRule("x", binning=quantile),
            "must be finite or missing",
        ),
    ):
        with pytest.raises(InputError, match=match):
            rule.index(column)


def test_shares_by_hand() -> None:
    # Item 1 has values 1 and 2, item 2 value 2, item 3 none, item 4 value 0.
    items = MultiHot(np.asarray([0, 0, 2, 3, 3, 4]), np.asarray([1, 2, 2, 0], np.int32))
    users = np.asarray([5, 5, 5, 7, 9], np.int32)
    met = np.asarray([1, 2, 3, 3, 4], np.int32)
    pairs = Edges.of_pairs(users, met)
    found = user_shares(pairs, items, 3, "items")
    assert found.schema.equals(columns.user_shares_schema())
    # User 5: of two items with a value, one has 1 and both have 2.
    assert found.to_pydict() == {
        "user": [5, 7, 9],
        "described_items": [2, 0, 1],
        "values": [[1, 2], [], [0]],
        "counts": [[1, 2], [], [1]],
        "shares": [[0.5, 1.0], [], [1.0]],
    }
    found = user_shares(pairs, items, 3, "values")
    # Three values in all: one is 1, two are 2.
    assert found["shares"].to_pylist()[1:] == [[], [1.0]]
    assert found["shares"].to_pylist()[0] == pytest.approx([1 / 3, 2 / 3])


@pytest.mark.parametrize("share_of", ["items", "values"])
@pytest.mark.parametrize("at_once", [1, 50, 1 << 20])
def test_shares_as_in_plain_python(
    monkeypatch: pytest.MonkeyPatch, share_of: Any, at_once: int
) -> None:
    monkeypatch.setattr(concepts, "_ENTRIES_AT_ONCE", at_once)
    generator = np.random.default_rng(3)
    num_items, num_values, num_users = 40, 12, 25
    drawn = generator.random((num_items, num_values))
    has: npt.NDArray[np.bool_] = np.less(drawn, 0.15)
    items = MultiHot.of_edges(
        Edges(*(axis.astype(np.int32) for axis in np.nonzero(has))), num_items
    )
    users = generator.integers(1, num_users, 300).astype(np.int32)
    users = users[users % 7 != 0]
    met = generator.integers(1, num_items, len(users)).astype(np.int32)
    tables = [
        user_shares(
            Edges.of_pairs(users[chosen], met[chosen]), items, num_values, share_of
        )
        for chosen in (users % 2 == 0, users % 2 == 1)
    ]
    matrix = shares_matrix(tables, num_users)
    dense = np.zeros((num_users, num_values))
    for user in range(num_users):
        of_user = {int(item) for item in met[users == user]}
        counts = Counter(
            value for item in of_user for value in np.flatnonzero(has[item]).tolist()
        )
        described = sum(bool(has[item].any()) for item in of_user)
        total = described if share_of == "items" else sum(counts.values())
        for value, count in counts.items():
            dense[user, value] = count / total
    known: npt.NDArray[np.bool_] = np.any(dense > 0, axis=1)
    assert known.any()
    assert not known.all()
    mean = mean_shares(matrix, num_values)
    np.testing.assert_allclose(mean, dense[known].mean(axis=0), rtol=1e-6)
    expected = np.where(known[:, None], dense, mean)
    asked = generator.integers(0, num_users, 60)
    found = dense_shares(matrix, asked, mean)
    assert found.dtype == mean.dtype == np.float32
    np.testing.assert_allclose(found, expected[asked], rtol=1e-6)
    if share_of == "values":
        np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-6)


def test_nobody() -> None:
    none = np.empty(0, np.int32)
    items = MultiHot(np.asarray([0, 0]), none)
    table = user_shares(Edges(none, none), items, 1, "items")
    assert len(table) == 0
    matrix = shares_matrix([table], 3)
    assert mean_shares(matrix, 2).tolist() == [0, 0]
    assert dense_shares(matrix, np.asarray([2]), np.ones(2, np.float32)).tolist() == [
        [1, 1]
    ]
    assert dense_shares(matrix, none, np.ones(2, np.float32)).shape == (0, 2)


def test_multi_hot_survives_its_table() -> None:
    items = MultiHot(np.asarray([0, 0, 2, 3]), np.asarray([0, 4, 1], np.int32))
    table = pa.concat_tables([items.to_table().slice(0, 2), items.to_table().slice(2)])
    again = MultiHot.from_table(table)
    assert again.indptr.tolist() == items.indptr.tolist()
    assert again.indices.tolist() == items.indices.tolist()
