"""The public names: all there, and cheap until they are used."""

import subprocess
import sys
from pathlib import Path

import tfcausal
from tests.datasets import write_dataset
from tests.runs import random_vectors, write_run


def test_every_public_name_exists() -> None:
    for name in tfcausal.__all__:
        assert getattr(tfcausal, name) is not None


def test_public_names_are_those_of_the_snapshot() -> None:
    snapshot = (Path(__file__).parent / "api.txt").read_text().split()
    assert sorted(tfcausal.__all__) == sorted(snapshot)


def test_import_is_cheap() -> None:
    heavy = ("tensorflow", "keras", "tf_keras", "apache_beam", "scann", "pyarrow")
    script = f"import sys, tfcausal; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_folders_may_be_texts(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data")
    assert tfcausal.open_dataset(str(tmp_path / "data")) == dataset
    vectors = random_vectors(dataset.num_users, dataset.num_items)
    run = write_run(tmp_path / "run", dataset, vectors)
    assert tfcausal.load_run(str(tmp_path / "run")) == run
