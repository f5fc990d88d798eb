"""Each benchmark runs to its end on a small case; what it times is not looked at."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from tests.beam_jobs.raw import raw_rows, write_csv
from tests.datasets import write_dataset

ROOT = Path(__file__).parents[2]
LOCAL = PipelineOptions(["--runner=local"])


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


def test_robustness(tmp_path: Path) -> None:
    raw = write_csv(tmp_path / "raw.csv", raw_rows())
    source = tmp_path / "data"
    ingest(IngestOptions(str(raw), "csv", source), LOCAL)
    work = tmp_path / "work"
    arguments = [
        f"--dataset={source}",
        f"--work={work}",
        "--method=mf",
        "--method=cause",
        "--cap=90",
        "--share=0.1",
        "--popular=0.5",
        "--set=epochs=1",
        "--set=mf.batch_size=64",
        "--set=cause.batch_size=128",
    ]
    printed = output("robustness", *arguments)
    for title in (
        "By the percentile at which the weights of the intervention are capped",
        "By the share of intervened training data",
        "By the share of popular items in the test set",
    ):
        assert title in printed
    # CausE has nothing to learn from without intervened rows, and says so.
    assert "must have the part `train_intervened`" in printed
    # The two experiments under intervention meet in one split, made and trained once.
    assert len(list(work.glob("*/runs/*/manifest.json"))) == 3
    assert (source / "users.parquet").stat().st_nlink == 3
    assert not (source / "splits").exists()
