"""Each benchmark runs to its end on a small case; what it times is not looked at."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
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
            "index_search",
            ["--items=3000", "--dim=8", "--queries=20", "--rebuild", "--frozen"],
            "frozen index",
        ),
        (
            "propagation",
            ["--users=60", "--items=90", "--edges=500", "--dim=4", "--rounds=1"],
            "with gradient",
        ),
    ],
)
def test_speed(script: str, arguments: list[str], printed: str) -> None:
    assert printed in output(script, *arguments)


@pytest.mark.slow
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


@pytest.mark.slow
def test_method_speed(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data")
    printed = output(
        "method_speed",
        f"--dataset={tmp_path / 'data'}",
        "--method=mf",
        "--method=dccl",
        "--backbone=mf",
        "--batch_size=32",
        "--dim=8",
    )
    mf, dccl = (line for line in printed.splitlines() if line.startswith("│"))
    assert mf.split()[1:4] == ["mf", "│", "mf"]
    assert mf.split()[-4] == "1.00"
    assert float(dccl.split()[-4]) > 0


@pytest.mark.slow
def test_published_split(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name, count in (("train", 12), ("test", 3)):
        lines = [
            " ".join(map(str, [user, *generator.choice(40, count, replace=False)]))
            for user in range(60)
        ]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    arguments = [
        f"--data={tmp_path}",
        f"--work={tmp_path / 'work'}",
        "--epochs=1",
        "--set=batch_size=64",
    ]
    printed = output("published_split", *arguments)
    rows = [line.split() for line in printed.splitlines() if line.startswith("│")]
    assert [row[1] for row in rows] == ["mf", "lightgcn", "lightgcn-softmax"]
    assert all(0 < float(row[3]) < 1 for row in rows)
    # What is trained is not trained again.
    assert output("published_split", *arguments).count("epoch") == 3


@pytest.mark.slow
def test_bulk_recommend() -> None:
    pytest.importorskip("scann")
    printed = output(
        "bulk_recommend", "--users=300", "--items=900", "--dim=8", "--sample=8"
    )
    rows = [line.split("│") for line in printed.splitlines() if line.startswith("│")]
    of_exact = {row[1].strip(): row[6].strip() for row in rows}
    assert len(of_exact) == len(rows) == 9
    # So few items are all compared with, and numpy's lists are the same.
    assert [share for share in of_exact.values() if share] == ["1.0000"] * 5
    assert sum(name.startswith("index, ScaNN") for name in of_exact) == 2


@pytest.mark.slow
def test_gru4rec_without_recbole(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data")
    printed = output(
        "gru4rec",
        f"--dataset={tmp_path / 'data'}",
        f"--work={tmp_path / 'work'}",
        "--set=epochs=2",
        "--set=batch_size=64",
        "--set=embedding_dim=8",
    )
    (row,) = (line.split() for line in printed.splitlines() if line.startswith("│"))
    assert row[1] == "here"
    assert 0 < float(row[5]) < 1


@pytest.mark.slow
def test_sequence_speed(tmp_path: Path) -> None:
    printed = output(
        "sequence_speed",
        f"--work={tmp_path / 'work'}",
        "--row=base",
        "--row=causerec-item",
        "--batch_size=32",
    )
    rows = [line.split() for line in printed.splitlines() if line.startswith("│")]
    assert [row[1] for row in rows] == ["base", "causerec-item"]
    for row in rows:
        assert all(float(row[place].replace(",", "")) > 0 for place in range(3, 14, 2))


@pytest.mark.slow
def test_exact_serving() -> None:
    printed = output("exact_serving", "--items=500", "--dim=8", "--k=5")
    rows = [line.split() for line in printed.splitlines() if line.startswith("│")]
    assert [row[1] for row in rows] == ["32", "256"]
    assert all(float(row[7]) > 0 for row in rows)


@pytest.mark.slow
def test_serving_soak() -> None:
    pytest.importorskip("scann")
    printed = output("serving_soak", "--minutes=0.2", "--users=50", "--items=300")
    rows = [line.split("│") for line in printed.splitlines() if line.startswith("│")]
    kinds = {row[1].strip(): row for row in rows}
    for kind in ("requests by gRPC", "searches of the index"):
        assert int(kinds[kind][2].replace(",", "")) > 10
        assert kinds[kind][3].strip() == "0"
