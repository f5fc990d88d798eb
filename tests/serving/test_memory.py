"""Free memory: the machine's, or what a control group leaves."""

from pathlib import Path

import pytest

from tfcausal.serving.memory import free_memory

MEMINFO = "MemTotal:  8388608 kB\nMemFree:  99 kB\nMemAvailable:  4194304 kB\n"
GIB = 2**30


def write_files(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_what_the_machine_has(tmp_path: Path) -> None:
    write_files(tmp_path, {"proc/meminfo": MEMINFO})
    assert free_memory(tmp_path) == 4 * GIB


@pytest.mark.parametrize(("used", "free"), [(GIB, 3 * GIB // 2), (2 * GIB, GIB // 2)])
def test_a_control_group_that_leaves_less(tmp_path: Path, used: int, free: int) -> None:
    outer = "sys/fs/cgroup/outer"
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/outer/inner\n",
        f"{outer}/memory.max": f"{2 * GIB}\n",
        f"{outer}/memory.current": f"{used}\n",
        # Half a GiB of what is used are files, which the kernel would forget.
        f"{outer}/memory.stat": f"anon 12\ninactive_file {GIB // 2}\n",
        f"{outer}/inner/memory.max": "max\n",
        f"{outer}/inner/memory.current": f"{used}\n",
    }
    write_files(tmp_path, files)
    assert free_memory(tmp_path) == free


def test_the_first_version_of_control_groups(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/memory/job"
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "4:memory:/job\n",
        f"{group}/memory.limit_in_bytes": f"{GIB}\n",
        f"{group}/memory.usage_in_bytes": f"{GIB // 4}\n",
    }
    write_files(tmp_path, files)
    assert free_memory(tmp_path) == 3 * GIB // 4


def test_a_system_that_does_not_say(tmp_path: Path) -> None:
    assert free_memory(tmp_path) is None
