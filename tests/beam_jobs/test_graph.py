"""The graph as scipy makes it of the split's rows, the same bytes on every runner."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from scipy import sparse

from beam_jobs.graph import GraphOptions, main, run
from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from beam_jobs.transforms.graph import GraphPlan
from tests.beam_jobs.raw import make_dataset, read_interactions, write_csv
from tests.beam_jobs.sent import as_sent
from tfcausal.data.graph_rows import Graph, read_graph
from tfcausal.data.interactions import open_dataset
from tfcausal.errors import InputError
from tfcausal.schema.dataset import DatasetFolder, GraphFolder
from tfcausal.schema.manifest import checksums
from tfcausal.stats.graph import CSR

PARTS = ["train", "train_intervened"]
WITHOUT_BEAM = PipelineOptions(["--runner=local"])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a data set that is split."""
    return make_dataset(tmp_path_factory.mktemp("graph"))


@pytest.fixture
def copied(dataset: Path, tmp_path: Path) -> Path:
    """Returns a copy of the data set that a test may spoil, without graphs."""
    hidden = shutil.ignore_patterns("graph")
    return shutil.copytree(dataset, tmp_path / "copied", ignore=hidden)


def as_scipy(matrix: CSR, num_columns: int) -> Any:
    shape = (len(matrix.indptr) - 1, num_columns)
    found = sparse.csr_array((matrix.values, matrix.indices, matrix.indptr), shape)
    assert found.has_canonical_format
    return found.toarray()


def expected(
    dataset: Path, graph: Graph, parts: list[str], normalisation: str, loops: bool
) -> Any:
    """Returns the dense normalised adjacency of all nodes, users first."""
    folder = DatasetFolder(dataset)
    rows = pa.concat_tables(read_interactions(folder.part(part)) for part in parts)
    users, items = rows["user"].to_numpy(), rows["item"].to_numpy()
    num_users, num_items = len(graph.user_degrees), len(graph.item_degrees)
    met = sparse.coo_array(
        (np.ones(len(users)), (users, items)), (num_users, num_items)
    )
    # Repeated interactions add up in scipy; they count once here.
    met = (met.toarray() > 0).astype(float)
    assert graph.user_degrees.tolist() == met.sum(axis=1).tolist()
    assert graph.item_degrees.tolist() == met.sum(axis=0).tolist()
    whole = sparse.block_array([[None, met], [met.T, None]]).toarray()
    whole += loops * np.eye(len(whole))
    degrees = np.maximum(whole.sum(axis=1), 1e-9)
    if normalisation == "left":
        return whole / degrees[:, None]
    return whole / np.sqrt(degrees[:, None] * degrees)


@pytest.mark.parametrize(
    ("parts", "normalisation", "loops"),
    [
        (None, "symmetric", False),
        (None, "symmetric", True),
        (None, "left", True),
        (("train",), "left", False),
    ],
)
def test_as_scipy(dataset: Path, parts: Any, normalisation: Any, loops: bool) -> None:
    manifest = run(
        GraphOptions(dataset, parts, normalisation, self_loops=loops, overwrite=True)
    )
    graph = read_graph(open_dataset(dataset), parts)
    whole = expected(dataset, graph, list(parts or PARTS), normalisation, loops)
    users, items = len(graph.user_degrees), len(graph.item_degrees)
    found = np.block(
        [
            [np.diag(graph.user_loops), as_scipy(graph.by_user, items)],
            [as_scipy(graph.by_item, users), np.diag(graph.item_loops)],
        ]
    )
    np.testing.assert_allclose(found, whole, rtol=1e-6)
    assert manifest.options["parts"] == list(parts or PARTS)
    assert dict(manifest.counts) == {
        "edges": graph.user_degrees.sum(),
        "users": (graph.user_degrees > 0).sum(),
        "items": (graph.item_degrees > 0).sum(),
    }


def test_graphs_of_other_parts_lie_side_by_side(dataset: Path) -> None:
    for parts in (("train",), ("train_intervened", "train")):
        run(GraphOptions(dataset, parts, overwrite=True), WITHOUT_BEAM)
    folder = DatasetFolder(dataset).root / "graph"
    assert sorted(path.name for path in folder.iterdir()) == [
        "train",
        "train+train_intervened",
    ]
    opened = open_dataset(dataset)
    small, large = (read_graph(opened, parts) for parts in (("train",), None))
    assert small.manifest.counts["edges"] < large.manifest.counts["edges"]
    assert (small.user_degrees <= large.user_degrees).all()


@pytest.mark.parametrize(
    "flags",
    [
        ["--runner=local"],
        ["--direct_running_mode=multi_threading", "--direct_num_workers=2"],
    ],
)
def test_the_same_bytes_on_every_runner(dataset: Path, flags: list[str]) -> None:
    options = GraphOptions(dataset, normalisation="left", overwrite=True)
    first = run(options)
    folder = DatasetFolder(dataset).graph(PARTS)
    written = checksums(folder)
    assert run(options, PipelineOptions(flags)) == first
    assert checksums(folder) == written
    assert [path for path in folder.rglob("*") if path.name.startswith(".")] == []


def test_more_shards_than_items(tmp_path: Path) -> None:
    raw = write_csv(
        tmp_path / "raw.csv",
        [(f"u{user}", f"i{user % 2}", 5, user) for user in range(9)],
    )
    dataset = tmp_path / "dataset"
    ingest(IngestOptions(str(raw), "csv", dataset), WITHOUT_BEAM)
    split(SplitOptions(dataset, "random", fractions=(1.0, 0.0, 0.0)), WITHOUT_BEAM)
    run(GraphOptions(dataset))
    graph = read_graph(open_dataset(dataset))
    # Five users met i0, four i1; every range of items has its file.
    assert graph.item_degrees.tolist() == [0, 5, 4]
    assert graph.by_item.indptr.tolist() == [0, 0, 5, 9]
    folder = GraphFolder(DatasetFolder(dataset).graph(["train"]))
    assert len(list(folder.by_item.iterdir())) == 4


def test_command(dataset: Path, monkeypatch: Any, capsys: Any) -> None:
    argv = ["graph", f"--dataset={dataset}", "--parts=train", "--overwrite"]
    monkeypatch.setattr("sys.argv", [*argv, "--self_loops"])
    assert main() == 0
    monkeypatch.setattr("sys.argv", [*argv, "--parts=trian"])
    assert main() == 2
    assert "Unknown part `trian`. Did you mean `train`?" in capsys.readouterr().err


def test_refusals(dataset: Path) -> None:
    run(GraphOptions(dataset, overwrite=True))
    with pytest.raises(InputError, match="must not exist yet"):
        run(GraphOptions(dataset))
    with pytest.raises(InputError, match="`parts` must name each part once"):
        GraphOptions(dataset, ("train", "train"))
    with pytest.raises(InputError, match="Unknown normalisation `right`"):
        GraphOptions(dataset, normalisation="right")


def test_what_does_not_fit_is_not_read(copied: Path) -> None:
    opened = open_dataset(copied)
    with pytest.raises(InputError, match="must hold a finished result of kind graph"):
        read_graph(opened)
    run(GraphOptions(copied), WITHOUT_BEAM)
    folder = GraphFolder(DatasetFolder(copied).graph(PARTS))
    for path, match in (
        (folder.by_user / "part-00001.parquet", "edges and the degrees beside it"),
        (folder.by_item / "part-00000.parquet", "edges and the degrees beside it"),
        (folder.item_degrees, "must have a row for each of"),
    ):
        content = path.read_bytes()
        table = pq.read_table(path)
        pq.write_table(table.slice(1), path)
        with pytest.raises(InputError, match=match):
            read_graph(opened)
        path.write_bytes(content[:-6])
        with pytest.raises(InputError, match="must be a Parquet file of a graph"):
            read_graph(opened)
        path.write_bytes(content)
    read_graph(opened)
    split(SplitOptions(copied, "intervened", seed=1, overwrite=True), WITHOUT_BEAM)
    with pytest.raises(InputError, match=r"inputs\.splits must be"):
        read_graph(open_dataset(copied))


def test_workers_get_what_they_need() -> None:
    plan = GraphPlan(
        dataset=DatasetFolder(Path("d")),
        parts=("train",),
        folder=GraphFolder(Path("g")),
        num_shards=4,
        num_users=3,
        num_items=2,
        normalisation="left",
        self_loops=True,
        row_group_size=8,
    )
    assert as_sent(plan) == plan
