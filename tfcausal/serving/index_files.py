"""The folder of an index.

    MODEL/VERSION-scann/vectors.npy    [rows, dim] float32, memory-mapped as it is read
    MODEL/VERSION-scann/items.txt      item ids, a line for each row
    MODEL/VERSION-scann/scann/*.npy    what ScaNN's searcher consists of beside them
    MODEL/VERSION-scann/deleted.txt    ids whose row no longer counts
    MODEL/VERSION-scann/added.npy      [n, dim] float32, searched exactly
    MODEL/VERSION-scann/added.txt      their ids
    MODEL/VERSION-scann/manifest.json  kind "index"

All are arrays and lines of text; nothing is ever unpickled.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfcausal.errors import InputError
from tfcausal.schema.manifest import Manifest, read_manifest
from tfcausal.serving.index_settings import IndexSettings
from tfcausal.serving.item_index import IndexedItems, ItemIndex
from tfcausal.serving.scann_searcher import PARTS, Searcher

AS_BUILT = "as_built"
"""Option of an index whose row r is item r of its export, with that item's vector."""


def write_index(folder: Path, index: ItemIndex) -> dict[str, Any]:
    """Writes an index into an empty folder.

    Returns:
        What the manifest's details must say for `read_index`.
    """
    np.save(folder / "vectors.npy", index.base.vectors)
    np.save(folder / "added.npy", index.added_vectors)
    gone = np.flatnonzero(index.gone).tolist()
    write_ids(folder / "items.txt", index.base.items)
    write_ids(folder / "added.txt", index.added)
    write_ids(folder / "deleted.txt", (index.base.items[row] for row in gone))
    (folder / "scann").mkdir()
    for name, part in index.base.searcher.parts().items():
        np.save(folder / "scann" / f"{name}.npy", part)
    return {
        "longest_item": index.base.longest,
        "settings": asdict(index.base.searcher.settings),
    }


def load_index(folder: Path) -> ItemIndex:
    """Opens an index; see `read_index`."""
    return read_index(folder, read_manifest(folder, kind="index"))


def read_index(folder: Path, manifest: Manifest) -> ItemIndex:
    """Opens an index whose manifest is read already.

    Raises:
        InputError: If its files do not fit together.
        ImportError: If ScaNN is not installed.
    """
    try:
        settings = IndexSettings(**manifest.details["settings"])
        vectors = _array(folder / "vectors.npy")
        items = read_ids(folder / "items.txt")
        added = read_ids(folder / "added.txt")
        added_vectors = np.load(folder / "added.npy", allow_pickle=False)
        deleted = read_ids(folder / "deleted.txt")
        parts = {
            name: _array(folder / "scann" / f"{name}.npy")
            for name in PARTS
            if (folder / "scann" / f"{name}.npy").is_file()
        }
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"`{folder}` must be an index as `tfcausal index` writes it; {error}. "
            "Build it again."
        ) from error
    if len(items) != len(vectors) or len(added) != len(added_vectors):
        raise InputError(
            f"`{folder}` must have an id for each vector; got {len(items):,} and "
            f"{len(added):,} for {len(vectors):,} and {len(added_vectors):,}. Build "
            "the index again."
        )
    if read_manifest(folder, kind="index").fingerprint != manifest.fingerprint:
        raise InputError(
            f"`{folder}` must stay as it is while it is read; it was replaced. Open it "
            "again."
        )
    searcher = Searcher.of_parts(parts, vectors, settings)
    base = IndexedItems(searcher, items, vectors, manifest.details["longest_item"])
    return ItemIndex.of(base).deleted(deleted).upserted(added, added_vectors)


def require_as_built(folder: Path, manifest: Manifest) -> None:
    """Raises InputError if items have come, changed or gone since the export."""
    if not manifest.options.get(AS_BUILT):
        raise InputError(
            f"`{folder}` must be the index as built; its items have changed since. "
            "Build it again with `tfcausal index --overwrite`."
        )


def read_ids(path: Path) -> list[str]:
    """Reads ids, a line each; only a newline ends one."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def write_ids(path: Path, items: Iterable[str]) -> None:
    """Writes ids, a line each."""
    path.write_text("".join(f"{item}\n" for item in items), encoding="utf-8")


def _array(path: Path) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return found
