"""Folders that appear whole, and stay while they are replaced."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from tfcausal.errors import InputError
from tfcausal.schema import folders
from tfcausal.schema.folders import sole_user, staged_folder
from tfcausal.schema.manifest import Manifest, write_manifest

ROUNDS = 300


def write(target: Path, text: str) -> None:
    with staged_folder(target, "drift", overwrite=True) as partial:
        (partial / "text").write_text(text)
        write_manifest(partial, Manifest(kind="drift"))


def write_and_fail(target: Path, text: str) -> None:
    with staged_folder(target, "drift", overwrite=True) as partial:
        (partial / "text").write_text(text)
        raise KeyError(text)


@pytest.fixture(params=["exchanged", "renamed"])
def replace(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path, str], None]:
    if request.param == "renamed":
        monkeypatch.setattr(folders, "_exchange", lambda one, other: False)
    return write


def test_a_replaced_folder_holds_the_new_alone(
    tmp_path: Path, replace: Callable[[Path, str], None]
) -> None:
    target = tmp_path / "target"
    for text in ("first", "second", "third"):
        replace(target, text)
        assert (target / "text").read_text() == text
        assert list(tmp_path.iterdir()) == [target]


def test_what_fails_leaves_the_last_one(
    tmp_path: Path, replace: Callable[[Path, str], None]
) -> None:
    target = tmp_path / "target"
    replace(target, "first")
    with pytest.raises(KeyError):
        write_and_fail(target, "second")
    assert (target / "text").read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges folders")
def test_it_is_never_gone(tmp_path: Path) -> None:
    target = tmp_path / "target"
    write(target, "0")
    done = Event()

    def times_gone() -> tuple[int, int]:
        looked = gone = 0
        while not done.is_set():
            looked += 1
            gone += not os.path.exists(target)
        return looked, gone

    with ThreadPoolExecutor() as pool:
        watched = pool.submit(times_gone)
        for number in range(ROUNDS):
            write(target, str(number))
        done.set()
        looked, gone = watched.result()
    assert looked > ROUNDS
    assert gone == 0


def test_an_earlier_version_that_lost_its_name_gets_it_back(tmp_path: Path) -> None:
    # What a process leaves that is killed between two renames.
    target, replaced = tmp_path / "target", tmp_path / ".target.replaced"
    write(replaced, "first")
    with pytest.raises(KeyError):
        write_and_fail(target, "second")
    assert (target / "text").read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]


def test_replaces_nothing_but_an_earlier_one_of_its_kind(tmp_path: Path) -> None:
    own, other, file = tmp_path / "own", tmp_path / "other", tmp_path / "file"
    own.mkdir()
    (own / "thesis.txt").write_text("years of work")
    write(other, "a drift")
    file.write_text("one line")
    for target, kind, holds in (
        (own, "drift", "other files, such as `thesis.txt`"),
        (other, "dataset", "a drift"),
        (file, "drift", "other files, such as `file`"),
    ):
        with (
            pytest.raises(InputError, match=f"earlier {kind}; it holds {holds}"),
            staged_folder(target, kind, overwrite=True),
        ):
            pass
    assert (own / "thesis.txt").read_text() == "years of work"
    assert (other / "text").read_text() == "a drift"
    assert file.read_text() == "one line"
    (own / "thesis.txt").unlink()
    write(own, "into an empty folder")
    assert {path.name for path in tmp_path.iterdir()} == {"own", "other", "file"}


def test_has_one_writer(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with (
        staged_folder(target, "drift"),
        pytest.raises(InputError, match="one writer at a time"),
        staged_folder(target, "drift"),
    ):
        pass


def test_a_sole_user_waits_for_the_other(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")

    def count() -> None:
        for _ in range(50):
            with sole_user(tmp_path):
                counter.write_text(str(int(counter.read_text()) + 1))

    with ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(count) for _ in range(4)]:
            each.result()
    assert counter.read_text() == "200"
