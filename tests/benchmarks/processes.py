"""Measuring a process from outside: its time, and the memory of it and all below it."""

import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_BETWEEN_LOOKS = 0.05


@dataclass(frozen=True)
class Usage:
    """What a process took, in seconds and bytes, and what it printed."""

    seconds: float
    peak_bytes: int
    output: str


def run_measured(command: Sequence[str]) -> Usage:
    """Runs a command to its end.

    Raises:
        RuntimeError: If it fails.
    """
    begin = time.perf_counter()
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(command, stdout=printed)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _tree_bytes(process.pid))
            time.sleep(_BETWEEN_LOOKS)
        seconds = time.perf_counter() - begin
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
        printed.seek(0)
        return Usage(seconds, peak, printed.read())


def _tree_bytes(root: int) -> int:
    """Returns the resident bytes of a process and all below it."""
    try:
        status = Path(f"/proc/{root}/status").read_text()
        # A child belongs to the thread that began it.
        tasks = Path(f"/proc/{root}/task").glob("*/children")
        children = " ".join(task.read_text() for task in tasks).split()
    except OSError:
        return 0
    lines = (line for line in status.splitlines() if line.startswith("VmRSS"))
    own = sum(int(line.split()[1]) * 1024 for line in lines)
    return own + sum(_tree_bytes(int(child)) for child in children)
