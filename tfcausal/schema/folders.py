"""Folders that appear whole or not at all."""

import ctypes
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfcausal.errors import InputError
from tfcausal.schema.manifest import FILE_NAME, kind_of
from tfcausal.schema.paths import is_store

_UNFINISHED = ".unfinished"
"""Object that says that what lies beside it may be thrown away."""
_HERE = -100
"""AT_FDCWD of renameat2(2): a relative path begins at the working folder."""
_EXCHANGE = 2
"""RENAME_EXCHANGE of renameat2(2)."""


@contextmanager
def staged_folder(
    target: Path, kind: str, *, overwrite: bool = False
) -> Iterator[Path]:
    """Gives a folder to write in and renames it to `target` when the block ends well.

    What is under way lies beside the target as `.NAME.partial`. A process killed
    there leaves only that, and the next one starts afresh; an exception removes it.
    Where Linux can exchange two folders in one step, `target` is there at all times
    while it is replaced; elsewhere it is gone between two renames.

    An object store can neither rename nor lock. There the target itself is written in,
    with an object `.unfinished` beside it until `finish_folder`, and whoever reads must
    find the manifest, which is written last. What an exception leaves, the next one
    removes. Two at once are not found out.

    Args:
        target: The folder to make. Its parents are made where missing.
        kind: The kind that its manifest will say; a folder of another kind, or of
            somebody's own files, is never replaced.
        overwrite: Whether a finished folder there may be replaced.
    Yields:
        The empty folder to write in, on the same file system as `target`.
    Raises:
        InputError: If `target` exists and `overwrite` is false or it is no result of
            that kind, or another process is writing it.
    """
    if not overwrite:
        refuse_existing(target)
    _require_replaceable(target, kind)
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
            if not target.exists():
                partial.rename(target)
            elif _exchange(partial, target):
                shutil.rmtree(partial, ignore_errors=True)
            else:
                target.rename(replaced)
                partial.rename(target)
                shutil.rmtree(replaced, ignore_errors=True)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        finally:
            lock_path.unlink(missing_ok=True)


@contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Waits for all others, in this or other processes, that are here for `folder`."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        # The kernel frees the lock with the process, however that ends.
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _exchange(one: Path, other: Path) -> bool:
    """Gives each the name of the other in one step; returns whether that was possible.

    Not every kernel, file system and container knows how. Two renames, which the caller
    does otherwise, then say what else may be wrong.
    """
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except AttributeError:
        return False
    names = os.fsencode(one), os.fsencode(other)
    return bool(renameat2(_HERE, names[0], _HERE, names[1], _EXCHANGE) == 0)


def finish_folder(folder: Path) -> None:
    """Removes what only its writer needed of a folder whose manifest is written.

    That is every file in it whose name begins with a dot.
    """
    for path in list(folder.iterdir()):
        if path.name.startswith(".") and path.is_file():
            path.unlink(missing_ok=True)


def _is_unfinished(target: Path) -> bool:
    return (target / _UNFINISHED).exists() and not (target / FILE_NAME).exists()


def _require_replaceable(target: Path, kind: str) -> None:
    """Raises InputError if there is anything but an earlier result of the kind."""
    found = kind_of(target)
    if found == kind or _is_unfinished(target) or not target.exists():
        return
    others = list(target.iterdir()) if target.is_dir() else [target]
    if found is not None or others:
        holds = f"a {found}" if found else f"other files, such as `{others[0].name}`"
        raise InputError(
            f"`{target}` must be empty or hold an earlier {kind}; it holds {holds}. "
            "Choose another folder."
        )


def _empty_in_store(target: Path) -> None:
    """Removes all objects of an earlier result, and marks the folder as unfinished."""
    marker, manifest = target / _UNFINISHED, target / FILE_NAME
    found = [path for path in target.rglob("*") if path.is_file()]
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
