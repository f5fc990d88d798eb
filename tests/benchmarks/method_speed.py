"""Seconds an epoch and peak memory of every method on every backbone.

    python -m tests.benchmarks.method_speed --dataset=DATASET [--method=dice ...]

DATASET is a folder that ingest, split and popularity have filled. Each method trains in
a process of its own with as many coordinates in all as any other; what its data set
lacks (time slots, intervened rows) is said and left out. A triplet is a positive with
one of its negatives; a softmax has as many as positives. Figures are of one run; the
ratio to `mf` is what to compare between machines.
"""

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tests.benchmarks.processes import run_measured
from tests.benchmarks.steps import measured_steps
from tfcausal import methods
from tfcausal.cli.options import build_options, parse_settings
from tfcausal.data.interactions import open_dataset
from tfcausal.errors import InputError
from tfcausal.methods.triplets import TripletMethod
from tfcausal.schema.options import field_types


def options_of(name: str, dim: int, settings: dict[str, str]) -> Any:
    """Returns a method's options with `dim` coordinates over all causes."""
    options_class = methods.get(name).options_class
    causes = 2 if name in ("dice", "dccl") else 1
    own = {
        key: text for key, text in settings.items() if key in field_types(options_class)
    }
    return build_options([options_class], own, embedding_dim=dim // causes)[0]


def measure(
    dataset: Path, name: str, batch_size: int, dim: int, settings: dict[str, str]
) -> None:
    """Times the steps of one method and prints what it found as JSON."""
    opened = open_dataset(dataset)
    try:
        own = options_of(name, dim, settings)
        model = methods.get(name).of_dataset(opened, own)
        found: dict[str, Any] = measured_steps(opened, model, batch_size)
        sampling = model.negative_sampling()
        found["triplets"] = found["rows"] * (sampling.num_negatives if sampling else 1)
    except InputError as error:
        found = {"lacks": str(error)}
    print(json.dumps(found))


@click.command()
@click.option("--dataset", required=True, type=click.Path(path_type=Path))
@click.option("--method", "chosen", multiple=True, help="May be given again and again.")
@click.option("--backbone", "backbones", multiple=True, default=("mf", "lightgcn"))
@click.option("--batch_size", "sizes", type=int, multiple=True, default=(2048, 8192))
@click.option("--dim", default=128, show_default=True, help="Coordinates in all.")
@click.option(
    "--set", "texts", multiple=True, help="NAME=VALUE for methods that have it."
)
@click.option("--one", is_flag=True, hidden=True)
def main(
    dataset: Path,
    chosen: tuple[str, ...],
    backbones: tuple[str, ...],
    sizes: tuple[int, ...],
    dim: int,
    texts: tuple[str, ...],
    one: bool,
) -> None:
    """Train every method for some steps and print a table."""
    if one:
        settings = parse_settings([f"backbone={backbones[0]}", *texts])
        measure(dataset, chosen[0], sizes[0], dim, settings)
        return
    table = Table(title=" ".join([f"{dim} coordinates in all", *texts]))
    for column in (
        *("method", "backbone", "batch", "ms a step", "s an epoch", "triplets/s"),
        *("against mf", "peak MiB"),
    ):
        left = column in ("method", "backbone")
        table.add_column(column, justify="left" if left else "right")
    console = Console(stderr=True)
    for backbone in backbones:
        for size in sizes:
            base = 0.0
            for name in chosen or _with_rows():
                command = [sys.executable, "-m", "tests.benchmarks.method_speed"]
                command += ["--one", f"--dataset={dataset}", f"--method={name}"]
                command += [f"--backbone={backbone}", f"--batch_size={size}"]
                command += [f"--dim={dim}", *(f"--set={text}" for text in texts)]
                usage = run_measured(command)
                found = json.loads(usage.output.splitlines()[-1])
                if "lacks" in found:
                    console.print(f"{name}: {found['lacks']}")
                    continue
                base = base or found["step"]
                table.add_row(
                    name,
                    backbone,
                    f"{size:,}",
                    f"{1000 * found['step']:.1f}",
                    f"{found['epoch']:.1f}",
                    f"{found['triplets']:,.0f}",
                    f"{found['step'] / base:.2f}",
                    f"{usage.peak_bytes / 2**20:,.0f}",
                )
                console.print(f"{name}, {backbone}, {size}: {found['epoch']:.1f} s")
    Console().print(table)


def _with_rows() -> list[str]:
    """Returns the methods whose users have a row in a table, `mf` first."""
    found = [
        name for name in methods.names() if issubclass(methods.get(name), TripletMethod)
    ]
    return sorted(found, key="mf".__ne__)


if __name__ == "__main__":
    main()
