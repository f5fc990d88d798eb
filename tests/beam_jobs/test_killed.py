"""A job killed with SIGKILL and run again ends with the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.beam_jobs.chain import Step, run_chain, steps, write_input
from tfcausal.schema.manifest import checksums

MOMENTS = 10


def command(step: Step) -> list[str]:
    """Returns the command line of a step of the chain."""
    standard = type(step.options)
    given = {
        name: value
        for name, value in vars(step.options).items()
        if value != getattr(standard, name, None)
    }
    flags = [
        f"--{name}={','.join(value) if isinstance(value, tuple) else value}"
        for name, value in given.items()
    ]
    return [sys.executable, "-m", step.job.__name__, *flags]


def run_until(step: Step, under_way: Callable[[Path], bool]) -> tuple[int, float]:
    """Starts a job, and kills it once something is true of the folder it writes.

    Returns:
        Its exit code, and the seconds from the folder's appearance to its end.
    """
    process = subprocess.Popen(
        command(step),
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    partial = step.target.parent / f".{step.target.name}.partial"
    begun = float("inf")
    while process.poll() is None:
        if partial.is_dir():
            begun = min(begun, time.monotonic())
            if under_way(partial):
                process.send_signal(signal.SIGKILL)
                break
        time.sleep(0.002)
    return process.wait(), time.monotonic() - begun


def require_same_again(step: Step, expected: dict[str, str]) -> None:
    """Runs a job after it was killed: what it left is either nothing or whole."""
    if step.target.exists():
        # On a busy machine the signal comes after the last step now and then.
        assert checksums(step.target) == expected
        shutil.rmtree(step.target)
    step.job.run(step.options)
    assert checksums(step.target) == expected
    left = {path.name for path in step.target.parent.iterdir()}
    assert not {name for name in left if name.startswith(".")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with the raw input and what all jobs make of it."""
    source = write_input(tmp_path_factory.mktemp("finished"))
    run_chain(source, source / "dataset", ["--runner=local"])
    return source


def without(step_name: str, finished: Path, tmp_path: Path) -> Step:
    """Returns a step of the chain that has all its input and no result."""
    source = tmp_path / "source"
    shutil.copytree(finished, source)
    step = steps(source, source / "dataset")[step_name]
    shutil.rmtree(step.target)
    return step


def expected_of(step_name: str, finished: Path) -> dict[str, str]:
    found = checksums(steps(finished, finished / "dataset")[step_name].target)
    if step_name != "ingest":
        return found
    others = ("splits/", "features/", "triplets/", "sequences/", "graph/")
    return {name: found[name] for name in found if not name.startswith(others)}


def test_killed_amid_its_files(finished: Path, tmp_path: Path) -> None:
    step = without("triplets", finished, tmp_path)

    def some_files(partial: Path) -> bool:
        return sum(path.is_file() for path in partial.rglob("*")) >= 2

    code, _ = run_until(step, some_files)
    assert code == -signal.SIGKILL
    require_same_again(step, expected_of("triplets", finished))


@pytest.mark.slow
@pytest.mark.parametrize("name", steps(Path("source"), Path("dataset")))
def test_killed_at_ten_moments(finished: Path, tmp_path: Path, name: str) -> None:
    step = without(name, finished, tmp_path)
    expected = expected_of(name, finished)
    code, seconds = run_until(step, lambda partial: False)
    assert code == 0
    assert checksums(step.target) == expected
    killed = 0
    generator = np.random.default_rng(11)
    for moment in generator.uniform(0, seconds, MOMENTS):
        shutil.rmtree(step.target)
        end = float("inf")

        def is_late(partial: Path, moment: float = moment) -> bool:
            nonlocal end
            end = min(end, time.monotonic() + moment)
            return time.monotonic() >= end

        code, _ = run_until(step, is_late)
        if code == 0:
            # It was done before its moment came.
            assert checksums(step.target) == expected
            continue
        killed += 1
        require_same_again(step, expected)
    assert killed >= MOMENTS // 2
