"""The whole way on the synthetic world: every command once, then what came out.

    python examples/demo.py [--folder=demo] [--interactions=200000]

Each step is a command that can be typed by hand; it is printed before it runs.
"""

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

CONSOLE = Console(width=100)
EPOCHS = 10
TEST_SETS = {
    "test": "intervened split",
    "test_observational": "the log's own policy",
    "test_no_conformity": "do(conformity = 0)",
}
SHOWN_USERS = 3


def run(*command: str, quiet: bool = False) -> str:
    """Runs one command and returns what it printed; the demo ends where it fails."""
    shown = shlex.join(
        ["python" if part == sys.executable else part for part in command]
    )
    CONSOLE.print(f"[bold]$ {shown}[/bold]", highlight=False, soft_wrap=True)
    start = time.perf_counter()
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"The command above ended with {done.returncode}.")
    if not quiet:
        CONSOLE.print(done.stdout.rstrip(), highlight=False, soft_wrap=True)
    CONSOLE.print(f"[dim]{time.perf_counter() - start:.1f} s[/dim]\n")
    return done.stdout


def job(name: str, *flags: str) -> None:
    """Runs one Beam job."""
    run(sys.executable, "-m", f"beam_jobs.{name}", *flags)


def tfcausal(verb: str, *flags: str, quiet: bool = False) -> str:
    """Runs one verb of the command line."""
    return run(sys.executable, "-m", "tfcausal.cli", verb, *flags, quiet=quiet)


def prepare(folder: Path, interactions: int) -> Path:
    """Draws the world and runs the four jobs; returns the data set's folder."""
    world, dataset = folder / "world", folder / "dataset"
    tfcausal("synth", f"--output={world}", f"--interactions={interactions}", "--seed=0")
    job(
        "ingest",
        f"--input={world / 'log'}",
        "--format=parquet",
        f"--output={dataset}",
        "--user_column=user_id",
        "--item_column=item_id",
    )
    job("split", f"--dataset={dataset}", "--rule=intervened", "--seed=0")
    job("popularity", f"--dataset={dataset}")
    job("triplets", f"--dataset={dataset}", f"--epochs={EPOCHS}", "--seed=0")
    return dataset


def train_and_evaluate(folder: Path, dataset: Path) -> dict[str, dict[str, Any]]:
    """Fits both methods and evaluates them on every test set."""
    common = [f"--dataset={dataset}", "--seed=0", f"--set=epochs={EPOCHS}"]
    settings = {
        # MF draws its negatives while training, DICE reads those that Beam drew.
        "mf": ["--set=learning_rate=0.003", "--set=batch_size=1024"],
        "dice": [
            "--set=learning_rate=0.003",
            "--set=batch_size=1024",
            "--set=triplets=shards",
        ],
    }
    results: dict[str, dict[str, Any]] = {}
    for method, flags in settings.items():
        run_folder = folder / "runs" / method
        tfcausal("train", f"--method={method}", f"--run={run_folder}", *common, *flags)
        results[method] = {}
        for name in TEST_SETS:
            where = (
                ["--split=test"]
                if name == "test"
                else [f"--interactions={folder / 'world' / name}"]
            )
            printed = tfcausal(
                "evaluate", f"--run={run_folder}", *where, "--json", quiet=True
            )
            results[method][name] = json.loads(printed)["metrics"]
    return results


def serve(folder: Path, dataset: Path) -> None:
    """Exports DICE, indexes it, and shows recommendations by cause, also as a page."""
    root = folder / "saved_models"
    tfcausal(
        "export", f"--run={folder / 'runs' / 'dice'}", "--name=dice", f"--root={root}"
    )
    model = root / "dice" / "1"
    tfcausal("index", f"--model={model}")
    users = pq.read_table(dataset / "users.parquet")["user_id"].to_pylist()
    for user in users[1 :: len(users) // SHOWN_USERS][:SHOWN_USERS]:
        flags = [f"--model={model}", f"--user={user}", "--k=5"]
        tfcausal("recommend", *flags)
        tfcausal("recommend", *flags, "--weight", "conformity=0")
    tfcausal("report", f"--model={model}", f"--output={folder / 'report.html'}")


def summarise(results: dict[str, dict[str, Any]], folder: Path, seconds: float) -> None:
    """Prints the table at the end and where everything lies."""
    table = Table(title="Recall@20 and mean popularity of what is shown")
    table.add_column("test set")
    for method in results:
        table.add_column(f"{method} recall", justify="right")
        table.add_column(f"{method} popularity", justify="right")
    for name, meaning in TEST_SETS.items():
        cells = [f"{name}: {meaning}"]
        for metrics in results.values():
            cells.append(f"{metrics[name]['recall@20']:.4f}")
            cells.append(f"{metrics[name]['popularity@20']:.0f}")
        table.add_row(*cells)
    CONSOLE.print(table)
    CONSOLE.print(f"Done in {seconds:.0f} s. Everything lies below {folder}:")
    for path, meaning in {
        "world": "the synthetic log, its test sets and the truth behind them",
        "dataset": "what the Beam jobs made of the log",
        "runs/mf, runs/dice": "weights, vectors, metrics.json, TensorBoard logs",
        "saved_models/dice/1": "the SavedModel for TF Serving",
        "report.html": "users' lists by cause, with a slider for each weight",
    }.items():
        CONSOLE.print(f"  {path:22} {meaning}", highlight=False)


@click.command()
@click.option(
    "--folder", default="demo", show_default=True, type=click.Path(path_type=Path)
)
@click.option("--interactions", default=200_000, show_default=True)
def main(folder: Path, interactions: int) -> None:
    """Run every command once on a synthetic world; replaces FOLDER."""
    marker = folder / ".tfcausal-demo"
    if folder.exists() and not marker.exists() and any(folder.iterdir()):
        raise SystemExit(
            f"`{folder}` must be empty or an earlier demo; choose another."
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    marker.touch()
    start = time.perf_counter()
    dataset = prepare(folder, interactions)
    results = train_and_evaluate(folder, dataset)
    serve(folder, dataset)
    summarise(results, folder, time.perf_counter() - start)


if __name__ == "__main__":
    main()
