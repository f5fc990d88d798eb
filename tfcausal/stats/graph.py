"""The bipartite graph of users and items, normalised: its rows in CSR form, on blocks.

Symbols: A -> the adjacency of all nodes, users and items; D -> its degrees on the
diagonal. A_ui = 1 if user u met item i, however often.
    symmetric   D^-1/2 A D^-1/2      A_ui / sqrt(d_u d_i)
    left        D^-1 A               A_ui / d_u from users, A_ui / d_i from items
With self-loops A + I stands for A, which adds 1 to every degree and an entry 1 / d on
the diagonal. Node 0 of each side is the unknown one and has no neighbour; a node
without neighbours has a row of zeros, but for its self-loop.

Reference: He et al., LightGCN, SIGIR 2020, Eq. 3 (symmetric, no self-loops); the code
of Zheng et al., DICE, WWW 2021 (symmetric, with self-loops). Wang et al., DGCF, SIGIR
2020, takes the same edges and weighs them anew by factor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tfcausal.schema import columns
from tfcausal.stats.sorting import distinct

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]

Normalisation = Literal["symmetric", "left"]
NORMALISATIONS: tuple[Normalisation, ...] = ("symmetric", "left")


@dataclass(frozen=True)
class Edges:
    """Entries of a matrix, each once, ordered by row and then by column.

    Attributes:
        rows: [n] int32.
        columns: [n] int32.
    """

    rows: Int32s
    columns: Int32s

    @classmethod
    def of_pairs(cls, rows: Int32s, columns: Int32s) -> "Edges":
        """Orders pairs and leaves repeated ones out.

        Args:
            rows: [m] int32 >= 0.
            columns: [m] int32 >= 0.
        """
        pairs = distinct((rows.astype(np.int64) << 32) | columns)
        return cls(
            (pairs >> 32).astype(np.int32), (pairs & 0xFFFFFFFF).astype(np.int32)
        )


def edge_values(
    from_degrees: Int32s,
    to_degrees: Int32s,
    normalisation: Normalisation,
    *,
    self_loops: bool,
) -> Float32s:
    """Returns the entries of the normalised adjacency.

    Args:
        from_degrees: [n] int32 > 0, neighbours of the node of each edge's row.
        to_degrees: [n] int32 > 0, neighbours of the node of its column.
        normalisation: "symmetric" or "left".
        self_loops: Whether every node is its own neighbour too.
    Returns:
        [n] float32.
    """
    loop = float(self_loops)
    divisors = from_degrees + loop
    if normalisation == "symmetric":
        divisors = np.sqrt(divisors * (to_degrees + loop))
    return (1.0 / divisors).astype(np.float32)


def loop_values(degrees: Int32s) -> Float32s:
    """Returns [n] float32, the diagonal of the normalised adjacency with self-loops.

    Args:
        degrees: [n] int32 >= 0, neighbours of each node, itself not counted.
    """
    return (1.0 / (degrees + 1.0)).astype(np.float32)


def balanced_ranges(degrees: Int32s | Int64s, num_ranges: int) -> Int64s:
    """Cuts nodes into successive ranges of about as many edges each.

    Args:
        degrees: [num_nodes] integers >= 0.
        num_ranges: Number of ranges.
    Returns:
        [num_ranges] int64 where each ends, the last at num_nodes; a node with more
        edges than a range should have leaves ranges beside it empty.
    """
    behind = np.cumsum(degrees, dtype=np.int64)
    total = behind[-1] if len(behind) else 0
    goals = np.arange(1, num_ranges) * total // num_ranges
    ends = np.searchsorted(behind, goals, "left") + 1
    return np.append(np.minimum(ends, len(degrees)), len(degrees)).astype(np.int64)


def adjacency_table(edges: Edges, values: Float32s) -> pa.Table:
    """Returns rows of an adjacency as lists.

    Args:
        edges: [n] ordered edges.
        values: [n] float32.
    Returns:
        A table of `columns.adjacency_schema`, a row for each node that has edges.
    """
    begins = np.flatnonzero(np.diff(edges.rows, prepend=-1))
    offsets = pa.array(np.append(begins, len(edges.rows)).astype(np.int32))
    return pa.table(
        [
            pa.array(edges.rows[begins]),
            pa.ListArray.from_arrays(offsets, pa.array(edges.columns)),
            pa.ListArray.from_arrays(offsets, pa.array(values)),
        ],
        schema=columns.adjacency_schema(),
    )


@dataclass(frozen=True)
class CSR:
    """A sparse matrix by rows.

    Attributes:
        indptr: [num_rows + 1] int64; row r is indptr[r] to indptr[r + 1] of the others.
        indices: [num_edges] int32 columns, ascending within a row.
        values: [num_edges] float32.
    """

    indptr: Int64s
    indices: Int32s
    values: Float32s

    @classmethod
    def from_tables(cls, tables: Sequence[pa.Table], num_rows: int) -> "CSR":
        """Joins rows that lie in several tables.

        Args:
            tables: From `adjacency_table`, no node in two of them.
            num_rows: Rows of the matrix, more than any node.
        """
        counts = np.zeros(num_rows, np.int64)
        nodes, indices, values = [], [], []
        for table in tables:
            nodes.append(table[columns.NODE].to_numpy())
            neighbours = table[columns.NEIGHBOURS].combine_chunks()
            counts[nodes[-1]] = neighbours.value_lengths().to_numpy()
            indices.append(neighbours.flatten().to_numpy())
            entries = table[columns.VALUES].combine_chunks()
            values.append(entries.flatten().to_numpy())
        indptr = np.append(0, np.cumsum(counts))
        matrix = cls(
            indptr,
            np.empty(indptr[-1], np.int32),
            np.empty(indptr[-1], np.float32),
        )
        for of_table, found, entries in zip(nodes, indices, values, strict=True):
            lengths = counts[of_table]
            # How far each node's entries move from the table to the matrix.
            shifts = indptr[of_table] - (np.cumsum(lengths) - lengths)
            places = np.arange(len(found)) + np.repeat(shifts, lengths)
            matrix.indices[places] = found
            matrix.values[places] = entries
        return matrix
