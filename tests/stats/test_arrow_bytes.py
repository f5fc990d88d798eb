"""Tables cross a shuffle unchanged, in few bytes."""

import numpy as np
import pyarrow as pa
import pytest

from tfcausal.stats.arrow_bytes import table_from_bytes, table_to_bytes


@pytest.mark.parametrize(
    "values",
    [
        [],
        [7],
        [-5, 250],
        [-(2**63), 2**63 - 1],
        [-(2**63), 1 - 2**63],
        [2**62, 2**62 + 65_535],
        [2**62, 2**62 + 65_536],
        [0, 2**32 - 1],
        [0, 2**32],
        [3, None, 4],
    ],
)
def test_whole_numbers(values: list[int | None]) -> None:
    table = pa.table({"a": pa.array(values, pa.int64())})
    assert table_from_bytes(table_to_bytes(table)).equals(table, check_metadata=True)


def test_every_type_in_several_chunks() -> None:
    fields = [
        pa.field("narrow", pa.int32(), nullable=False, metadata={"unit": "days"}),
        pa.field("wide", pa.int64()),
        pa.field("text", pa.dictionary(pa.int32(), pa.string())),
        pa.field("missing", pa.dictionary(pa.int32(), pa.string())),
        pa.field("real", pa.float32()),
        pa.field("list", pa.list_(pa.int32())),
        pa.field("unsigned", pa.uint64()),
        pa.field("flag", pa.bool_()),
    ]
    schema = pa.schema(fields, metadata={"place": "7"})
    rows = [
        ([1, 2], [5, -(2**40)], ["x", "y"], ["x", None], [0.5, 1.5]),
        ([300], [6], ["z"], ["z"], [2.5]),
    ]
    tables = [
        pa.table(
            [
                *columns[:2],
                pa.array(columns[2]).dictionary_encode(),
                pa.array(columns[3]).dictionary_encode(),
                columns[4],
                [[1, 2]] * len(columns[0]),
                [2**64 - 1] * len(columns[0]),
                [True] * len(columns[0]),
            ],
            schema=schema,
        )
        for columns in rows
    ]
    for table in (*tables, pa.concat_tables(tables), schema.empty_table()):
        again = table_from_bytes(table_to_bytes(table))
        assert again.schema.equals(table.schema, check_metadata=True)
        assert again.to_pydict() == table.to_pydict()


def test_a_slice_of_a_table() -> None:
    texts = pa.array(list("abcabcabc")).dictionary_encode()
    part = pa.table({"a": np.arange(9), "b": texts}).slice(3, 4)
    assert table_from_bytes(table_to_bytes(part)).to_pydict() == part.to_pydict()


def test_small_numbers_take_few_bytes() -> None:
    codes = pa.DictionaryArray.from_arrays(np.arange(50_000) % 3, list("xyz"))
    table = pa.table({"time": 10**9 + np.arange(50_000), "code": codes})
    assert len(table_to_bytes(table)) < 50_000 * 3.1
