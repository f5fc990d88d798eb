"""Feature tables: types of columns, lists, the order of a vocabulary."""

from typing import Any

import pyarrow as pa
import pytest

from tfcausal.stats.feature_tables import align, typed


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        (["1", "-20", ""], pa.int64(), [1, -20, None]),
        (["1", "2.5", ""], pa.float32(), [1.0, 2.5, None]),
        (["1", "x"], pa.string(), ["1", "x"]),
        (["02134", "94043"], pa.string(), ["02134", "94043"]),
        (["0", "0.0"], pa.float32(), [0.0, 0.0]),
        (["", ""], pa.string(), [None, None]),
        (["nan", "1"], pa.string(), ["nan", "1"]),
    ],
)
def test_a_column_has_the_type_of_all_its_values(
    values: list[str], kind: pa.DataType, found: list[Any]
) -> None:
    for table in (
        pa.table({"x": values}),
        pa.table({"x": pa.array(values).dictionary_encode()}),
        pa.table({"x": pa.chunked_array([values[:1], values[1:]])}),
    ):
        column = typed(table, (), "|")["x"]
        assert column.type == kind
        assert column.to_pylist() == found


def test_lists() -> None:
    table = pa.table({"x": ["Drama|War", "", None, "War||", " Drama | Sci-Fi"]})
    column = typed(table, ("x",), "|")["x"]
    assert column.type == pa.list_(pa.string())
    assert column.to_pylist() == [
        ["Drama", "War"],
        [],
        [],
        ["War"],
        ["Drama", "Sci-Fi"],
    ]
    column = typed(pa.table({"x": ["3 4", "5"]}), ("x",), " ")["x"]
    assert column.to_pylist() == [[3, 4], [5]]
    # What is no text stays as it is.
    table = pa.table({"x": pa.array([[1.5], []])})
    assert typed(table, ("x",), "|").equals(table)


def test_align_fills_gaps_and_counts() -> None:
    table = pa.table({"x": [1, 2, 3, 4], "y": [["a"], [], ["b"], ["c"]]})
    ids = pa.array(["b", "zz", "a", "b"])
    aligned = align(table, ids, pa.array(["", "a", "b", "c"]))
    assert aligned.table.to_pydict() == {
        "x": [None, 3, 1, None],
        "y": [None, ["b"], ["a"], None],
    }
    assert (aligned.unknown, aligned.repeated, aligned.missing) == (1, 1, 1)


def test_an_empty_id_is_the_unknown_one() -> None:
    aligned = align(
        pa.table({"x": [5]}), pa.array([""], pa.string()), pa.array(["", "a"])
    )
    assert aligned.table["x"].to_pylist() == [None, None]
    assert aligned.unknown == 1
