"""Users a second of recommend, exact and through ScaNN, beside what else would do it.

    python -m tests.benchmarks.bulk_recommend --users=1000000 --items=100000 --dim=64

Writes clustered vectors in the form of beam_jobs.embed, then runs the jobs, each row
but the last two in a process of its own whose whole time counts: imports, reading and
writing too. Beside them numpy in batches of users, as one writes it first: the whole
product, argpartition, the same files read and lists written. The last rows ask the
`recommend` signature of an exported model of the same items, for a sample of the users.
"""

import math
import shutil
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from tests.benchmarks.processes import Usage, run_measured
from tfcausal.schema import columns
from tfcausal.schema.dataset import shard_name
from tfcausal.schema.exported import VectorsFolder
from tfcausal.schema.manifest import Manifest, checksums, write_manifest

BLOCK_ROWS = 32_768
NUMPY_BATCH = 1_024
LOCAL = "--runner=local"
TWO_PROCESSES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
EXPORT = "0" * 64
"""In place of the fingerprint of an export, which these vectors do not have."""


def drawn(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """Returns vectors around the same 200 centres, [count, dim]."""
    centres = np.random.default_rng(0).normal(size=(200, dim))
    near = rng.normal(size=(count, dim)) * 0.7
    return (centres[rng.integers(0, 200, count)] + near).astype(np.float32)


def as_lists(vectors: np.ndarray) -> pa.Array:
    lists = pa.array(vectors.ravel())
    for size in reversed(vectors.shape[1:]):
        kind = pa.field("element", lists.type, nullable=False)
        lists = pa.FixedSizeListArray.from_arrays(lists, type=pa.list_(kind, size))
    return lists


def write_vectors(root: Path, users: int, items: int, dim: int, history: int) -> None:
    """Writes what embed would; popularity falls with the index."""
    folder = VectorsFolder(root)
    for subfolder in (folder.users, folder.items):
        subfolder.mkdir(parents=True)
    for number, begin in enumerate(range(0, items, BLOCK_ROWS)):
        rng = np.random.default_rng((1, number))
        rows = np.arange(begin + 1, min(begin + BLOCK_ROWS, items) + 1)
        vectors = drawn(rng, len(rows), dim)
        ids = [f"item {row}" for row in rows]
        content = [rows.astype(np.int32), ids, items - rows, as_lists(vectors)]
        schema = columns.item_vectors_schema(dim)
        table = pa.table(content, schema=schema)
        pq.write_table(table, folder.items / shard_name(number), use_dictionary=False)
    for number, begin in enumerate(range(0, users, BLOCK_ROWS)):
        rng = np.random.default_rng((2, number))
        rows = np.arange(begin + 1, min(begin + BLOCK_ROWS, users) + 1)
        vectors = drawn(rng, len(rows), dim)[:, None]
        seen = 1 + (rng.random((len(rows), history)) ** 3 * items).astype(np.int32)
        ends = np.arange(len(rows) + 1, dtype=np.int32) * history
        content = [
            rows.astype(np.int32),
            [f"user {row}" for row in rows],
            np.ones(len(rows), bool),
            as_lists(vectors),
            pa.ListArray.from_arrays(ends, np.sort(seen, axis=1).ravel()),
        ]
        table = pa.table(content, schema=columns.user_vectors_schema(dim, 1))
        pq.write_table(table, folder.users / shard_name(number), use_dictionary=False)
    causes = {"interest": [0, dim // 2], "conformity": [dim // 2, dim]}
    manifest = Manifest(
        kind="vectors",
        options={"block_rows": BLOCK_ROWS},
        counts={"users": users, "items": items, "known_users": users},
        inputs={"export": EXPORT},
        files=checksums(root),
        details={"causes": causes, "presets": {}, "dim": dim, "queries": 1},
    )
    write_manifest(root, manifest)


def read_embedding(path: Path) -> np.ndarray:
    vectors = pq.read_table(path, columns=["embedding"])["embedding"].combine_chunks()
    flat = vectors.flatten()
    while pa.types.is_fixed_size_list(flat.type):
        flat = flat.flatten()
    return flat.to_numpy().reshape(len(vectors), -1)


def recommend_with_numpy(vectors: Path, target: Path, k: int) -> None:
    """Does the same in the plainest way."""
    folder = VectorsFolder(vectors)
    target.mkdir()
    paths = sorted(folder.items.iterdir())
    items = np.concatenate([read_embedding(path) for path in paths])
    ids = pa.concat_tables(pq.read_table(path, columns=["item_id"]) for path in paths)
    ids = ids["item_id"].combine_chunks()
    for path in sorted(folder.users.iterdir()):
        table = pq.read_table(path, columns=["user_id", "seen"])
        queries, seen = read_embedding(path), table["seen"].combine_chunks()
        lengths, seen_items = seen.value_lengths().to_numpy(), seen.flatten().to_numpy()
        owners = np.repeat(np.arange(len(table)), lengths)
        best, values = [], []
        for first in range(0, len(queries), NUMPY_BATCH):
            scores = queries[first : first + NUMPY_BATCH] @ items.T
            inside = slice(*np.searchsorted(owners, (first, first + NUMPY_BATCH)))
            scores[owners[inside] - first, seen_items[inside] - 1] = -np.inf
            near = np.argpartition(scores, -k, axis=1)[:, -k:]
            near_scores = np.take_along_axis(scores, near, axis=1)
            order = np.argsort(-near_scores, axis=1)
            best.append(np.take_along_axis(near, order, axis=1))
            values.append(np.take_along_axis(near_scores, order, axis=1))
        ends = np.arange(len(table) + 1, dtype=np.int32) * k
        lists = {
            "user_id": table["user_id"],
            "item_id": pa.ListArray.from_arrays(
                ends, ids.take(pa.array(np.concatenate(best).ravel()))
            ),
            "score": pa.ListArray.from_arrays(ends, np.concatenate(values).ravel()),
        }
        pq.write_table(pa.table(lists), target / path.name)


def ask_signature(vectors: Path, work: Path, sample: int, k: int) -> dict[int, Usage]:
    """Asks an exported model of the items for users of the first file, one by one."""
    import tensorflow as tf

    from tests.benchmarks.full_ranking import peak_gib
    from tfcausal.evaluation.ranking import ItemLists
    from tfcausal.schema.vectors import CausalVectors
    from tfcausal.serving.signatures import ServingModel

    folder = VectorsFolder(vectors)
    items = np.concatenate([read_embedding(p) for p in sorted(folder.items.iterdir())])
    users = read_embedding(folder.users / shard_name(0))[:sample]
    sample, dim = users.shape
    for name, count in (("user", sample), ("item", len(items))):
        lines = "".join(f"{name} {row}\n" for row in range(1, count + 1))
        (work / f"{name}s.txt").write_text(lines)
    model = ServingModel(
        CausalVectors(
            np.pad(users, ((1, 0), (0, 0)))[:, None],
            np.pad(items, ((1, 0), (0, 0))),
            {"interest": slice(0, dim // 2), "conformity": slice(dim // 2, dim)},
        ),
        users=work / "users.txt",
        items=work / "items.txt",
        seen=ItemLists.empty(sample + 1),
        popularity=np.arange(len(items) + 1)[::-1],
        known=np.ones(sample + 1, bool),
    )
    tf.saved_model.save(model, str(work / "model"), signatures=model.signatures())
    recommend = tf.saved_model.load(str(work / "model")).signatures["recommend"]

    def ask(begin: int, end: int) -> None:
        ones = tf.ones([end - begin])
        nothing = tf.fill([end - begin, 1], "")
        recommend(
            user_id=tf.constant([f"user {row + 1}" for row in range(begin, end)]),
            k=tf.constant(k),
            do=nothing[:, 0],
            exclude_item_id=nothing,
            allow_item_id=nothing,
            exclude_seen=tf.constant(True),
            interest_weight=ones,
            conformity_weight=ones,
        )

    found = {}
    for size in (1, 64):
        # The first request makes what later ones find made.
        ask(0, min(size, sample))
        start = time.perf_counter()
        for begin in range(0, sample, size):
            ask(begin, min(begin + size, sample))
        seconds = time.perf_counter() - start
        found[size] = Usage(seconds, int(peak_gib() * 2**30), "")
    return found


def run_job(name: str, work: Path, target: str, *flags: str) -> Usage:
    """Runs a job on the vectors."""
    return run_measured(
        [
            *(sys.executable, "-m", f"beam_jobs.{name}", "--json"),
            *(f"--vectors={work / 'vectors'}", f"--output={work / target}", *flags),
        ]
    )


def shared_places(work: Path, name: str) -> float:
    """Returns the share of the exact lists' items that other lists have."""
    hits = places = 0
    for path in sorted((work / "lists_exact").glob("*.parquet")):
        exact, other = (
            pq.read_table(folder / path.name, columns=["item_id"])["item_id"]
            for folder in (work / "lists_exact", work / f"lists_{name}")
        )
        for one, two in zip(exact.to_pylist()[:2_000], other.to_pylist(), strict=False):
            hits += len({*one} & {*two})
            places += len(one)
    return hits / places


@click.command()
@click.option("--users", default=1_000_000, show_default=True)
@click.option("--items", default=100_000, show_default=True)
@click.option("--dim", default=64, show_default=True)
@click.option("--history", default=20, show_default=True, help="Seen items of a user.")
@click.option("--k", default=10, show_default=True)
@click.option("--shards", default=4, show_default=True, help="Shards of the index.")
@click.option("--sample", default=640, show_default=True, help="Users of requests.")
@click.option("--work", type=click.Path(path_type=Path), help="Where to write.")
@click.option("--numpy-only", is_flag=True, hidden=True)
def main(
    users: int,
    items: int,
    dim: int,
    history: int,
    k: int,
    shards: int,
    sample: int,
    work: Path | None,
    numpy_only: bool,
) -> None:
    """Measure; nothing is asserted."""
    if numpy_only and work is not None:
        recommend_with_numpy(work / "vectors", work / "lists_numpy", k)
        return
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        folder = Path(scratch)
        write_vectors(folder / "vectors", users, items, dim, history)
        console = Console()
        table = Table(title=f"{users:,} users, {items:,} items, {dim} dimensions, {k=}")
        for column in ("what", "rows", "seconds", "rows/s", "peak MiB", "of exact"):
            table.add_column(column, justify="left" if column == "what" else "right")

        def add(what: str, asked: int, usage: Usage, name: str = "") -> None:
            table.add_row(
                what,
                f"{asked:,}",
                f"{usage.seconds:.1f}",
                f"{asked / usage.seconds:,.0f}",
                f"{usage.peak_bytes / 2**20:,.0f}",
                f"{shared_places(folder, name):.4f}" if name else "",
            )

        def recommend(name: str, what: str, *flags: str) -> None:
            usage = run_job("recommend", folder, f"lists_{name}", f"--k={k}", *flags)
            add(f"recommend, {what}", users, usage, name)

        recommend("exact", "exact", LOCAL)
        recommend("two", "exact, two processes", *TWO_PROCESSES)
        for count in sorted({1, shards}):
            of_each = f"--items_per_shard={math.ceil(items / count)}"
            name, what = f"index{count}", f"ScaNN, shards: {count}"
            # Lists of clustered vectors are easy to find: the floor is the default.
            add(f"index, {what}", items, run_job("index", folder, name, LOCAL, of_each))
            recommend(f"scann{count}", what, LOCAL, f"--index={folder / name}")
            shutil.rmtree(folder / name)
        plain = run_measured(
            [
                *(sys.executable, "-m", "tests.benchmarks.bulk_recommend"),
                *("--numpy-only", f"--work={folder}", f"--k={k}"),
            ]
        )
        add("numpy in batches", users, plain, "numpy")
        requests = ask_signature(folder / "vectors", folder, sample, k)
        for size, usage in requests.items():
            add(f"`recommend` signature, {size} a request", sample, usage)
        console.print(table)


if __name__ == "__main__":
    main()
