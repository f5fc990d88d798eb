"""LightGCN's propagation against TensorFlow's product of a sparse and a dense matrix.

    python -m tests.benchmarks.propagation [--dim=64 --dim=128 ...]

Both take the mean of the layers over the same graph, of gowalla's size and with a long
tail. `tf.sparse.sparse_dense_matmul` has the graph of all nodes and TensorFlow's own
gradient. The figures are of one run on one machine; the ratio is what counts.
"""

import sys
import time
from collections.abc import Callable

import click
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from tests.benchmarks.processes import run_measured
from tfcausal.layers.propagation import Propagation
from tfcausal.stats.graph import Edges, edge_values

Tables = tuple[tf.Tensor, tf.Tensor]
Propagate = Callable[[tf.Tensor, tf.Tensor], Tables]

NAMES = ("sparse_dense_matmul", "Propagation")


def long_tail(users: int, items: int, edges: int) -> Edges:
    """Draws distinct pairs: users of unlike activity, items in a long tail."""
    generator = np.random.default_rng(0)
    # Names are shuffled, as those of a data set are not sorted by popularity.
    user_names = generator.permutation(users).astype(np.int32)
    item_names = generator.permutation(items).astype(np.int32)
    drawn = Edges(np.empty(0, np.int32), np.empty(0, np.int32))
    while len(drawn.rows) < edges:
        more_users = user_names[(users * generator.random(edges) ** 2).astype(int)]
        more_items = item_names[(items * generator.random(edges) ** 3).astype(int)]
        drawn = Edges.of_pairs(
            np.append(drawn.rows, more_users), np.append(drawn.columns, more_items)
        )
    kept = generator.choice(len(drawn.rows), edges, replace=False)
    return Edges.of_pairs(drawn.rows[kept], drawn.columns[kept])


def stock(edges: Edges, users: int, items: int, layers: int) -> Propagate:
    """Propagates as TensorFlow's documented operations do."""
    nodes = users + items
    whole = Edges.of_pairs(
        np.append(edges.rows, edges.columns + users),
        np.append(edges.columns + users, edges.rows),
    )
    degrees = np.bincount(whole.rows, minlength=nodes).astype(np.int32)
    graph = tf.SparseTensor(
        np.stack([whole.rows, whole.columns], axis=1).astype(np.int64),
        edge_values(
            degrees[whole.rows], degrees[whole.columns], "symmetric", self_loops=False
        ),
        (nodes, nodes),
    )

    def propagate(user_table: tf.Tensor, item_table: tf.Tensor) -> Tables:
        found = [tf.concat([user_table, item_table], axis=0)]
        for _ in range(layers):
            found.append(tf.sparse.sparse_dense_matmul(graph, found[-1]))
        mean = tf.add_n(found) / (layers + 1)
        return mean[:users], mean[users:]

    return propagate


def makers(edges: Edges, users: int, items: int, layers: int) -> dict[str, Propagate]:
    return {
        "sparse_dense_matmul": stock(edges, users, items, layers),
        "Propagation": Propagation(
            edges.rows,
            edges.columns,
            num_users=users,
            num_items=items,
            num_layers=layers,
        ),
    }


def passes(propagate: Propagate) -> tuple[Propagate, Propagate]:
    """Returns a traced forward pass, and one with the gradient behind it."""

    @tf.function
    def forward(users: tf.Tensor, items: tf.Tensor) -> Tables:
        return propagate(users, items)

    @tf.function
    def both(users: tf.Tensor, items: tf.Tensor) -> Tables:
        with tf.GradientTape() as tape:
            tape.watch((users, items))
            loss = tf.add_n([tf.nn.l2_loss(side) for side in propagate(users, items)])
        return tape.gradient(loss, (users, items))

    return forward, both


def tables(users: int, items: int, dim: int) -> Tables:
    generator = np.random.default_rng(1)
    whole = generator.normal(size=(users + items, dim)).astype(np.float32)
    return tf.constant(whole[:users]), tf.constant(whole[users:])


def seconds(work: Propagate, given: Tables) -> float:
    start = time.perf_counter()
    for side in work(*given):
        side.numpy()
    return time.perf_counter() - start


@click.command()
@click.option("--users", default=29_858, show_default=True)
@click.option("--items", default=40_981, show_default=True)
@click.option("--edges", default=810_128, show_default=True)
@click.option("--dim", "dims", multiple=True, default=(64, 128), show_default=True)
@click.option("--layers", default=3, show_default=True)
@click.option("--rounds", default=5, show_default=True, help="The best one counts.")
@click.option("--only", type=click.Choice(NAMES), help="Run one, and time nothing.")
def main(
    users: int,
    items: int,
    edges: int,
    dims: tuple[int, ...],
    layers: int,
    rounds: int,
    only: str | None,
) -> None:
    """Measure both, forward and with the gradient; nothing is asserted."""
    graph = long_tail(users, items, edges)
    works = {
        name: passes(propagate)
        for name, propagate in makers(graph, users, items, layers).items()
        if only in (None, name)
    }
    if only is not None:
        for dim in dims:
            works[only][1](*tables(users, items, dim))
        return
    for dim in dims:
        given = tables(users, items, dim)
        table = Table(
            "",
            "forward, ms",
            "ratio",
            "with gradient, ms",
            "ratio",
            "peak memory, GiB",
            title=f"{users:,} users, {items:,} items, {edges:,} edges, "
            f"{layers} layers, {dim} dimensions",
        )
        for both in works.values():
            for work in both:
                work(*given)
        times: dict[tuple[str, int], list[float]] = {}
        # In turn, so that another load on the machine meets all of them.
        for _ in range(rounds):
            for name, both in works.items():
                for number, work in enumerate(both):
                    times.setdefault((name, number), []).append(seconds(work, given))
        sizes = (f"--users={users}", f"--items={items}", f"--edges={edges}")
        for name in NAMES:
            row = []
            for number in range(2):
                best = min(times[name, number])
                ratio = min(times[NAMES[0], number]) / best
                row += [f"{best * 1000:.1f}", f"{ratio:.2f}"]
            # In a process of its own, TensorFlow and the drawing of the graph included.
            usage = run_measured(
                [
                    *(sys.executable, "-m", "tests.benchmarks.propagation", *sizes),
                    *(f"--dim={dim}", f"--layers={layers}", f"--only={name}"),
                ]
            )
            table.add_row(name, *row, f"{usage.peak_bytes / 2**30:.2f}")
        Console().print(table)
        gap = max(
            float(tf.reduce_max(tf.abs(one - other)))
            for number in range(2)
            for one, other in zip(
                *(works[name][number](*given) for name in NAMES), strict=True
            )
        )
        Console().print(f"Greatest difference of results and gradients: {gap:.1e}")


if __name__ == "__main__":
    main()
