"""The Keras script of the examples, as a user runs it."""

import re
import subprocess
import sys
from pathlib import Path

from tests.datasets import write_dataset

SCRIPT = Path(__file__).parents[2] / "examples" / "keras_script.py"


def test_the_script_shows_that_conformity_draws_to_what_is_popular(
    tmp_path: Path,
) -> None:
    write_dataset(tmp_path / "data", num_users=400, num_items=200)
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "data"],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    points = re.findall(r"do\(conformity = +([\d.]+)\) .* (\d+)$", done.stdout, re.M)
    assert [float(weight) for weight, _ in points] == [0.0, 0.5, 1.0, 2.0]
    shown = [int(popularity) for _, popularity in points]
    assert shown == sorted(shown)
    assert shown[0] < shown[-1]
