"""A disk that fills up: the last line tells it, and nothing half-written stays."""

import subprocess
import sys
from pathlib import Path

import pytest

OWN_MOUNTS = ("unshare", "--user", "--map-root-user", "--mount")
SCRIPT = """
mount -t tmpfs -o size=64k tmpfs "$1" || exit 77
disk=$1
shift
"$@"
code=$?
ls -A "$disk"
exit $code
"""
NOT_MOUNTED = 77


@pytest.mark.parametrize("runner", ["FnApiRunner", "local"])
def test_full_disk(tmp_path: Path, runner: str) -> None:
    rows = "".join(f"u{n % 977},i{n * 7919 % 9973},{n}\n" for n in range(30_000))
    raw = tmp_path / "raw.csv"
    raw.write_text("user_id,item_id,timestamp\n" + rows)
    disk = tmp_path / "disk"
    disk.mkdir()
    flags = [f"--input={raw}", "--format=csv", f"--output={disk / 'dataset'}"]
    command = [sys.executable, "-m", "beam_jobs.ingest", *flags, f"--runner={runner}"]
    # Nobody but this process and the job sees the small disk, so none needs to be root.
    done = subprocess.run(
        [*OWN_MOUNTS, "sh", "-c", SCRIPT, "sh", str(disk), *command],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode == NOT_MOUNTED or "unshare" in done.stderr:
        pytest.skip(f"this kernel lets no user mount a tmpfs: {done.stderr.strip()}")
    assert done.returncode == 2
    assert done.stdout == ""
    said = done.stderr.splitlines()[-1]
    assert said.startswith("ingest: ")
    assert "No space left on device" in said
