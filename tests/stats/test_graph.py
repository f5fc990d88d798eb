"""The normalised adjacency against dense matrices of all nodes."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tfcausal.schema.columns import adjacency_schema
from tfcausal.stats.graph import (
    CSR,
    Edges,
    adjacency_table,
    balanced_ranges,
    edge_values,
    loop_values,
)


def dense(matrix: CSR, num_columns: int) -> npt.NDArray[np.float64]:
    result = np.zeros((len(matrix.indptr) - 1, num_columns))
    for row in range(len(result)):
        for place in range(matrix.indptr[row], matrix.indptr[row + 1]):
            result[row, matrix.indices[place]] += matrix.values[place]
    return result


def normalised(
    met: npt.NDArray[np.float64], normalisation: str, self_loops: bool
) -> npt.NDArray[np.float64]:
    """Returns the normalised adjacency of all nodes, users first, as textbooks do."""
    users, items = met.shape
    whole = np.block(
        [[np.zeros((users, users)), met], [met.T, np.zeros((items, items))]]
    )
    if self_loops:
        whole += np.eye(users + items)
    degrees = whole.sum(axis=1)
    inverse = np.divide(1.0, degrees, out=np.zeros_like(degrees), where=degrees > 0)
    if normalisation == "left":
        return np.diag(inverse) @ whole
    return np.diag(np.sqrt(inverse)) @ whole @ np.diag(np.sqrt(inverse))


def test_by_hand() -> None:
    # User 1 met items 1 and 3, user 2 item 3 (twice). d_u = 2, 1; d_i = 1, 2.
    edges = Edges.of_pairs(
        np.asarray([2, 1, 2, 1], np.int32), np.asarray([3, 3, 3, 1], np.int32)
    )
    assert edges.rows.tolist() == [1, 1, 2]
    assert edges.columns.tolist() == [1, 3, 3]
    of_user, of_item = np.asarray([2, 2, 1]), np.asarray([1, 2, 2])
    found = edge_values(of_user, of_item, "symmetric", self_loops=False)
    assert found.dtype == np.float32
    # 1/sqrt(2*1), 1/sqrt(2*2), 1/sqrt(1*2)
    assert found.tolist() == pytest.approx([0.70710678, 0.5, 0.70710678])
    found = edge_values(of_user, of_item, "symmetric", self_loops=True)
    # 1/sqrt(3*2), 1/sqrt(3*3), 1/sqrt(2*3)
    assert found.tolist() == pytest.approx([0.40824829, 1 / 3, 0.40824829])
    found = edge_values(of_user, of_item, "left", self_loops=False)
    assert found.tolist() == [0.5, 0.5, 1.0]
    assert loop_values(np.asarray([0, 1, 3], np.int32)).tolist() == [1, 0.5, 0.25]


@pytest.mark.parametrize("self_loops", [False, True])
@pytest.mark.parametrize("normalisation", ["symmetric", "left"])
@pytest.mark.parametrize("seed", [0, 1])
def test_as_dense(seed: int, normalisation: Any, self_loops: bool) -> None:
    generator = np.random.default_rng(seed)
    num_users, num_items = 12, 9
    users = generator.integers(1, num_users, 40).astype(np.int32)
    items = generator.integers(1, num_items, 40).astype(np.int32)
    met = np.zeros((num_users, num_items))
    met[users, items] = 1
    whole = normalised(met, normalisation, self_loops)
    d_user = met.sum(axis=1).astype(np.int32)
    d_item = met.sum(axis=0).astype(np.int32)
    for rows, columns, d_rows, d_columns, block in (
        (users, items, d_user, d_item, whole[:num_users, num_users:]),
        (items, users, d_item, d_user, whole[num_users:, :num_users]),
    ):
        edges = Edges.of_pairs(rows, columns)
        values = edge_values(
            d_rows[edges.rows],
            d_columns[edges.columns],
            normalisation,
            self_loops=self_loops,
        )
        table = adjacency_table(edges, values)
        assert table.schema.equals(adjacency_schema())
        # Rows of the matrix lie in two tables, in no order.
        odd = np.asarray(table["node"].to_numpy() % 2, bool)
        tables = [table.filter(odd), table.filter(~odd)]
        matrix = CSR.from_tables(tables, len(d_rows))
        assert matrix.indptr.dtype == np.int64
        assert matrix.indices.dtype == np.int32
        assert matrix.values.dtype == np.float32
        np.testing.assert_allclose(dense(matrix, len(d_columns)), block, rtol=1e-6)
    if self_loops:
        loops = np.concatenate([loop_values(d_user), loop_values(d_item)])
        np.testing.assert_allclose(loops, np.diag(whole), rtol=1e-6)


def test_symmetric_values_are_the_same_from_both_sides() -> None:
    degrees = np.random.default_rng(0).integers(1, 10**6, (2, 1_000)).astype(np.int32)
    for loops in (False, True):
        there = edge_values(*degrees, "symmetric", self_loops=loops)
        back = edge_values(*degrees[::-1], "symmetric", self_loops=loops)
        assert there.tobytes() == back.tobytes()


def test_no_edges() -> None:
    none = np.empty(0, np.int32)
    edges = Edges.of_pairs(none, none)
    values = edge_values(none, none, "symmetric", self_loops=False)
    table = adjacency_table(edges, values)
    assert len(table) == 0
    for tables in ([], [table], [table, table]):
        matrix = CSR.from_tables(tables, 3)
        assert matrix.indptr.tolist() == [0, 0, 0, 0]
        assert len(matrix.indices) == len(matrix.values) == 0


@pytest.mark.parametrize(
    ("degrees", "num_ranges", "ends"),
    [
        ([0, 1, 1, 1, 1], 2, [3, 5]),
        # One node has more than all others: the ranges behind it share the rest.
        ([0, 90, 2, 2, 2, 4], 4, [2, 2, 2, 6]),
        ([0, 0, 0], 2, [1, 3]),
        ([0, 3], 3, [2, 2, 2]),
        ([0, 3], 1, [2]),
    ],
)
def test_ranges_by_hand(degrees: list[int], num_ranges: int, ends: list[int]) -> None:
    assert balanced_ranges(np.asarray(degrees), num_ranges).tolist() == ends


def test_ranges_hold_about_as_many_edges() -> None:
    degrees = np.sort(np.random.default_rng(0).zipf(1.8, 5_000) % 1_000)[::-1]
    ends = balanced_ranges(degrees, 8)
    sums = [part.sum() for part in np.split(degrees, ends[:-1])]
    assert sum(sums) == degrees.sum()
    assert max(sums) <= degrees.sum() / 8 + degrees.max()


def test_pairs_are_ordered_and_large_indices_kept() -> None:
    generator = np.random.default_rng(1)
    rows = generator.integers(0, 2**31, 500).astype(np.int32)
    columns = generator.integers(0, 2**31, 500).astype(np.int32)
    edges = Edges.of_pairs(np.tile(rows, 2), np.tile(columns, 2))
    expected = sorted(set(zip(rows.tolist(), columns.tolist(), strict=True)))
    found = zip(edges.rows.tolist(), edges.columns.tolist(), strict=True)
    assert list(found) == expected
