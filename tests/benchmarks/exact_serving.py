"""The exported model's exact lists against numpy's bare product and partial sort.

    python -m tests.benchmarks.exact_serving
    python -m tests.benchmarks.exact_serving --items=100000 --dim=64

Both in this process, on the same made-up vectors: the SavedModel by its signature
`recommend`, which also looks ids up, masks, and splits scores by cause. The figures are
of one run on one machine; the ratio is what counts.
"""

import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from tests.benchmarks.index_search import exact_by_numpy, made_up
from tfcausal.evaluation.ranking import ItemLists
from tfcausal.schema.vectors import CausalVectors
from tfcausal.serving.index_files import write_ids
from tfcausal.serving.signatures import ServingModel

import tensorflow as tf  # isort: skip

BATCHES = (32, 256)
_REPEATS = 7


def saved(vectors: CausalVectors, folder: Path) -> Any:
    """Returns the signature `recommend` of a model that was saved and loaded."""
    for name, rows in (("u", vectors.queries), ("i", vectors.candidates)):
        write_ids(folder / name, [f"{name}{row}" for row in range(1, len(rows))])
    model = ServingModel(
        vectors,
        users=folder / "u",
        items=folder / "i",
        seen=ItemLists.empty(len(vectors.queries)),
        popularity=np.arange(len(vectors.candidates)),
        known=np.ones(len(vectors.queries), bool),
    )
    tf.saved_model.save(model, str(folder / "model"), signatures=model.signatures())
    return tf.saved_model.load(str(folder / "model")).signatures["recommend"]


def request(users: int, k: int, vectors: CausalVectors, allowed: int) -> dict[str, Any]:
    """Returns the inputs of a request for the first users."""
    names = [f"i{row}" for row in range(1, allowed + 1)] or [""]
    return {
        "user_id": tf.constant([f"u{row}" for row in range(1, users + 1)]),
        "k": tf.constant(k),
        "do": tf.fill([users], ""),
        "exclude_item_id": tf.fill([users, 1], ""),
        "allow_item_id": tf.tile(tf.constant([names]), [users, 1]),
        "exclude_seen": tf.constant(True),
        **{f"{cause}_weight": tf.ones([users]) for cause in vectors.causes},
    }


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def seconds(ask: Callable[[], Any]) -> float:
    """Returns the middle of some calls, after one that counts for nothing."""
    ask()
    taken = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


@click.command()
@click.option("--items", default=1_000_000, show_default=True)
@click.option("--dim", default=128, show_default=True)
@click.option("--k", default=100, show_default=True)
def main(items: int, dim: int, k: int) -> None:
    """Measure; nothing is asserted."""
    vectors = made_up(items, dim, max(BATCHES) + 1)
    by_numpy = exact_by_numpy(vectors.candidates, k)
    table = Table("batch", title=f"{items:,} items of {dim} dimensions, {k} places")
    columns = ("numpy, ms", "recommend, ms", "ratio", "100 allowed, ms", "queries/s")
    for column in columns:
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as scratch:
        recommend = saved(vectors, Path(scratch))
        before = peak_gib()
        for batch in BATCHES:
            queries = vectors.queries[1 : batch + 1, 0]
            free = request(batch, k, vectors, 0)
            filtered = request(batch, k, vectors, 100)
            asked = (
                partial(by_numpy, queries),
                partial(recommend, **free),
                partial(recommend, **filtered),
            )
            taken = [seconds(ask) for ask in asked]
            table.add_row(
                str(batch),
                f"{1000 * taken[0]:,.0f}",
                f"{1000 * taken[1]:,.0f}",
                f"{taken[1] / taken[0]:.2f}",
                f"{1000 * taken[2]:,.0f}",
                f"{batch / taken[1]:,.0f}",
            )
    console = Console()
    console.print(table)
    console.print(
        f"Peak memory {peak_gib():.2f} GiB, before the requests {before:.2f}."
    )


if __name__ == "__main__":
    main()
