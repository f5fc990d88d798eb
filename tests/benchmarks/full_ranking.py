"""Full ranking of many users by many items against the bare matrix product.

    python -m tests.benchmarks.full_ranking

Both work in the same blocks of users. The figures are of one run on one machine; the
ratio is what counts.
"""

import resource
import time

import click
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from tfcausal.data.interactions import Interactions
from tfcausal.evaluation import ranking
from tfcausal.evaluation.evaluator import EvaluationSet, evaluate
from tfcausal.schema.protocol import protocol
from tfcausal.schema.vectors import CausalVectors


def random_vectors(users: int, items: int, dim: int) -> CausalVectors:
    rng = np.random.default_rng(0)
    return CausalVectors(
        rng.normal(size=(users, 1, dim)).astype(np.float32),
        rng.normal(size=(items, dim)).astype(np.float32),
        {"interest": slice(0, dim // 2), "conformity": slice(dim // 2, dim)},
    )


def random_rows(users: int, items: int, each: int, seed: int) -> Interactions:
    rng = np.random.default_rng(seed)
    by_user = np.repeat(np.arange(1, users, dtype=np.int32), each)
    drawn = 1 + (rng.random(len(by_user)) ** 3 * (items - 1)).astype(np.int32)
    return Interactions(by_user, drawn, None, np.asarray([len(by_user)]))


def matrix_product(vectors: CausalVectors) -> None:
    candidates = tf.constant(vectors.candidates)
    size = ranking.BLOCK_SCORES // len(vectors.candidates)
    for first in range(0, len(vectors.queries), size):
        queries = tf.constant(vectors.queries[first : first + size, 0])
        tf.matmul(queries, candidates, transpose_b=True)


def seconds(work: object) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


@click.command()
@click.option("--users", default=30_000, show_default=True)
@click.option("--items", default=40_000, show_default=True)
@click.option("--dim", default=128, show_default=True)
@click.option("--history", default=40, show_default=True, help="Masked items a user.")
@click.option("--rounds", default=3, show_default=True, help="The best one counts.")
def main(users: int, items: int, dim: int, history: int, rounds: int) -> None:
    """Measure; nothing is asserted."""
    vectors = random_vectors(users, items, dim)
    against = EvaluationSet.from_interactions(
        random_rows(users, items, 5, seed=1),
        random_rows(users, items, history, seed=2),
        np.arange(items, 0, -1),
        users,
    )
    everyone = np.arange(1, users, dtype=np.int32)
    works = {
        "matrix product": lambda: matrix_product(vectors),
        "ranking": lambda: [
            len(block.users)
            for block in ranking.rank_all(vectors, everyone, against.masked, 50)
        ],
        "evaluation": lambda: evaluate(vectors, against, protocol("dice")),
    }
    evaluate(vectors, against, protocol("dice"), users=everyone[:2_000])
    table = Table(
        "",
        "seconds",
        "ratio",
        "peak memory, GiB",
        title=f"{users:,} users, {items:,} items, {dim} dimensions, top 50",
    )
    times: dict[str, list[float]] = {name: [] for name in works}
    peaks: dict[str, float] = {}
    # In turn, so that another load on the machine meets all of them.
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work))
            peaks.setdefault(name, peak_gib())
    bare = min(times["matrix product"])
    for name, measured in times.items():
        best = min(measured)
        table.add_row(name, f"{best:.2f}", f"{best / bare:.2f}", f"{peaks[name]:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
