"""Steps of methods whose users are histories, beside CauseRec's base.

    python -m tests.benchmarks.sequence_speed --work=FOLDER

Histories of twenty items out of 50,000, negatives 1,000, 64 coordinates. Each row
trains in a process of its own, and then encodes a batch of histories as serving does,
where nothing is replaced. All rows take turns, --rounds times, and what is shown is the
median over the rounds; a ratio is that of each round, so that a machine which is slower
for a while slows both sides of it. The data are drawn with a long tail, ingested and
split once into --work, and kept there. The ratio to the first row is what to compare
between machines.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console
from rich.table import Table

from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from beam_jobs.popularity import PopularityOptions
from beam_jobs.popularity import run as count_popularity
from beam_jobs.runtime.pipeline import WITHOUT_BEAM
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from tests.benchmarks.processes import run_measured
from tests.benchmarks.steps import measured_steps
from tfcausal import methods
from tfcausal.cli.options import build_options, parse_settings
from tfcausal.data.interactions import open_dataset
from tfcausal.methods.histories import HistoryMethod

import tensorflow as tf  # isort: skip

NUM_USERS, NUM_ITEMS, LENGTH = 20_000, 50_000, 40
_ENCODINGS = 200
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "base": ("causerec", {"level": "none"}),
    "causerec-item": ("causerec", {"level": "item"}),
    "causerec-interest": ("causerec", {"level": "interest"}),
    "causerec-h": ("causerec", {"level": "hierarchical"}),
    "youtube_dnn": ("youtube_dnn", {}),
    "gru4rec": ("gru4rec", {}),
    "mind": ("mind", {}),
    "comirec-sa": ("comirec", {}),
    "comirec-dr": ("comirec", {"extraction": "routing"}),
}


def prepare(work: Path) -> Path:
    """Draws, ingests and splits the data, unless that is done."""
    local = PipelineOptions([f"--runner={WITHOUT_BEAM}"])
    root = work / "dataset"
    if (root / "features" / "popularity").exists():
        return root
    work.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    # Every item once, so that the vocabulary is whole; the rest by a long tail.
    ranks = generator.pareto(1.0, (NUM_USERS, LENGTH)) * 200
    items = np.minimum(ranks, NUM_ITEMS - 1).astype(np.int64)
    items.ravel()[:NUM_ITEMS] = np.arange(NUM_ITEMS)
    lines = [
        " ".join(map(str, [user, *row]))
        for user, row in enumerate(generator.permuted(items, axis=1).tolist())
    ]
    raw = work / "sequences.txt"
    raw.write_text("\n".join(lines) + "\n", encoding="utf-8")
    ingest(IngestOptions(str(raw), "lines", root, repeats="keep"), local)
    split(SplitOptions(root, "held_out_sequences"), local)
    count_popularity(PopularityOptions(root), local)
    return root


def encoding_seconds(model: HistoryMethod, batch_size: int) -> float:
    """Returns the median seconds in which a batch of histories becomes queries."""
    histories = model.window.read_histories(model.options.max_length)
    batch = tf.constant(histories[1 : 1 + batch_size])
    encode = tf.function(model.queries_of)
    taken = []
    for _ in range(_ENCODINGS):
        begin = time.perf_counter()
        encode(batch).numpy()
        taken.append(time.perf_counter() - begin)
    # The first one traces the graph.
    return float(np.median(taken[1:]))


@click.command()
@click.option("--work", required=True, type=click.Path(path_type=Path))
@click.option("--row", "names", multiple=True, type=click.Choice(tuple(ROWS)))
@click.option("--batch_size", default=1024, show_default=True)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--set", "texts", multiple=True, help="NAME=VALUE for all rows.")
@click.option("--one", is_flag=True, hidden=True)
def main(
    work: Path,
    names: tuple[str, ...],
    batch_size: int,
    rounds: int,
    texts: tuple[str, ...],
    one: bool,
) -> None:
    """Train each row for some steps and print a table."""
    if one:
        method, fixed = ROWS[names[0]]
        given = parse_settings(texts)
        given |= {name: str(value) for name, value in fixed.items()}
        # Histories are full at twenty items before the target.
        given = {"min_length": "20", **given}
        (options,) = build_options([methods.get(method).options_class], given)
        dataset = open_dataset(prepare(work))
        model = methods.get(method).of_dataset(dataset, options)
        found = measured_steps(dataset, model, batch_size)
        print(json.dumps(found | {"encoded": encoding_seconds(model, batch_size)}))
        return
    prepare(work)
    rows = names or tuple(ROWS)
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name in rows:
            command = [sys.executable, "-m", "tests.benchmarks.sequence_speed", "--one"]
            command += [f"--work={work}", f"--row={name}", f"--batch_size={batch_size}"]
            usage = run_measured([*command, *(f"--set={text}" for text in texts)])
            found = json.loads(usage.output.splitlines()[-1])
            measured[name].append(found | {"peak": usage.peak_bytes})
    title = f"{NUM_ITEMS:,} items, histories of 20, batches of {batch_size:,}, "
    title += f"median of {rounds}" if rounds > 1 else "one run"
    table = Table(title=" ".join([title, *texts]))
    table.add_column("row")
    for column in ("ms a step", "sequences/s", "ms encoded", "peak MiB"):
        table.add_column(column, justify="right")
        if column.startswith("ms"):
            table.add_column(f"against {rows[0]}", justify="right")
    by_figure = {
        name: {
            figure: np.asarray([one[figure] for one in found]) for figure in found[0]
        }
        for name, found in measured.items()
    }
    base = by_figure[rows[0]]
    for name, of in by_figure.items():
        table.add_row(
            name,
            f"{1000 * np.median(of['step']):.1f}",
            f"{np.median(of['step'] / base['step']):.2f}",
            f"{np.median(of['rows']):,.0f}",
            f"{1000 * np.median(of['encoded']):.1f}",
            f"{np.median(of['encoded'] / base['encoded']):.2f}",
            f"{np.median(of['peak']) / 2**20:,.0f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
