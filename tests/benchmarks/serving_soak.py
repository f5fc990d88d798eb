"""Serving under mixed requests while versions are swapped and items come and go.

    python -m tests.benchmarks.serving_soak --minutes=10

Clients ask a server of TensorFlow Serving's protocol, a process of its own, for lists,
explanations and vectors, while the label that they ask for moves between two versions;
others search a LiveIndex in this process while items are upserted and deleted. All on
the loopback address. An answer counts as wrong if it is an error, lists an item twice,
one that is excluded or not allowed, or one whose deletion had returned before the
search began. Prints what was asked and answered, and memory over time.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import grpc
import numpy as np
import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.datasets import write_dataset
from tests.runs import random_vectors, write_run
from tfcausal.schema.vectors import Float32s
from tfcausal.serving.export import export
from tfcausal.serving.index import build_index
from tfcausal.serving.live_index import LiveIndex
from tfcausal.serving.models_config import write_config
from tfcausal.serving.versions import index_folder

import tensorflow as tf  # isort: skip
from tensorflow_serving.apis import (  # isort: skip
    predict_pb2,
    prediction_service_pb2_grpc,
)

_SERVER = Path(__file__).parents[1] / "serving" / "prediction_server.py"
_SWAP_SECONDS = 5.0
_CHANGES_PER_MINUTE = 1000
_CHANGE_SECONDS = 0.6
_MIB = 2**20


@dataclass
class Tally:
    """What came of one kind of request.

    Attributes:
        milliseconds: Of each request.
        wrong: What was wrong, a line each.
    """

    milliseconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Catalogue:
    """Which items are gone for good; deletions are noted once they have returned."""

    def __init__(self, index: LiveIndex) -> None:
        self.index = index
        self.dim = index.snapshot().dim
        self.gone: set[str] = set()
        self.changes = 0

    def change(self, rng: np.random.Generator, count: int) -> None:
        """Upserts new items and deletes as many of those that were new before."""
        names = [f"new {self.changes + place}" for place in range(count)]
        vectors = rng.normal(size=(count, self.dim)).astype(np.float32)
        self.index.upsert(names, vectors)
        old = [f"new {self.changes - count + place}" for place in range(count)]
        self.index.delete(old)
        # A new set, so that a search may keep the one of its beginning.
        self.gone = {*self.gone, *old}
        self.changes += count


def prepared(root: Path, users: int, items: int) -> LiveIndex:
    """Exports two versions and indexes the first."""
    dataset = write_dataset(root / "data", num_users=users, num_items=items)
    for seed in (0, 1):
        vectors = random_vectors(
            users, items, causes={"interest": 32, "conformity": 32}, seed=seed
        )
        run = write_run(root / f"run-{seed}", dataset, vectors)
        version = export(run, "dice", root / "models")
    build_index(version, floor=0.5)
    return LiveIndex.open(index_folder(version))


@contextmanager
def served(root: Path) -> Iterator[tuple[int, str]]:
    """Starts the server; yields its process and its address."""
    with subprocess.Popen(
        [sys.executable, "-I", str(_SERVER), str(root / "models.config")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["grpc"]
        yield process.pid, f"127.0.0.1:{port}"
        process.communicate()


def request(signature: str, inputs: dict[str, Any]) -> Any:
    """Returns a PredictRequest to the version that has the label."""
    asked = predict_pb2.PredictRequest()
    asked.model_spec.name = "dice"
    asked.model_spec.version_label = "stable"
    asked.model_spec.signature_name = signature
    for name, values in inputs.items():
        asked.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return asked


class Client:
    """Asks the server for something else each time."""

    def __init__(self, address: str, users: int, items: int, seed: int) -> None:
        self._channel = grpc.insecure_channel(address)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._rng = np.random.default_rng(seed)
        self._users, self._items = users, items

    def ask(self) -> str | None:
        """Returns what was wrong with the answer."""
        kinds: list[Callable[[], str | None]] = [
            self._lists,
            self._pairs,
            self._vectors,
        ]
        kind = kinds[self._rng.choice(3, p=(0.7, 0.2, 0.1))]
        try:
            return kind()
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"

    def _drawn(self, kind: str, count: int, most: int) -> list[str]:
        return [f"{kind}{row}" for row in self._rng.integers(1, most, count).tolist()]

    def _lists(self) -> str | None:
        rows = int(self._rng.integers(1, 5))
        excluded = [self._drawn("i", 20, self._items) for _ in range(rows)]
        limited = self._rng.random() < 0.2
        allowed = [self._drawn("i", 50, self._items) if limited else [""] * 50] * rows
        answer = self._stub.Predict(
            request(
                "recommend",
                {
                    "user_id": self._drawn("u", rows, self._users),
                    "k": np.int32(self._rng.integers(1, 100)),
                    "do": ["interest_only" if self._rng.random() < 0.3 else ""] * rows,
                    "exclude_item_id": excluded,
                    "allow_item_id": allowed,
                    "exclude_seen": True,
                    "interest_weight": np.ones(rows, np.float32),
                    "conformity_weight": self._rng.random(rows).astype(np.float32),
                },
            )
        )
        lists = tf.make_ndarray(answer.outputs["item_id"])
        for row in range(rows):
            items = [item.decode() for item in lists[row] if item]
            if len(set(items)) != len(items) or set(items) & set(excluded[row]):
                return f"an excluded item, or one twice: {items}"
            if limited and not set(items) <= set(allowed[row]):
                return f"an item that is not allowed: {items}"
        return None

    def _pairs(self) -> str | None:
        inputs = {
            "user_id": self._drawn("u", 3, self._users),
            "item_id": self._drawn("i", 3, self._items),
        }
        outputs = self._stub.Predict(request("explain", inputs)).outputs
        score, *terms = (
            tf.make_ndarray(outputs[name])
            for name in ("score", "score_interest", "score_conformity")
        )
        known = tf.make_ndarray(outputs["known_user"])
        close = np.isclose(score, sum(terms), rtol=1e-3, atol=1e-3)
        return None if close[known].all() else f"causes do not add up: {inputs}"

    def _vectors(self) -> str | None:
        inputs = {"user_id": self._drawn("u", 2, self._users)}
        outputs = self._stub.Predict(request("user_embedding", inputs)).outputs
        finite = np.isfinite(tf.make_ndarray(outputs["embedding"])).all()
        return None if finite else f"not finite: {inputs}"


class Searcher:
    """Searches the index while it changes."""

    def __init__(self, catalogue: Catalogue, seed: int) -> None:
        self._catalogue = catalogue
        self._rng = np.random.default_rng(seed)

    def ask(self) -> str | None:
        """Returns what was wrong with the lists."""
        gone = self._catalogue.gone
        queries: Float32s = self._rng.normal(size=(4, self._catalogue.dim)).astype(
            np.float32
        )
        for found in self._catalogue.index.search(queries, 100):
            stale = {item for item, _ in found} & gone
            if len(found) != 100 or stale:
                return f"{len(found)} items, of them deleted: {sorted(stale)[:5]}"
        return None


def repeated(
    ask: Callable[[], str | None], tally: Tally, done: threading.Event
) -> None:
    """Asks until it is done; whatever is raised counts as wrong."""
    while not done.is_set():
        start = time.perf_counter()
        try:
            wrong = ask()
        except Exception as error:
            wrong = repr(error)
        tally.milliseconds.append(1000 * (time.perf_counter() - start))
        if wrong is not None:
            tally.wrong.append(wrong)


def swap(root: Path, done: threading.Event, swaps: list[int]) -> None:
    """Moves the label to and fro; without it the first version is unloaded."""
    while not done.wait(_SWAP_SECONDS):
        swaps.append(2 - len(swaps) % 2)
        write_config(root, {"dice": {"stable": swaps[-1]}}, str(root))


def churn(catalogue: Catalogue, done: threading.Event) -> None:
    """Upserts and deletes so many items a minute."""
    rng = np.random.default_rng(0)
    count = round(_CHANGES_PER_MINUTE * _CHANGE_SECONDS / 60)
    while not done.wait(_CHANGE_SECONDS):
        catalogue.change(rng, count)


def memory(pid: int) -> tuple[float, float]:
    """Returns MiB of the server and of this process."""
    server, here = (psutil.Process(one).memory_info().rss / _MIB for one in (pid, None))
    return server, here


@click.command()
@click.option("--minutes", default=10.0, show_default=True)
@click.option("--users", default=2000, show_default=True)
@click.option("--items", default=30_000, show_default=True)
@click.option("--clients", default=3, show_default=True)
def main(minutes: float, users: int, items: int, clients: int) -> None:
    """Ask, change and count; exits with 1 if an answer was wrong."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        catalogue = Catalogue(prepared(scratch, users, items))
        root = scratch / "models"
        write_config(root, {"dice": {"stable": 1}}, str(root))
        pid, address = stack.enter_context(served(root))
        tallies = {"requests by gRPC": Tally(), "searches of the index": Tally()}
        asks = [
            *(
                (Client(address, users, items, seed).ask, "requests by gRPC")
                for seed in range(clients)
            ),
            (Searcher(catalogue, 1).ask, "searches of the index"),
        ]
        done, swaps = threading.Event(), list[int]()
        threads = [
            threading.Thread(target=repeated, args=(ask, tallies[kind], done))
            for ask, kind in asks
        ]
        threads.append(threading.Thread(target=swap, args=(root, done, swaps)))
        threads.append(threading.Thread(target=churn, args=(catalogue, done)))
        for thread in threads:
            thread.start()
        sizes = []
        for _ in track(
            range(round(60 * minutes)), "Serving", console=Console(stderr=True)
        ):
            time.sleep(1)
            sizes.append(memory(pid))
        ended = [thread.name for thread in threads if not thread.is_alive()]
        done.set()
        for thread in threads:
            thread.join()
    if ended:
        raise RuntimeError(f"Threads must go on to the end; these ended: {ended}")
    _print(tallies, np.asarray(sizes), len(swaps), catalogue.changes)
    if any(tally.wrong for tally in tallies.values()):
        sys.exit(1)


def _print(tallies: dict[str, Tally], sizes: Any, swaps: int, changes: int) -> None:
    console = Console()
    table = Table("", title=f"{swaps} swaps, {changes:,} items upserted and deleted")
    for column in ("number", "wrong", "ms p50", "ms p99"):
        table.add_column(column, justify="right")
    for kind, tally in tallies.items():
        half, most = np.percentile(tally.milliseconds, [50, 99])
        table.add_row(
            kind,
            f"{len(tally.milliseconds):,}",
            f"{len(tally.wrong):,}",
            f"{half:.1f}",
            f"{most:.1f}",
        )
    console.print(table)
    shares = np.array_split(sizes, 5)
    growth = Table("MiB in the mean", title="Memory, by fifths of the time")
    for place in range(len(shares)):
        growth.add_column(str(place + 1), justify="right")
    for row, name in enumerate(("server", "index and clients")):
        growth.add_row(name, *(f"{share[:, row].mean():,.0f}" for share in shares))
    console.print(growth)
    for kind, tally in tallies.items():
        for line in sorted(set(tally.wrong))[:5]:
            console.print(f"{kind}: {line}")


if __name__ == "__main__":
    main()
