"""The example of a model of one's own, as a user runs it."""

import re
from pathlib import Path

import pytest

from tests.datasets import write_dataset
from tests.examples.scripts import NOTES, run_script

POINT = r"do\(conformity = +([\d.]+)\) +recall@20 ([\d.]+) .* (\d+)$"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own") / "data"
    return write_dataset(root, num_users=1500, num_items=200).folder.root


def losses(printed: str) -> list[float]:
    return [float(loss) for loss in re.findall(r" loss: ([\d.]+)", printed)]


def test_the_second_half_learns_what_is_popular(data: Path) -> None:
    done = run_script("own_model.py", data)
    assert done.returncode == 0, done.stderr
    points = re.findall(POINT, done.stdout, re.M)
    assert [float(weight) for weight, _, _ in points] == [0.0, 0.5, 1.0]
    shown = [int(popularity) for _, _, popularity in points]
    assert shown[0] < shown[-1]
    by_epoch = losses(done.stdout)
    assert by_epoch[-1] < 0.9 * by_epoch[0]
    assert not [word for word in NOTES if word in done.stderr]


@pytest.mark.slow
def test_run_again_it_prints_the_same(data: Path) -> None:
    first, again = (run_script("own_model.py", data).stdout for _ in range(2))
    assert re.findall(POINT, first, re.M) == re.findall(POINT, again, re.M) != []
    assert losses(first) == losses(again) != []
