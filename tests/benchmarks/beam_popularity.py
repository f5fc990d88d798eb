"""Counting item popularity in Beam: whole row groups against a pipeline per row.

    python -m tests.benchmarks.beam_popularity --rows=20000000

Each pipeline runs in a process of its own, so that its memory can be told; the time is
that of the pipeline, without imports. Asserts that both count the same, nothing else.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from beam_jobs.runtime.pipeline import LOCAL_RUNNER
from beam_jobs.transforms.popularity import CountPopularity, ReadRowGroups
from tests.benchmarks.processes import run_measured

NUM_USERS = 100_000
NUM_ITEMS = 50_000
NUM_FILES = 8
ROW_GROUP_SIZE = 131_072


def write_rows(folder: Path, num_rows: int) -> None:
    """Writes rows whose items have a long tail, as a split writes its parts."""
    for number in range(NUM_FILES):
        generator = np.random.default_rng(number)
        size = num_rows * (number + 1) // NUM_FILES - num_rows * number // NUM_FILES
        items = np.minimum(generator.pareto(0.8, size) * 40 + 1, NUM_ITEMS - 1)
        table = pa.table(
            {
                "user": generator.integers(1, NUM_USERS, size).astype(np.int32),
                "item": items.astype(np.int32),
            }
        )
        path = folder / f"part-{number:05d}.parquet"
        pq.write_table(table, path, row_group_size=ROW_GROUP_SIZE)


def in_row_groups(pipeline: beam.Pipeline, folder: Path) -> beam.PCollection:
    """Counts as beam_jobs.popularity does."""
    paths = sorted(folder.glob("*.parquet"))
    return (
        pipeline
        | ReadRowGroups(paths, ["item"])
        | CountPopularity(NUM_ITEMS)
        | "AsPairs" >> beam.Map(_as_pairs)
    )


def row_by_row(pipeline: beam.Pipeline, folder: Path) -> beam.PCollection:
    """Counts as one writes it first."""
    return (
        pipeline
        | beam.io.ReadFromParquet(str(folder / "*.parquet"), columns=["item"])
        | "OneEach" >> beam.Map(_one_each)
        | "Sum" >> beam.CombinePerKey(sum)
        | "Together" >> beam.combiners.ToList()
    )


def _as_pairs(counts: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    met = np.flatnonzero(counts)
    return list(zip(met.tolist(), counts[met].tolist(), strict=True))


def _one_each(row: dict[str, int]) -> tuple[int, int]:
    return row["item"], 1


def _checksum(pairs: Iterable[tuple[int, int]], path: Path) -> None:
    ordered = sorted(pairs)
    total = sum(count for _, count in ordered)
    digest = hash(tuple(ordered))
    path.write_text(json.dumps({"rows": total, "digest": digest}))


VARIANTS = {"row by row": row_by_row, "in row groups": in_row_groups}


def run_one(variant: str, folder: Path, result: Path) -> None:
    """Runs one pipeline in this process and writes what it counted and took."""
    begin = time.perf_counter()
    with beam.Pipeline(runner=LOCAL_RUNNER) as pipeline:
        counts = VARIANTS[variant](pipeline, folder)
        _ = counts | "Checksum" >> beam.Map(_checksum, result)
    seconds = time.perf_counter() - begin
    result.write_text(json.dumps(json.loads(result.read_text()) | {"seconds": seconds}))


@dataclass(frozen=True)
class Measurement:
    """What one pipeline took: rows, seconds, bytes, and a digest of its counts."""

    rows: int
    seconds: float
    peak_bytes: int
    digest: int


def measure(variant: str, folder: Path) -> Measurement:
    """Runs one pipeline in its own process and watches the memory of its tree."""
    result = folder / "result.json"
    command = [sys.executable, "-m", "tests.benchmarks.beam_popularity"]
    command += [f"--variant={variant}", f"--folder={folder}", f"--result={result}"]
    peak = run_measured(command).peak_bytes
    content = json.loads(result.read_text())
    return Measurement(content["rows"], content["seconds"], peak, content["digest"])


def main() -> None:
    """Measures both pipelines and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        run_one(arguments.variant, arguments.folder, arguments.result)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder), arguments.rows)
        found = {name: measure(name, Path(folder)) for name in VARIANTS}
    first = found["row by row"]
    table = Table(title=f"Item popularity of {arguments.rows:,} rows")
    for column in ("pipeline", "rows/s", "seconds", "times as fast", "peak MiB"):
        table.add_column(column, justify="left" if column == "pipeline" else "right")
    for name, result in found.items():
        if (result.rows, result.digest) != (first.rows, first.digest):
            raise RuntimeError(f"{name} counted something else")
        table.add_row(
            name,
            f"{result.rows / result.seconds:,.0f}",
            f"{result.seconds:.2f}",
            f"{first.seconds / result.seconds:.1f}",
            f"{result.peak_bytes / 2**20:.0f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
