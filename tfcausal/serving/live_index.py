"""An index that changes while it is searched: upsert, delete, rebuild, save, swap."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock, Thread

from tfcausal.errors import InputError
from tfcausal.schema.folders import staged_folder
from tfcausal.schema.manifest import (
    Manifest,
    checksums,
    library_versions,
    read_manifest,
    write_manifest,
)
from tfcausal.schema.vectors import Float32s
from tfcausal.serving.index_files import AS_BUILT, read_index, write_index
from tfcausal.serving.index_recall import recall_at
from tfcausal.serving.index_settings import IndexSettings, require_memory
from tfcausal.serving.item_index import IndexedItems, ItemIndex

_AT_LEAST = 1000
"""Changes that may always wait; exact search in so few takes no time."""
_log = logging.getLogger(__name__)


class LiveIndex:
    """Searched by many threads while others change it.

    There is one whole `ItemIndex` at any time, and every change puts another one in its
    place by one assignment. A search works on the one that it found and waits for
    nobody: what `upsert` and `delete` did is seen by each search that begins after they
    returned.

    ScaNN's own upsert and delete are not used. They exist only in its Python library
    and only for searchers with ids, which it writes as a pickle; they change a searcher
    that others are searching in; and new items are put to the leaves that were learned
    without them. Here they wait in a small matrix that is searched exactly, and once
    there are too many, a thread builds a new searcher from the vectors. Searches go on
    meanwhile, in the old one.

    Cost:
        A change copies what is waiting and a byte for each item: hand over many at
        once. A rebuild takes what `tfcausal index` takes, beside the index that is
        there.
    """

    def __init__(
        self,
        index: ItemIndex,
        *,
        fold_at: float = 0.01,
        settings: IndexSettings | None = None,
        inputs: Mapping[str, str] | None = None,
        as_built: bool = False,
    ) -> None:
        """Takes the first state.

        Args:
            index: The state.
            fold_at: Share of the catalogue that may be new, replaced or deleted until
                a rebuild begins. A thousand always may.
            settings: How rebuilt searchers search; None keeps what there is while the
                size of the catalogue stays near, and chooses by it else.
            inputs: Fingerprints of what the vectors come from, for `save`.
            as_built: Whether the items are still those of these inputs.
        """
        self._index = index
        self._fold_at = fold_at
        self._settings = settings
        self._inputs = dict(inputs or {})
        self._as_built = as_built
        self._writing = Lock()
        self._folding = Lock()
        self._touched: set[str] = set()
        self._folder: Thread | None = None

    @classmethod
    def open(cls, folder: Path, *, fold_at: float = 0.01) -> "LiveIndex":
        """Opens a folder that `tfcausal index` or `save` wrote.

        Raises:
            InputError: If there is no index.
            ImportError: If ScaNN is not installed.
        """
        manifest = read_manifest(folder, kind="index")
        index = read_index(folder, manifest)
        return cls(
            index,
            fold_at=fold_at,
            inputs=manifest.inputs,
            as_built=bool(manifest.options.get(AS_BUILT)),
        )

    @classmethod
    def build(
        cls,
        items: Sequence[str],
        vectors: Float32s,
        settings: IndexSettings | None = None,
        *,
        fold_at: float = 0.01,
    ) -> "LiveIndex":
        """Builds an index of any vectors; see `IndexedItems.build`."""
        index = ItemIndex.of(IndexedItems.build(items, vectors, settings))
        return cls(index, fold_at=fold_at, settings=settings)

    def snapshot(self) -> ItemIndex:
        """Returns the state as it is now, which no later change reaches."""
        return self._index

    def __len__(self) -> int:
        """The number of items."""
        return len(self._index)

    def search(
        self,
        queries: Float32s,
        k: int,
        excluded: Sequence[Collection[str]] = (),
        allowed: Collection[str] | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Finds the best items of each query; see `ItemIndex.search`."""
        return self._index.search(queries, k, excluded, allowed)

    def recall(self, queries: Float32s, k: int = 100) -> float:
        """Returns the mean share of the exact k best that a search finds.

        Compares each query with every item: ask now and then, with few queries.

        Args:
            queries: [n, dim] float32.
            k: Places.
        """
        return recall_at(self._index, queries, k)

    def upsert(self, items: Sequence[str], vectors: Float32s) -> None:
        """Adds items, or replaces those of the same id; all at once, or none.

        Args:
            items: Item ids, each once.
            vectors: [n, dim] float32, finite.
        Raises:
            InputError: If ids or vectors do not fit; then nothing has changed.
        """
        with self._writing:
            self._index = self._index.upserted(items, vectors)
            self._as_built = False
            self._touched.update(items)
        self._fold_if_due()

    def delete(self, items: Iterable[str]) -> int:
        """Takes items out; unknown ids do nothing.

        Returns:
            How many there were.
        """
        leaving = set(items)
        with self._writing:
            before = len(self._index)
            self._index = self._index.deleted(leaving)
            self._as_built = False
            self._touched |= leaving
            left = before - len(self._index)
        self._fold_if_due()
        return left

    def rebalance(self) -> None:
        """Builds a new searcher of all items; returns when it has taken over.

        Changes go on meanwhile, and are there afterwards.

        Raises:
            InputError: If the memory for it is not free.
        """
        with self._folding:
            self._fold()

    def wait(self) -> None:
        """Returns when no rebuild is under way in the background."""
        with self._writing:
            folder = self._folder
        if folder is not None:
            folder.join()

    def save(self, folder: Path, *, overwrite: bool = True) -> None:
        """Writes the index as it is now; the folder appears whole or not at all.

        Args:
            folder: Where to.
            overwrite: Whether an index that is there may be replaced.
        Raises:
            InputError: If it is there and may not, or another process writes it.
        """
        with self._writing:
            index, inputs, as_built = self._index, self._inputs, self._as_built
        with staged_folder(folder, "index", overwrite=overwrite) as partial:
            details = write_index(partial, index)
            write_manifest(
                partial,
                Manifest(
                    kind="index",
                    options={AS_BUILT: as_built},
                    counts={"items": len(index), "changed": index.num_changed},
                    inputs=inputs,
                    files=checksums(partial),
                    details=details,
                    versions=library_versions("scann", "numpy"),
                ),
            )

    def swap(self, folder: Path) -> None:
        """Puts another folder's index in the place of this one.

        Searches go on in the old one until the new one is read. Changes made to the old
        one are gone with it, also those made while it is read: save them, or make them
        again.

        Raises:
            InputError: If there is no index; then nothing has changed.
        """
        manifest = read_manifest(folder, kind="index")
        index = read_index(folder, manifest)
        with self._writing:
            self._index, self._inputs = index, dict(manifest.inputs)
            self._as_built = bool(manifest.options.get(AS_BUILT))

    def _fold_if_due(self) -> None:
        if not self._is_due() or not self._folding.acquire(blocking=False):
            return
        folder = Thread(target=self._fold_behind, name="rebuild-index", daemon=True)
        try:
            with self._writing:
                folder.start()
                self._folder = folder
        except RuntimeError:
            # No thread was to be had: the next change tries again.
            self._folding.release()
            raise

    def _is_due(self) -> bool:
        index = self._index
        bound = max(self._fold_at * len(index.base.items), _AT_LEAST)
        return index.num_changed > bound

    def _fold_behind(self) -> None:
        try:
            while self._is_due():
                before = self._index.base
                self._fold()
                if self._index.base is before:
                    return
        except InputError as error:
            _log.warning("The index was not rebuilt; changes keep waiting: %s", error)
        except Exception:
            _log.exception("The index was not rebuilt; changes keep waiting.")
        finally:
            self._folding.release()

    def _fold(self) -> None:
        """Builds a new searcher and puts it in place, `_folding` being held."""
        with self._writing:
            before = self._index
            self._touched = set()
        if not before.num_changed or not len(before):
            return
        require_memory(len(before), before.dim)
        base = before.folded(self._settings)
        with self._writing:
            # Another index may have been put in its place by `swap`.
            if self._index.base is before.base:
                self._index = self._index.onto(base, self._touched)
