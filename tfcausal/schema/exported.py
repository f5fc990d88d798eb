"""Where exported models and the vectors of their catalogues lie; no file is written.

saved_models/NAME/VERSION/                  an exported model
saved_models/NAME/VERSION/assets/users.txt  ids, a line each, from index 1 on
saved_models/NAME/VERSION/assets/items.txt
VECTORS/users/part-00000.parquet            what beam_jobs.embed writes
VECTORS/items/part-00000.parquet
INDEX/shard-00000/                          what beam_jobs.index writes
"""

import re
from dataclasses import dataclass
from pathlib import Path

from tfcausal.errors import InputError
from tfcausal.schema.manifest import Manifest, kind_of

_VERSION = re.compile(r"[1-9][0-9]*")


def versions(folder: Path) -> list[int]:
    """Returns the versions of a model, ascending: its folders named by an integer."""
    names = [path.name for path in folder.glob("*") if path.is_dir()]
    return sorted(int(name) for name in names if _VERSION.fullmatch(name))


def find_version(model_dir: Path) -> Path:
    """Returns `model_dir`, or its last version where it is a model's folder.

    Raises:
        InputError: If it is neither, or a frozen index.
    """
    if (model_dir / "saved_model.pb").is_file():
        return _of_commands(model_dir)
    found = versions(model_dir)
    if not found:
        there = ", ".join(map(str, versions(model_dir.parent)))
        advice = (
            f"`{model_dir.parent}` has these: {there}."
            if _VERSION.fullmatch(model_dir.name) and there
            else "Run `tfcausal export` first."
        )
        raise InputError(
            f"`{model_dir}` must be an exported model or one version of it; it is not. "
            f"{advice}"
        )
    return _of_commands(model_dir / str(found[-1]))


def _of_commands(version: Path) -> Path:
    if kind_of(version) == "frozen_index":
        raise InputError(
            f"`{version}` must be an exported model; it is a frozen index, which "
            "servers load. Give the model that it was made of."
        )
    return version


def ids_file(version: Path, kind: str) -> Path:
    """Returns the file of the ids of "users" or "items" of an exported version."""
    return version / "assets" / f"{kind}.txt"


def index_shard(folder: Path, number: int) -> Path:
    """Returns the index of one shard of the items in what beam_jobs.index writes."""
    return folder / f"shard-{number:05d}"


def causes_of(manifest: Manifest) -> dict[str, slice]:
    """Returns the causes of an export, or of its vectors, with their coordinates."""
    bounds = sorted(manifest.details["causes"].items(), key=lambda part: part[1])
    return {cause: slice(*part) for cause, part in bounds}


@dataclass(frozen=True)
class VectorsFolder:
    """The paths below a folder of vectors; touches no file."""

    root: Path

    @property
    def users(self) -> Path:
        """The users, in shards of successive indices."""
        return self.root / "users"

    @property
    def items(self) -> Path:
        """The items, in shards of successive indices."""
        return self.root / "items"
