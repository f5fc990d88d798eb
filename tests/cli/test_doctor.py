"""`tfcausal doctor`: each way an installation can be broken is found and named."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tfcausal.cli import doctor
from tfcausal.cli.doctor import FAILED, OK, WARNING, Check, try_script

GOOD = ("good", "import json; print('noise'); print(json.dumps('fine'))", "nothing")
BAD = ("bad", "raise ImportError('no [such] symbol')", "pip install 'tfcausal[x]'")
METADATA = """Metadata-Version: 2.1
Name: {name}
Version: 1.0
Requires-Python: {python}
Provides-Extra: plots
Provides-Extra: serving
Provides-Extra: dev
Requires-Dist: click>=8
Requires-Dist: numpy<1
Requires-Dist: no-such-package>=3
Requires-Dist: not-for-us; python_version < "3"
Requires-Dist: no-such-plots; extra == "plots"
Requires-Dist: rich<1; extra == "serving"
Requires-Dist: no-such-linter; extra == "dev"
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package whose requirements are met in part."""
    folder = tmp_path / "toy_package-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(METADATA.format(name="toy-package", python=">=3"))
    monkeypatch.syspath_prepend(str(tmp_path))
    return "toy-package"


def test_versions_are_compared_with_the_ranges_of_the_metadata(package: str) -> None:
    checks = {check.name: check for check in doctor.check_versions(package)}
    assert {name: check.status for name, check in checks.items()} == {
        "Python": OK,
        "toy-package": OK,
        "click": OK,
        "numpy": FAILED,
        "no-such-package": FAILED,
        "extra [plots]": OK,
        "extra [serving]": WARNING,
    }
    assert checks["numpy"].advice == "Install numpy<1."
    assert checks["no-such-package"].found == "not installed"
    assert checks["extra [plots]"].found == "not installed: no-such-plots"
    assert checks["extra [serving]"].advice == "Install rich<1."


def test_an_old_python_fails(package: str, tmp_path: Path) -> None:
    path = tmp_path / "toy_package-1.0.dist-info" / "METADATA"
    path.write_text(METADATA.format(name="toy-package", python=">=99"))
    first = next(doctor.check_versions(package))
    assert (first.status, first.advice) == (FAILED, "Install Python >=99.")


def test_a_package_without_metadata_fails() -> None:
    (check,) = doctor.check_versions("never-installed")
    assert check.status == FAILED
    assert "never-installed" in check.found


def test_the_stack_here_fits() -> None:
    checks = {check.name: check for check in doctor.check_versions()}
    assert {"tensorflow", "tf-keras", "scann", "apache-beam"} <= set(checks)
    assert all(check.status == OK for check in checks.values()), checks


def test_a_script_that_answers_is_ok() -> None:
    assert try_script(*GOOD) == Check("good", OK, "fine")


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("raise ImportError('undefined symbol')", "ImportError: undefined symbol"),
        ("import os; os.kill(os.getpid(), 4)", "ended by SIGILL"),
        ("import time; time.sleep(60)", "no answer within 1.5 s"),
        ("raise SystemExit(3)", "no message"),
    ],
    ids=["error", "signal", "hang", "silence"],
)
def test_a_script_that_fails_says_how(script: str, found: str) -> None:
    limit = 1.5 if "sleep" in script else 60.0
    check = try_script("probe", script, "do this", limit=limit)
    assert check == Check("probe", FAILED, found, "do this")


def test_another_backend_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    check = doctor.check_backend()
    assert (check.status, check.found) == (FAILED, "jax")
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert doctor.check_backend().status == OK


def write_files(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_the_tightest_control_group_counts(tmp_path: Path) -> None:
    groups = "sys/fs/cgroup"
    files = {
        "proc/self/cgroup": "0::/outer/inner\n",
        f"{groups}/outer/memory.max": "1073741824\n",
        f"{groups}/outer/inner/memory.max": "max\n",
        f"{groups}/outer/cpu.max": "max 100000\n",
        f"{groups}/outer/inner/cpu.max": "150000 100000\n",
    }
    write_files(tmp_path, files)
    assert doctor.memory_limit(tmp_path) == 2**30
    assert doctor.cpu_quota(tmp_path) == 1.5


def test_a_control_group_of_the_first_version_is_read(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "5:cpu,cpuacct:/job\n4:memory:/job\n",
        "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "2147483648\n",
    }
    write_files(tmp_path, files)
    assert doctor.memory_limit(tmp_path) == 2**31


def test_no_control_group_limits_nothing(tmp_path: Path) -> None:
    assert doctor.memory_limit(tmp_path) is None
    assert doctor.cpu_quota(tmp_path) is None


def test_little_memory_and_disk_are_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "ENOUGH_DISK", 2**70)
    monkeypatch.setattr(doctor, "memory_limit", lambda: 2**29)
    assert doctor.check_disk(tmp_path).status == WARNING
    check = doctor.check_memory()
    assert check.status == WARNING
    assert check.found == "0.5 GiB, a control group's limit"


def test_a_failure_ends_with_1_on_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "PROBES", (GOOD, BAD))
    result = CliRunner().invoke(doctor.command, [])
    assert result.exit_code == 1
    (line,) = (text for text in result.stdout.splitlines() if text.startswith("bad "))
    assert "FAILED" in line
    assert "ImportError: no [such] symbol" in line
    assert "pip install 'tfcausal[x]'" in line
    assert "Failed: bad." in result.stdout


def test_json_holds_the_same_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PROBES", (GOOD,))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    result = CliRunner().invoke(doctor.command, ["--json"])
    report = json.loads(result.stdout)
    assert (result.exit_code, report["ok"]) == (0, True)
    names = [check["name"] for check in report["checks"]]
    assert names[-5:] == ["KERAS_BACKEND", "good", "cores", "memory", "disk"]


@pytest.mark.slow
def test_this_installation_works() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tfcausal.cli", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["ok"]
