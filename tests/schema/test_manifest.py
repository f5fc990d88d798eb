"""What a reader of a manifest relies on."""

from pathlib import Path

import pytest

from tfcausal.errors import InputError
from tfcausal.schema.manifest import (
    Manifest,
    checksums,
    read_manifest,
    require_files,
    write_manifest,
)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """Returns a finished folder."""
    folder = tmp_path / "finished"
    (folder / "days").mkdir(parents=True)
    (folder / "days" / "one").write_text("1")
    (folder / "all").write_text("1")
    write_manifest(folder, Manifest("popularity", files=checksums(folder)))
    return folder


def test_files_as_they_were_written(sealed: Path) -> None:
    manifest = read_manifest(sealed, kind="popularity")
    assert manifest.files.keys() == {"days/one", "all"}
    require_files(manifest, sealed)


@pytest.mark.parametrize("content", [None, "", "2"])
def test_a_file_that_changed_or_went_is_refused(
    sealed: Path, content: str | None
) -> None:
    changed = sealed / "all"
    changed.unlink()
    if content is not None:
        changed.write_text(content)
    manifest = read_manifest(sealed, kind="popularity")
    require_files(manifest, sealed, below="days/")
    with pytest.raises(
        InputError, match=r"finished/all` must be as `python -m beam_jobs.popularity`"
    ):
        require_files(manifest, sealed)


@pytest.mark.parametrize("name", ["/etc/hosts", "../finished/all", "days/../../all"])
def test_files_outside_the_folder_are_refused(sealed: Path, name: str) -> None:
    write_manifest(sealed, Manifest("popularity", files={name: "0" * 64}))
    with pytest.raises(InputError, match=f"`{name}` leads outside"):
        read_manifest(sealed, kind="popularity")
