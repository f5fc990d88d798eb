"""Folders that appear whole or not at all."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfcausal.errors import InputError
from tfcausal.schema.manifest import FILE_NAME
from tfcausal.schema.paths import is_store

_UNFINISHED = ".unfinished"
"""Object that says that what lies beside it may be thrown away."""


@contextmanager
def staged_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Gives a folder to write in and renames it to `target` when the block ends well.

    What is under way lies beside the target as `.NAME.partial`. A process killed
    there leaves only that, and the next one starts afresh; an exception removes it.

    An object store can neither rename nor lock. There the target itself is written in,
    with an object `.unfinished` beside it until `finish_folder`, and whoever reads must
    find the manifest, which is written last. What an exception leaves, the next one
    removes. Two at once are not found out.

    Args:
        target: The folder to make. Its parents are made where missing.
        overwrite: Whether a finished folder there may be replaced.
    Yields:
        The empty folder to write in, on the same file system as `target`.
    Raises:
        InputError: If `target` exists and `overwrite` is false, or another process is
            writing it; in an object store also if what is there is no result.
    """
    if not overwrite:
        refuse_existing(target)
    if is_store(target):
        _empty_in_store(target)
        yield target
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f".{target.name}.partial"
    replaced = target.parent / f".{target.name}.replaced"
    lock_path = target.parent / f".{target.name}.lock"
    with lock_path.open("w") as lock:
        try:
            # The kernel frees the lock with the process, however that ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"`{target}` must have one writer at a time; another process is "
                "writing it. Wait for that one, or choose another folder."
            ) from error
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        shutil.rmtree(replaced, ignore_errors=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            if target.exists():
                target.rename(replaced)
            partial.rename(target)
            shutil.rmtree(replaced, ignore_errors=True)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        finally:
            lock_path.unlink(missing_ok=True)


def finish_folder(folder: Path) -> None:
    """Removes what only its writer needed of a folder whose manifest is written.

    That is every file in it whose name begins with a dot.
    """
    for path in list(folder.iterdir()):
        if path.name.startswith(".") and path.is_file():
            path.unlink(missing_ok=True)


def _is_unfinished(target: Path) -> bool:
    return (target / _UNFINISHED).exists() and not (target / FILE_NAME).exists()


def _empty_in_store(target: Path) -> None:
    """Removes all objects of an earlier result, and marks the folder as unfinished."""
    marker, manifest = target / _UNFINISHED, target / FILE_NAME
    found = [path for path in target.rglob("*") if path.is_file()]
    if found and not (marker in found or manifest in found):
        raise InputError(
            f"`{target}` must be empty or hold an earlier result; it holds other "
            f"objects, such as `{found[0].name}`. Choose another folder."
        )
    marker.write_text("", encoding="utf-8")
    # Without its manifest, nobody takes what is left for a result.
    manifest.unlink(missing_ok=True)
    for path in found:
        if path not in (marker, manifest):
            path.unlink(missing_ok=True)


def refuse_existing(target: Path) -> None:
    """Raises InputError if `target` exists already, finished or not ours."""
    if target.exists() and not _is_unfinished(target):
        raise InputError(
            f"`{target}` must not exist yet; it does. Pass --overwrite to replace it, "
            "or choose another folder."
        )
