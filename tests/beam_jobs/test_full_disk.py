"""A disk that fills up: one line tells the user, and nothing half-written stays."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_jobs.ingest import JOB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("a small tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("runner", ["FnApiRunner", "local"])
def test_full_disk(
    small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], runner: str
) -> None:
    rows = "".join(f"u{n % 977},i{n * 7919 % 9973},{n}\n" for n in range(30_000))
    raw = tmp_path / "raw.csv"
    raw.write_text("user_id,item_id,timestamp\n" + rows)
    flags = [f"--input={raw}", "--format=csv", f"--output={small_disk / 'dataset'}"]
    assert JOB.main([*flags, f"--runner={runner}"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("ingest: ")
    assert "No space left on device" in said
    assert list(small_disk.iterdir()) == []
