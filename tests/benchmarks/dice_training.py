"""How fast DICE trains: with the row-sparse Adam, with the stock one, and its sampler.

    python -m tests.benchmarks.dice_training [--users=150000 --items=50000 ...]

The stock Adam is what `model.compile(optimizer="adam")` gives. All rows of the table
come from one process and one run; ratios are what to compare between machines.
"""

import resource
import time
from collections.abc import Callable
from typing import Any

import click
import numpy as np
import rich.console
import rich.table

from tfcausal import methods
from tfcausal.data.interactions import Interactions
from tfcausal.data.training_rows import PositivesInMemory
from tfcausal.keras_compat import keras
from tfcausal.methods.dice import DICEOptions
from tfcausal.samplers.batches import TripletBatches
from tfcausal.samplers.negatives import NegativeSampler
from tfcausal.stats.negatives import Catalogue, Positives
from tfcausal.training.optimizers import RowSparseAdam


def interactions(users: int, items: int, rows: int) -> Interactions:
    """Draws distinct interactions with users even and items in a long tail."""
    generator = np.random.default_rng(0)
    drawn_users = generator.integers(1, users + 1, rows)
    drawn_items = 1 + (items * generator.random(rows) ** 3).astype(np.int64)
    pairs = np.unique((drawn_users << 32) | drawn_items)
    pairs = generator.permutation(pairs)
    return Interactions(
        (pairs >> 32).astype(np.int32),
        (pairs & 0xFFFFFFFF).astype(np.int32),
        None,
        np.asarray([len(pairs)]),
    )


def seconds(action: Callable[[], object], times: int) -> float:
    """Returns the median seconds of an action, the first two runs left out."""
    taken = []
    for _ in range(times + 2):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[2:]))


@click.command()
@click.option("--users", default=150_000, show_default=True)
@click.option("--items", default=50_000, show_default=True)
@click.option("--rows", default=5_000_000, show_default=True)
@click.option("--triplets", default=8_192, show_default=True, help="In a batch.")
@click.option("--steps", default=40, show_default=True, help="Steps that are timed.")
def main(users: int, items: int, rows: int, triplets: int, steps: int) -> None:
    """Time DICE's training step, optimisers side by side, and its sampler alone."""
    log = interactions(users, items, rows)
    popularity = np.bincount(log.items, minlength=items + 1).astype(np.int64)
    catalogue = Catalogue.from_popularity(popularity)
    options = DICEOptions(embedding_dim=64, discrepancy_rows=512)
    sampler = NegativeSampler(
        catalogue,
        Positives.from_rows(log.users, log.items, catalogue),
        num_users=users + 1,
        num_negatives=options.num_negatives,
    )

    def model() -> Any:
        return methods.get("dice")(options, num_users=users + 1, num_items=items + 1)

    sampling = model().negative_sampling()
    batches = TripletBatches(
        PositivesInMemory(log, seed=0),
        sampling,
        popularity,
        sampler,
        seed=0,
        batch_size=triplets // options.num_negatives,
    )
    table = rich.table.Table(title=f"DICE, 64 + 64 dims, {triplets:,} triplets a step")
    for column in ("what", "ms a step", "triplets a second", "against stock Adam"):
        table.add_column(column, justify="left" if column == "what" else "right")
    measured: dict[str, float] = {}
    optimizers = {
        "fit, stock Adam": keras.optimizers.Adam(1e-3, amsgrad=True, jit_compile=False),
        "fit, row-sparse Adam": RowSparseAdam(1e-3, amsgrad=True),
    }
    for name, optimizer in optimizers.items():
        trained = model()
        trained.compile(optimizer=optimizer, steps_per_execution=10)
        dataset = iter(batches.dataset(0, 100))
        trained.make_train_function()
        measured[name] = (
            seconds(
                lambda run=trained, data=dataset: run.train_function(data), steps // 10
            )
            / 10
        )
    drawn = iter(batches.dataset(0, 100))
    measured["sampler and input alone"] = (
        seconds(lambda: [next(drawn) for _ in range(40)], 10) / 40
    )
    stock = measured["fit, stock Adam"]
    for name, taken in measured.items():
        table.add_row(
            name,
            f"{1000 * taken:.2f}",
            f"{triplets / taken:,.0f}",
            f"{stock / taken:.1f}x as fast" if name.startswith("fit") else "",
        )
    console = rich.console.Console()
    console.print(table)
    share = measured["sampler and input alone"] / measured["fit, row-sparse Adam"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    console.print(
        f"The sampler and the input take {share:.1%} of a row-sparse step. "
        f"{users:,} users, {items:,} items, {len(log):,} interactions; peak memory "
        f"{peak:.1f} GiB."
    )


if __name__ == "__main__":
    main()
