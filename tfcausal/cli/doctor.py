"""`tfcausal doctor`: does this installation work, and what to do where it does not.

What may crash or hang is tried in processes of its own with a time limit: a ScaNN built
for another TensorFlow, or a CPU that lacks an instruction, ends the process it is in.
"""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from typing import Any, Literal

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tfcausal.serving.memory import control_folders, memory_limit

OK: Literal["ok"] = "ok"
WARNING: Literal["warning"] = "warning"
FAILED: Literal["FAILED"] = "FAILED"
COLOURS = {OK: "green", WARNING: "yellow", FAILED: "bold red"}
TIME_LIMIT = (
    180.0  # seconds; TensorFlow alone takes fifteen to import on a busy machine
)
WIDTH_OF_A_PIPE = 200  # columns; a check then stays on one line
GIB = 2**30
ENOUGH_MEMORY = 4 * GIB
ENOUGH_DISK = 5 * GIB
REINSTALL = "Run `make venv` in a checkout, or `pip install --upgrade tfcausal`."
EXTRAS = {
    "gcp": "lets Beam reach Dataflow and Google Cloud Storage",
    "plots": "draws figures",
    "serving": "writes and sends TF Serving's requests",
}

KERAS_PROBE = """
import json
from tfcausal.keras_compat import keras, ops
import tensorflow as tf
if tf.keras.Model is not keras.Model:
    raise ImportError(f"tf.keras is Keras {tf.keras.__version__}, not tf_keras.")
if not tf.is_tensor(ops.softplus(tf.zeros([1]))):
    raise ImportError("Keras 3 runs on another backend than TensorFlow.")
print(json.dumps(f"tf_keras {keras.__version__} for models, keras.ops for losses"))
"""
RECOMMENDERS_PROBE = """
import json
from tfcausal.keras_compat import keras, tfrs
if not issubclass(tfrs.Model, keras.Model):
    raise ImportError("tfrs.Model is not a model of tf_keras.")
print(json.dumps("imports; its models are models of tf_keras"))
"""
SCANN_PROBE = """
import json
import numpy as np
from scann.scann_ops.py import scann_ops, scann_ops_pybind
rows = np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32)
expected = (rows[:4] @ rows.T).argmax(axis=1).tolist()
for name, module in (("operation", scann_ops), ("library", scann_ops_pybind)):
    searcher = module.builder(rows, 3, "dot_product").score_brute_force().build()
    found = np.asarray(searcher.search_batched(rows[:4])[0])[:, 0].tolist()
    if found != expected:
        raise ValueError(f"ScaNN's {name} answered {found} for {expected}.")
print(json.dumps("operation and library found the nearest of 100 vectors"))
"""
BEAM_PROBE = """
import json
import logging
logging.disable(logging.WARNING)
import apache_beam as beam
from apache_beam.testing.util import assert_that, equal_to
with beam.Pipeline(runner="FnApiRunner") as pipeline:
    counts = pipeline | beam.Create(list("abca")) | beam.combiners.Count.PerElement()
    assert_that(counts, equal_to([("a", 2), ("b", 1), ("c", 1)]))
print(json.dumps("FnApiRunner counted four elements"))
"""
PROBES = (
    ("Keras", KERAS_PROBE, "Unset TF_USE_LEGACY_KERAS and KERAS_BACKEND. " + REINSTALL),
    ("TensorFlow Recommenders", RECOMMENDERS_PROBE, REINSTALL),
    (
        "ScaNN",
        SCANN_PROBE,
        "ScaNN must be the one built for this TensorFlow: pip install 'scann[tf]'.",
    ),
    ("Beam", BEAM_PROBE, REINSTALL),
)


@dataclass(frozen=True)
class Check:
    """What was looked at, how it stands, what was found, and what to do."""

    name: str
    status: Literal["ok", "warning", "FAILED"]
    found: str
    advice: str = ""


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Check this installation: versions, Keras, ScaNN, Beam, memory, disk.

    Ends with 0 where nothing failed, else with 1. Warnings do not count.
    """
    progress = Console(stderr=True)
    with progress.status("Trying Keras, ScaNN and Beam ..."):
        checks = all_checks()
    well = all(check.status != FAILED for check in checks)
    if as_json:
        report = {"ok": well, "checks": [asdict(check) for check in checks]}
        click.echo(json.dumps(report, indent=2))
    else:
        _print(checks)
    ctx.exit(0 if well else 1)


def all_checks() -> list[Check]:
    """Runs every check; those that start processes run side by side."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        tried = pool.map(lambda probe: try_script(*probe), PROBES)
        return [
            *check_versions(),
            check_backend(),
            *tried,
            check_cores(),
            check_memory(),
            check_disk(Path.cwd()),
        ]


def check_versions(package: str = "tfcausal") -> Iterator[Check]:
    """Compares Python and the stack with the ranges that a package's metadata give."""
    try:
        from packaging.requirements import Requirement
        from packaging.specifiers import SpecifierSet

        own = metadata(package)
    except (ImportError, PackageNotFoundError) as error:
        yield Check(package, FAILED, f"versions cannot be checked: {error}", REINSTALL)
        return
    wanted = own["Requires-Python"] or ""
    python = platform.python_version()
    fits = SpecifierSet(wanted).contains(python, prereleases=True)
    yield (
        Check("Python", OK, f"{python}, {sys.executable}")
        if fits
        else Check("Python", FAILED, python, f"Install Python {wanted}.")
    )
    yield Check(package, OK, version(package))
    requirements = [Requirement(text) for text in own.get_all("Requires-Dist") or []]
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield _check_requirement(requirement)
    for extra, purpose in EXTRAS.items():
        for requirement in requirements:
            marker = requirement.marker
            if marker is None or marker.evaluate({"extra": ""}):
                continue
            if marker.evaluate({"extra": extra}):
                yield _check_extra(requirement, extra, purpose)


def _check_requirement(requirement: Any) -> Check:
    wanted = f"{requirement.name}{requirement.specifier}"
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return Check(requirement.name, FAILED, "not installed", f"Install {wanted}.")
    if not requirement.specifier.contains(found, prereleases=True):
        return Check(requirement.name, FAILED, found, f"Install {wanted}.")
    return Check(requirement.name, OK, found)


def _check_extra(requirement: Any, extra: str, purpose: str) -> Check:
    """An extra may be missing, but what is there must fit."""
    name = f"extra [{extra}]"
    advice = f"pip install 'tfcausal[{extra}]' {purpose}."
    missing = [
        part for part in _with_its_extras(requirement) if not _is_installed(part)
    ]
    if missing:
        return Check(name, OK, f"not installed: {missing[0]}", advice)
    found = version(requirement.name)
    if not requirement.specifier.contains(found, prereleases=True):
        wanted = f"{requirement.name}{requirement.specifier}"
        return Check(name, WARNING, f"{requirement.name} {found}", f"Install {wanted}.")
    return Check(name, OK, f"{requirement.name} {found}")


def _with_its_extras(requirement: Any) -> Iterator[str]:
    """Yields a requirement's name and what its own extras, as in beam[gcp], need."""
    from packaging.requirements import Requirement

    yield requirement.name
    if not _is_installed(requirement.name):
        return
    for text in metadata(requirement.name).get_all("Requires-Dist") or []:
        part = Requirement(text)
        if part.marker is None or part.marker.evaluate({"extra": ""}):
            continue
        if any(part.marker.evaluate({"extra": extra}) for extra in requirement.extras):
            yield part.name


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def check_backend() -> Check:
    """Looks at the variable by which Keras 3 picks its backend."""
    backend = os.environ.get("KERAS_BACKEND")
    if backend in (None, "", "tensorflow"):
        return Check("KERAS_BACKEND", OK, backend or "not set")
    advice = "Unset it: models need TensorFlow. Only the losses work with another."
    return Check("KERAS_BACKEND", FAILED, str(backend), advice)


def try_script(
    name: str, script: str, advice: str, *, limit: float = TIME_LIMIT
) -> Check:
    """Runs a script in a process of its own, which prints its finding as JSON.

    Args:
        name: The check's name.
        script: Python source; its last line of output is a JSON string.
        advice: What to do where it fails.
        limit: Seconds until the process is ended.
    Returns:
        The check: the script's finding, or the last line of its error.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Check(name, FAILED, f"no answer within {limit:g} s", advice)
    if done.returncode < 0:
        found = f"ended by {signal.Signals(-done.returncode).name}"
        return Check(name, FAILED, found, advice)
    if done.returncode:
        return Check(name, FAILED, _last_line(done.stderr) or "no message", advice)
    return Check(name, OK, json.loads(_last_line(done.stdout)))


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


def check_cores() -> Check:
    """Counts the cores that this process may use."""
    cores = (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )
    quota = cpu_quota()
    if quota is not None and quota < cores:
        return Check("cores", OK, f"{quota:g}, a control group's part of {cores}")
    return Check("cores", OK, str(cores))


def check_memory() -> Check:
    """Reads this machine's memory, or the control group's where that is less."""
    if not hasattr(os, "sysconf"):
        return Check("memory", WARNING, "unknown on this system")
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = memory_limit()
    inside = limit is not None and limit < machine
    memory = limit if limit is not None and inside else machine
    found = f"{memory / GIB:.1f} GiB" + (", a control group's limit" if inside else "")
    if memory < ENOUGH_MEMORY:
        return Check("memory", WARNING, found, "Give it 4 GiB, or train on few items.")
    return Check("memory", OK, found)


def check_disk(folder: Path) -> Check:
    """Reads the room that is left where data sets and runs would be written."""
    free = shutil.disk_usage(folder).free
    found = f"{free / GIB:.1f} GiB free in {folder}"
    if free < ENOUGH_DISK:
        return Check("disk", WARNING, found, "Make room for data sets and runs.")
    return Check("disk", OK, found)


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Returns the least CPU quota of the control groups around this process, in cores.

    Args:
        root: Where /proc and /sys are; another folder in tests.
    Returns:
        Cores, which may be a fraction, or None where nothing limits it.
    """
    files = [folder / "cpu.max" for folder in control_folders(root, "cpu")]
    pairs = [
        file.read_text(encoding="utf-8").split() for file in files if file.is_file()
    ]
    quotas = [
        int(pair[0]) / int(pair[1])
        for pair in pairs
        if len(pair) == 2 and all(part.isdecimal() for part in pair)
    ]
    return min(quotas, default=None)


def _print(checks: list[Check]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_OF_A_PIPE)
    table = Table(box=None, pad_edge=False)
    for column in ("check", "status", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for check in checks:
        # As Text, since [gcp] would be taken for markup.
        status = Text(check.status, style=COLOURS[check.status])
        table.add_row(Text(check.name), status, Text(check.found), Text(check.advice))
    console.print(table)
    failed = [check.name for check in checks if check.status == FAILED]
    warned = [check.name for check in checks if check.status == WARNING]
    verdict = f"Failed: {', '.join(failed)}." if failed else "All is well."
    if warned:
        verdict += f" Warned: {', '.join(warned)}."
    console.print(Text(verdict))
