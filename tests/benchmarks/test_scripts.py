"""Each benchmark runs to its end on a small case; what it times is not looked at."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.datasets import write_dataset

ROOT = Path(__file__).parents[2]


def output(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.benchmarks.{script}", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "120"},
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("script", "arguments", "printed"),
    [
        ("beam_popularity", ["--rows=300000"], "in row groups"),
        (
            "dice_training",
            ["--users=300", "--items=200", "--rows=4000", "--triplets=64", "--steps=2"],
            "stock Adam",
        ),
        ("full_ranking", ["--users=60", "--items=900", "--rounds=1"], "ranking"),
        (
            "propagation",
            ["--users=60", "--items=90", "--edges=500", "--dim=4", "--rounds=1"],
            "with gradient",
        ),
    ],
)
def test_speed(script: str, arguments: list[str], printed: str) -> None:
    assert printed in output(script, *arguments)


def test_intervened_gain(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data")
    shared = ["batch_size=64", "epochs=1"]
    settings = [f"--{m}={setting}" for m in ("mf", "dice") for setting in shared]
    printed = output(
        "intervened_gain",
        f"--dataset={tmp_path / 'data'}",
        f"--runs={tmp_path / 'runs'}",
        "--seeds=1",
        "--dice=min_pool=4",
        "--ablations",
        *settings,
    )
    assert "dice, uniform negatives" in printed
    assert "do(conformity = w)" in printed
