"""How much memory this process may still take, its control groups considered."""

from collections.abc import Iterator
from pathlib import Path

_LIMITS = ("memory.max", "memory.limit_in_bytes")
_USED = ("memory.current", "memory.usage_in_bytes")
_CACHE = ("inactive_file", "total_inactive_file")
"""Files that the kernel has read and would forget, in memory.stat."""


def free_memory(root: Path = Path("/")) -> int | None:
    """Returns what is free on the machine and within every control group's limit.

    Args:
        root: Where /proc and /sys are; another folder in tests.
    Returns:
        Bytes, or None where the system does not say.
    """
    free = [
        limit - used + _file_cache(folder)
        for folder in control_folders(root, "memory")
        for limit in _numbers(folder, _LIMITS)
        for used in _numbers(folder, _USED)
    ]
    try:
        lines = (root / "proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return min(free, default=None)
    available = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return min([*free, *(int(kib) * 1024 for kib in available)], default=None)


def memory_limit(root: Path = Path("/")) -> int | None:
    """Returns the least memory limit of the control groups around this process.

    Args:
        root: Where /proc and /sys are; another folder in tests.
    Returns:
        Bytes, or None where nothing limits it.
    """
    folders = control_folders(root, "memory")
    limits = [limit for folder in folders for limit in _numbers(folder, _LIMITS)]
    return min(limits, default=None)


def control_folders(root: Path, controller: str) -> Iterator[Path]:
    """Yields a controller's folders from this process's group up to the outermost."""
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / (controller if controllers else "")
        inner = base / path.lstrip("/")
        for folder in (inner, *inner.parents):
            yield folder
            if folder == base:
                break


def _numbers(folder: Path, names: tuple[str, ...]) -> list[int]:
    """Returns what those files of a group hold that are numbers; "max" is none."""
    texts = [
        (folder / name).read_text(encoding="utf-8").strip()
        for name in names
        if (folder / name).is_file()
    ]
    return [int(text) for text in texts if text.isdecimal()]


def _file_cache(folder: Path) -> int:
    path = folder / "memory.stat"
    if not path.is_file():
        return 0
    lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return max((int(line[1]) for line in lines if line[0] in _CACHE), default=0)
