"""The versions of an exported model: folders named by integers, counted up."""

import shutil
from collections.abc import Collection
from pathlib import Path

from tfcausal.errors import InputError
from tfcausal.schema.exported import versions

INDEX_SUFFIX = "-scann"
"""What an index has behind its version, and a frozen one behind its model's name."""


def next_version(folder: Path) -> int:
    """Returns the number after the last version of a model, 1 for the first."""
    return max(versions(folder), default=0) + 1


def index_folder(version: Path) -> Path:
    """Returns where the index of an exported version lies.

    Beside it, as TensorFlow Serving takes only integers for versions.
    """
    version = version.resolve()
    return version.with_name(f"{version.name}{INDEX_SUFFIX}")


def frozen_folder(version: Path) -> Path:
    """Returns where the frozen index of an exported version lies, a model itself."""
    folder = version.parent
    return folder.with_name(f"{folder.name}{INDEX_SUFFIX}") / version.name


def require_keep(keep: int) -> None:
    """Raises InputError unless at least one version is kept."""
    if keep < 1:
        raise InputError(f"`keep` must be at least 1; got {keep}.")


def retire(folder: Path, keep: int, labelled: Collection[int] = ()) -> list[int]:
    """Removes all versions of a model but the last ones, with both their indexes.

    The last frozen index stays until there is a newer one, for the server that has it.
    A version is renamed before it is removed, so that no server finds half of one; what
    a killed process leaves is removed by the next call.

    Args:
        folder: The model's folder.
        keep: Versions to keep, at least 1.
        labelled: Versions to keep in any case.
    Returns:
        The versions that were removed, ascending.
    Raises:
        InputError: If `keep` is below 1.
    """
    require_keep(keep)
    there = versions(folder)
    old = [one for one in there[:-keep] if one not in labelled]
    frozen = frozen_folder(folder / "1").parent
    outlived = [
        frozen / str(number)
        for number in versions(frozen)[:-1]
        if number in old or number not in there
    ]
    # The version last: until it has gone, the next call finds its indexes.
    of_old = [folder / str(number) for number in old]
    for path in (*outlived, *map(index_folder, of_old), *of_old):
        if path.is_dir():
            path.rename(path.with_name(f".{path.name}.retired"))
    for beside in (folder, frozen):
        for path in beside.glob(".*.retired"):
            shutil.rmtree(path)
    return old
