"""The Keras script of the examples, as a user runs it."""

import re
from pathlib import Path

from tests.datasets import write_dataset
from tests.examples.scripts import NOTES, run_script


def test_the_script_shows_that_conformity_draws_to_what_is_popular(
    tmp_path: Path,
) -> None:
    write_dataset(tmp_path / "data", num_users=400, num_items=200)
    done = run_script("keras_script.py", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    points = re.findall(r"do\(conformity = +([\d.]+)\) .* (\d+)$", done.stdout, re.M)
    assert [float(weight) for weight, _ in points] == [0.0, 0.5, 1.0, 2.0]
    shown = [int(popularity) for _, popularity in points]
    assert shown == sorted(shown)
    assert shown[0] < shown[-1]
    assert not [word for word in NOTES if word in done.stderr]


def test_what_fails_is_said(tmp_path: Path) -> None:
    done = run_script("keras_script.py", tmp_path)
    assert done.returncode == 1
    assert "InputError" in done.stderr.splitlines()[-1]
