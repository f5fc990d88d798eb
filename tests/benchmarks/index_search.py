"""Search in an index against exact search of the same catalogue.

    python -m tests.benchmarks.index_search
    python -m tests.benchmarks.index_search --items=100000 --dim=64 --frozen

The vectors are made up: tastes in clusters, norms that differ, and a second cause
whose norms follow popularity. Recall depends on the vectors; the figures are of one run
on one machine, and ratios are what counts.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import click
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from tfcausal.evaluation.ranking import BLOCK_SCORES, ItemLists, best_k, tiled
from tfcausal.schema.vectors import CausalVectors, Float32s
from tfcausal.serving.frozen_index import FrozenServingModel
from tfcausal.serving.index_files import write_ids
from tfcausal.serving.index_recall import interventions, recall_at
from tfcausal.serving.index_settings import bytes_to_build
from tfcausal.serving.item_index import IndexedItems, ItemIndex
from tfcausal.serving.live_index import LiveIndex
from tfcausal.serving.signatures import ServingModel

import tensorflow as tf  # isort: skip
from tensorflow.compat import v1  # isort: skip

TASTES = 500
"""Items of a cluster, about."""
MIB = 2**20
LATENCIES = 1000


def made_up(items: int, dim: int, users: int) -> CausalVectors:
    """Vectors with two causes, the unknown user and item at 0."""
    rng = np.random.default_rng(0)
    half = dim // 2
    tastes = rng.normal(size=(max(items // TASTES, 8), half)).astype(np.float32)
    crowds = rng.normal(size=(4, half)).astype(np.float32)

    def around(centres: Float32s, count: int, spread: float) -> Float32s:
        noise = spread * rng.normal(size=(count, half)).astype(np.float32)
        return centres[rng.integers(0, len(centres), count)] + noise

    norms = rng.lognormal(0, 0.3, (items, 1)).astype(np.float32)
    popularity = rng.lognormal(-0.7, 0.5, (items, 1)).astype(np.float32)
    candidates = np.hstack(
        [norms * around(tastes, items, 0.6), popularity * around(crowds, items, 0.5)]
    )
    queries = np.hstack([around(tastes, users, 0.6), around(crowds, users, 0.5) / 2])
    return CausalVectors(
        queries[:, None],
        candidates,
        {"interest": slice(0, half), "conformity": slice(half, 2 * half)},
    )


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Measures seconds, the peak of memory that is added, and the longest pause.

    A pause is a time in which a thread that only wakes up every millisecond cannot.
    """
    found: dict[str, float] = {"pause": 0.0, "MiB": 0.0}
    process, done = psutil.Process(), Event()
    before = process.memory_info().rss

    def watch() -> None:
        last = time.perf_counter()
        while not done.wait(0.001):
            now = time.perf_counter()
            found["pause"] = max(found["pause"], now - last)
            added = (process.memory_info().rss - before) / MIB
            found["MiB"] = max(found["MiB"], added)
            last = time.perf_counter()

    watcher = Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    yield found
    found["seconds"] = time.perf_counter() - start
    done.set()
    watcher.join()


def rate(search: Callable[[Float32s], Any], queries: Float32s, size: int) -> float:
    """Returns queries a second, in batches."""
    # The last batch may be smaller, and is traced anew.
    for warm in (size, len(queries) % size or size):
        search(queries[:warm])
    start = time.perf_counter()
    for first in range(0, len(queries), size):
        search(queries[first : first + size])
    return len(queries) / (time.perf_counter() - start)


def latencies(ask: Callable[[int], Any]) -> str:
    """Returns milliseconds of one query after the other, half and 99 of a hundred."""
    for number in range(20):
        ask(number)
    taken = []
    for number in range(LATENCIES):
        start = time.perf_counter()
        ask(number)
        taken.append(1000 * (time.perf_counter() - start))
    half, most = np.percentile(taken, [50, 99])
    return f"{half:.2f} / {most:.2f}"


def exact_by_operations(candidates: Float32s, k: int) -> Callable[[Float32s], Any]:
    """Search as the exported model does it."""
    padded, never = (tf.constant(part) for part in tiled(candidates))
    search = tf.function(best_k, reduce_retracing=True)
    nobody = tf.zeros([0, 2], tf.int64)

    def ask(queries: Float32s) -> Any:
        asked = tf.constant(queries[:, None])
        return search(asked, padded, never, nobody, tf.constant(k))[1].numpy()

    return ask


def exact_by_numpy(candidates: Float32s, k: int) -> Callable[[Float32s], Any]:
    def ask(queries: Float32s) -> Any:
        scores = queries @ candidates.T
        best = np.argpartition(-scores, k, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        return np.take_along_axis(best, order, axis=1)

    return ask


def measure_work(index: LiveIndex, folder: Path, table: Table) -> LiveIndex:
    """Saves, loads, changes and rebuilds the index; returns the one that was loaded."""
    rng = np.random.default_rng(1)
    with watched() as saving:
        index.save(folder)
    with watched() as loading:
        loaded = LiveIndex.open(folder, fold_at=1.0)
    count = max(len(index) // 200, 1)
    vectors = index.snapshot().base.vectors[:count].copy()
    changed = [f"new{row}" for row in range(count)]
    with watched() as upserting:
        loaded.upsert(changed, vectors[rng.permutation(count)])
    with watched() as deleting:
        loaded.delete([f"i{row}" for row in range(1, count)])
    rows = {
        "save": saving,
        "load": loading,
        f"upsert {count:,}": upserting,
        f"delete {count - 1:,}": deleting,
    }
    for name, found in rows.items():
        add_work(table, name, found)
    return loaded


def add_work(table: Table, name: str, found: dict[str, float]) -> None:
    pause = 1000 * found["pause"]
    table.add_row(
        name, f"{found['seconds']:.2f}", f"{found['MiB']:,.0f}", f"{pause:.0f}"
    )


def asked_while(
    work: Callable[[], None], ask: Callable[[int], Any]
) -> tuple[dict[str, float], str]:
    """Asks one query after the other while a thread works."""
    taken = []
    with watched() as found:
        worker = Thread(target=work)
        worker.start()
        while worker.is_alive():
            start = time.perf_counter()
            ask(len(taken))
            taken.append(1000 * (time.perf_counter() - start))
        worker.join()
    half, most = np.percentile(taken, [50, 99])
    return found, f"{half:.2f} / {most:.2f}"


def served(vectors: CausalVectors, base: IndexedItems, folder: Path, k: int) -> Table:
    """Measures the signatures for lists of the stock and of the frozen model."""
    users = [f"u{row}" for row in range(1, len(vectors.queries))]
    write_ids(folder / "users.txt", users)
    write_ids(folder / "items.txt", base.items)
    stock = {
        "vectors": vectors,
        "users": folder / "users.txt",
        "items": folder / "items.txt",
        "seen": ItemLists.empty(len(vectors.queries)),
        "popularity": np.arange(len(vectors.candidates)),
        "known": np.ones(len(vectors.queries), bool),
        "k": k,
    }
    wishes = {
        "k": k,
        "do": [""],
        "exclude_item_id": [["i1", "i2"]],
        "allow_item_id": [[""]],
        "exclude_seen": True,
        **{f"{cause}_weight": [1.0] for cause in vectors.causes},
    }
    requests: dict[str, dict[str, Any]] = {"serving_default": {}, "recommend": wishes}
    table = Table("SavedModel", *requests)
    table.title = f"One query, {k} places, ms p50 / p99"

    def add_latencies(name: str, model: ServingModel) -> None:
        root = str(folder / name)
        tf.saved_model.save(model, root, signatures=model.signatures())
        signatures = tf.saved_model.load(root).signatures
        given = {
            key: {name: tf.constant(value) for name, value in inputs.items()}
            for key, inputs in requests.items()
        }
        asked = [tf.constant([user]) for user in users]

        def ask(number: int, key: str) -> Any:
            user = asked[number % len(asked)]
            return signatures[key](user_id=user, **given[key])["item_id"].numpy()

        table.add_row(name, *(latencies(partial(ask, key=key)) for key in requests))
        with v1.Session(graph=v1.Graph()) as session:
            loaded = v1.saved_model.load(session, ["serve"], root).signature_def
            calls = {key: in_session(session, loaded[key]) for key in requests}

            def ask_session(number: int, key: str) -> Any:
                return calls[key](user_id=[users[number % len(users)]], **requests[key])

            figures = [latencies(partial(ask_session, key=key)) for key in requests]
        table.add_row(f"{name}, in a session", *figures)

    add_latencies("stock", ServingModel(**stock))
    add_latencies("frozen index", FrozenServingModel(base, "measured", **stock))
    return table


def in_session(session: Any, definition: Any) -> Callable[..., Any]:
    """Returns what calls a signature as a server does, without Python's wrapping."""
    names = list(definition.inputs)
    outputs = [one.name for one in definition.outputs.values()]
    call = session.make_callable(
        outputs, [definition.inputs[name].name for name in names]
    )
    return lambda **inputs: call(*(inputs[name] for name in names))


@click.command()
@click.option("--items", default=1_000_000, show_default=True)
@click.option("--dim", default=128, show_default=True)
@click.option("--queries", "num_queries", default=256, show_default=True)
@click.option("--k", default=100, show_default=True)
@click.option("--rebuild", is_flag=True, help="Also search while it is built again.")
@click.option("--frozen", is_flag=True, help="Also measure the SavedModels.")
def main(
    items: int, dim: int, num_queries: int, k: int, rebuild: bool, frozen: bool
) -> None:
    """Measure; nothing is asserted."""
    console = Console()
    vectors = made_up(items, dim, num_queries)
    candidates, queries = vectors.candidates[1:], vectors.queries[1:, 0]
    names = [f"i{row}" for row in range(1, items)]
    work = Table("", "seconds", "memory added, MiB", "longest pause, ms")
    work.title = f"{items:,} items of {dim} dimensions"
    with watched() as building:
        base = IndexedItems.build(names, candidates)
    add_work(work, "build", building)
    work.caption = f"foreseen {bytes_to_build(items, dim) / MIB:,.0f} MiB"
    index = LiveIndex(ItemIndex.of(base), fold_at=1.0)
    causes = {name: (part.start, part.stop) for name, part in vectors.causes.items()}
    recall = Table("queries", f"recall@{k}", title=str(base.searcher.settings))
    for name, weighted in interventions(queries[:, None], causes):
        recall.add_row(name, f"{recall_at(index.snapshot(), weighted, k):.4f}")
    few = max(min(BLOCK_SCORES // items, num_queries // 2), 1)
    sizes = sorted({few, min(256, len(queries))})
    speed = Table("search", "queries/s", "one query, ms p50 / p99")
    speed.title = f"{k} places; the index in batches of 256"
    exact = {
        "exact, stock operations": exact_by_operations(candidates, k),
        "exact, numpy": exact_by_numpy(candidates, k),
    }
    for name, ask in exact.items():
        for size in sizes:
            speed.add_row(
                f"{name}, batches of {size}", f"{rate(ask, queries, size):,.0f}", ""
            )
    many = np.tile(queries, (max(2048 // len(queries), 1), 1))

    def one(live: LiveIndex) -> Callable[[int], Any]:
        return lambda number: live.search(queries[number % len(queries)][None], k)

    def add_speed(name: str, live: LiveIndex) -> None:
        in_batches = rate(lambda block: live.search(block, k), many, 256)
        speed.add_row(name, f"{in_batches:,.0f}", latencies(one(live)))

    add_speed("index", index)
    with tempfile.TemporaryDirectory() as scratch:
        changed = measure_work(index, Path(scratch, "index"), work)
        add_speed("index, 1 % changed", changed)
        if rebuild:
            found, taken = asked_while(changed.rebalance, one(changed))
            add_work(work, "rebuild", found)
            speed.add_row("index, while it is rebuilt", "", taken)
        tables = [work, recall, speed]
        if frozen:
            tables.append(served(vectors, base, Path(scratch), k))
    for table in tables:
        console.print(table)


if __name__ == "__main__":
    main()
