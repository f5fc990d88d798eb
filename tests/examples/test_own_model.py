"""The example of a model of one's own, as a user runs it."""

import re
from pathlib import Path

from tests.datasets import write_dataset
from tests.examples.scripts import NOTES, run_script


def test_the_second_half_learns_what_is_popular(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", num_users=1500, num_items=200)
    done = run_script("own_model.py", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    point = r"do\(conformity = +([\d.]+)\) +recall@20 ([\d.]+) .* (\d+)$"
    points = re.findall(point, done.stdout, re.M)
    assert [float(weight) for weight, _, _ in points] == [0.0, 0.5, 1.0]
    shown = [int(popularity) for _, _, popularity in points]
    assert shown[0] < shown[-1]
    losses = [float(loss) for loss in re.findall(r" loss: ([\d.]+)", done.stdout)]
    assert losses[-1] < 0.9 * losses[0]
    assert not [word for word in NOTES if word in done.stderr]
    again = run_script("own_model.py", tmp_path / "data").stdout
    assert re.findall(point, again, re.M) == points
    assert [float(loss) for loss in re.findall(r" loss: ([\d.]+)", again)] == losses
