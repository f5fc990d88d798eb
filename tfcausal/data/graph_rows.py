"""The user-item graph that beam_jobs.graph wrote, read into arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfcausal.data.interactions import CheckedDataset
from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.dataset import TRAINING_PARTS, GraphFolder
from tfcausal.schema.manifest import Manifest, read_manifest, require_input
from tfcausal.stats.graph import CSR, Float32s, Int32s, loop_values


@dataclass(frozen=True)
class Graph:
    """A bipartite graph in memory, 8 bytes for each edge in each direction.

    Attributes:
        manifest: What the job promised; its options tell the normalisation.
        by_user: Adjacency of users x items, [num_users] rows.
        by_item: Adjacency of items x users, [num_items] rows.
        user_degrees: [num_users] int32 neighbours.
        item_degrees: [num_items] int32 neighbours.
        user_loops: [num_users] float32 diagonal of the users' self-loops; zeros
            without self-loops.
        item_loops: [num_items] float32, the same of items.
    """

    manifest: Manifest
    by_user: CSR
    by_item: CSR
    user_degrees: Int32s
    item_degrees: Int32s
    user_loops: Float32s
    item_loops: Float32s


def read_graph(dataset: CheckedDataset, parts: Sequence[str] | None = None) -> Graph:
    """Reads a graph.

    Args:
        dataset: The data set whose graph is read.
        parts: The parts that it was made of; None for the training parts.
    Returns:
        The graph.
    Raises:
        InputError: If it is missing, of another split, or does not hold what its
            manifest and its degrees say.
    """
    names = dataset.parts(TRAINING_PARTS) if parts is None else parts
    folder = GraphFolder(dataset.folder.graph(names))
    manifest = read_manifest(folder.root, kind="graph")
    require_input(manifest, "splits", dataset.splits.fingerprint, folder.root)
    sizes = {"user": dataset.num_users, "item": dataset.num_items}
    users = _read_degrees(folder.user_degrees, sizes["user"])
    items = _read_degrees(folder.item_degrees, sizes["item"])
    num_edges = int(manifest.counts["edges"])
    by_user = _read_matrix(folder.by_user, manifest, users, len(items), num_edges)
    by_item = _read_matrix(folder.by_item, manifest, items, len(users), num_edges)
    loops = bool(manifest.options["self_loops"])
    return Graph(
        manifest,
        by_user,
        by_item,
        users,
        items,
        *(
            loop_values(degrees) if loops else np.zeros(len(degrees), np.float32)
            for degrees in (users, items)
        ),
    )


def _read_degrees(path: Path, num_nodes: int) -> Int32s:
    degrees: Int32s = _read(path)[columns.DEGREE].to_numpy()
    if len(degrees) != num_nodes:
        raise InputError(
            f"`{path}` must have a row for each of {num_nodes} nodes; got "
            f"{len(degrees)}. Run beam_jobs.graph again."
        )
    return degrees


def _read_matrix(
    folder: Path, manifest: Manifest, degrees: Int32s, num_columns: int, num_edges: int
) -> CSR:
    names = [name for name in manifest.files if name.startswith(f"{folder.name}/")]
    tables = [_read(folder.parent / name) for name in sorted(names)]
    matrix = CSR.from_tables(tables, len(degrees))
    fits = (
        len(matrix.indices) == num_edges
        and np.array_equal(np.diff(matrix.indptr), degrees)
        and int(matrix.indices.max(initial=-1)) < num_columns
    )
    if not fits:
        raise InputError(
            f"`{folder}` must have {num_edges} edges and the degrees beside it; got "
            f"{len(matrix.indices)} edges. Run beam_jobs.graph again."
        )
    return matrix


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(
            f"`{path}` must be a Parquet file of a graph; {error}. Run beam_jobs.graph "
            "again."
        ) from error
