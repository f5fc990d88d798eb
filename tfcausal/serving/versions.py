"""The versions of an exported model: folders named by integers, counted up."""

import shutil
from collections.abc import Collection
from pathlib import Path

from tfcausal.errors import InputError
from tfcausal.schema.exported import versions


def next_version(folder: Path) -> int:
    """Returns the number after the last version of a model, 1 for the first."""
    return max(versions(folder), default=0) + 1


def index_folder(version: Path) -> Path:
    """Returns where the index of an exported version lies.

    Beside it, as TensorFlow Serving takes only integers for versions.
    """
    return version.with_name(f"{version.name}-scann")


def require_keep(keep: int) -> None:
    """Raises InputError unless at least one version is kept."""
    if keep < 1:
        raise InputError(f"`keep` must be at least 1; got {keep}.")


def retire(folder: Path, keep: int, labelled: Collection[int] = ()) -> list[int]:
    """Removes all versions of a model but the last ones, and their indexes.

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
    old = [one for one in versions(folder)[:-keep] if one not in labelled]
    for version in old:
        for path in (folder / str(version), index_folder(folder / str(version))):
            if path.is_dir():
                path.rename(path.with_name(f".{path.name}.retired"))
    for path in folder.glob(".*.retired"):
        shutil.rmtree(path)
    return old
