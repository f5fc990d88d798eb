"""Which versions there are, and which are removed."""

from pathlib import Path

import pytest

from tfcausal.errors import InputError
from tfcausal.schema.exported import versions
from tfcausal.serving.versions import next_version, retire


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "file").touch()


def test_old_versions_go_with_their_indexes(tmp_path: Path) -> None:
    model, frozen = tmp_path / "dice", tmp_path / "dice-scann"
    make(model, "1", "1-scann", "2", "9", "10", "10-scann", "other", ".11.partial")
    make(frozen, "1", "10")
    assert retire(model, 2) == [1, 2]
    left = {path.name for path in model.iterdir()}
    assert left == {"9", "10", "10-scann", "other", ".11.partial"}
    assert [path.name for path in frozen.iterdir()] == ["10"]
    assert next_version(model) == 11


def test_the_last_frozen_index_stays_until_there_is_a_newer(tmp_path: Path) -> None:
    model, frozen = tmp_path / "dice", tmp_path / "dice-scann"
    make(model, "1", "2", "3")
    make(frozen, "1", "2")
    assert retire(model, 1) == [1, 2]
    assert versions(frozen) == [2]
    make(model, "4")
    make(frozen, "4")
    assert retire(model, 2) == []
    assert versions(frozen) == [4]


def test_labelled_versions_stay(tmp_path: Path) -> None:
    make(tmp_path, "1", "2", "3", "4")
    assert retire(tmp_path, 1, labelled=[2]) == [1, 3]
    assert versions(tmp_path) == [2, 4]


def test_what_a_killed_process_left_goes(tmp_path: Path) -> None:
    make(tmp_path, ".1.retired", "2")
    assert retire(tmp_path, 1) == []
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


def test_one_version_is_kept(tmp_path: Path) -> None:
    make(tmp_path, "1")
    with pytest.raises(InputError, match="`keep` must be at least 1; got 0"):
        retire(tmp_path, 0)
    assert versions(tmp_path) == [1]
