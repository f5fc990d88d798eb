"""Search in a ScaNN index: nearly the lists of exact search, in less time.

    MODEL/VERSION-scann/scann/         what ScaNN serialized
    MODEL/VERSION-scann/items.txt      item ids, a line for each indexed vector
    MODEL/VERSION-scann/manifest.json  kind "index"

One index serves every weight of a cause: weights scale the query, never the items.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np

from tfcausal.errors import InputError
from tfcausal.schema.manifest import read_manifest
from tfcausal.schema.vectors import Float32s
from tfcausal.stats.nearest import LARGEST_SCORE, longest
from tfcausal.stats.negatives import Int64s

_BRUTE_FORCE_ITEMS = 20_000
_PICKLE = "scann_docids.pkl"


@dataclass(frozen=True)
class IndexSettings:
    """How ScaNN searches.

    Attributes:
        num_leaves: Leaves of the tree; 0 compares with every item, exactly.
        leaves_to_search: Leaves looked into for a query.
        reorder: Candidates of the quantized search that are scored exactly.
    """

    num_leaves: int = 0
    leaves_to_search: int = 0
    reorder: int = 0

    @classmethod
    def for_items(cls, num_items: int) -> "IndexSettings":
        """Returns settings that reach a recall of about 0.95 at 100 places."""
        if num_items < _BRUTE_FORCE_ITEMS:
            return cls()
        leaves = isqrt(num_items)
        return cls(leaves, max(leaves // 10, 30), max(num_items // 1000, 300))


class ItemIndex:
    """Finds the items of largest inner product; those excluded are never among them."""

    def __init__(
        self,
        searcher: Any,
        items: Sequence[str],
        settings: IndexSettings,
        longest_item: float,
    ) -> None:
        """Takes a searcher whose row r is the item `items[r]`, and the largest norm."""
        self._longest_item = longest_item
        self._searcher = searcher
        self._items = items
        self._rows = {item: row for row, item in enumerate(items)}
        self._settings = settings

    def search(
        self, queries: Float32s, k: int, excluded: Sequence[Collection[str]] = ()
    ) -> list[list[tuple[str, float]]]:
        """Finds the best items of each query.

        As many more are fetched as are excluded. Where the leaves that are looked into
        hold fewer than k others, all leaves are.

        Args:
            queries: [n, dim] float32, finite.
            k: Length of the lists; shorter where there are no more items.
            excluded: Item ids that each query must not get; unknown ones do nothing.
                Empty for none at all.
        Returns:
            For each query its items and scores, best first.
        Raises:
            InputError: If k is below 1, or scores could leave float32.
        """
        if k < 1:
            raise InputError(f"`k` must be at least 1; got {k}.")
        # So put that a norm which is not a number is refused as well.
        if not longest(queries) * self._longest_item <= LARGEST_SCORE:
            raise InputError("Scores must stay finite; lower the weights of causes.")
        known = [
            {self._rows[item] for item in items if item in self._rows}
            for items in (excluded or [()] * len(queries))
        ]
        return [
            self._search(query, k, hidden)
            for query, hidden in zip(queries, known, strict=True)
        ]

    def _search(
        self, query: Float32s, k: int, hidden: set[int]
    ) -> list[tuple[str, float]]:
        wanted = min(k, len(self._items) - len(hidden))
        found: list[tuple[str, float]] = []
        for everywhere in (False, True):
            rows, scores = self.nearest(
                query[None], wanted + len(hidden), everywhere=everywhere
            )
            found = [
                (self._items[row], score)
                for row, score in zip(rows[0].tolist(), scores[0].tolist(), strict=True)
                if row not in hidden and np.isfinite(score)
            ][:wanted]
            if len(found) == wanted:
                break
        return found

    def nearest(
        self, queries: Float32s, k: int, *, everywhere: bool = False
    ) -> tuple[Int64s, Float32s]:
        """Returns rows and scores, [n, at most k]; scores past the end are NaN."""
        depth = min(k, len(self._items))
        if depth == 0 or not len(queries):
            return (
                np.zeros((len(queries), 0), np.int64),
                np.zeros((len(queries), 0), np.float32),
            )
        limits = {}
        if self._settings.num_leaves:
            limits = {
                "leaves_to_search": self._settings.num_leaves
                if everywhere
                else self._settings.leaves_to_search,
                "pre_reorder_num_neighbors": len(self._items)
                if everywhere
                else max(self._settings.reorder, depth),
            }
        rows, scores = self._searcher.search_batched(
            np.ascontiguousarray(queries, np.float32),
            final_num_neighbors=depth,
            **limits,
        )
        return rows.astype(np.int64), scores


def index_folder(version: Path) -> Path:
    """Returns where the index of an exported version lies.

    Beside it, as TensorFlow Serving takes only integers for versions.
    """
    return version.with_name(f"{version.name}-scann")


def load_index(folder: Path) -> ItemIndex:
    """Opens an index.

    Raises:
        InputError: If there is none, or it holds a pickle, which is never opened.
        ImportError: If ScaNN is not installed.
    """
    manifest = read_manifest(folder, kind="index")
    names = ("num_leaves", "leaves_to_search", "reorder")
    settings = IndexSettings(**{name: manifest.options[name] for name in names})
    return open_index(folder, settings, manifest.details["longest_item"])


def read_ids(path: Path) -> list[str]:
    """Reads ids, a line each; only a newline ends one."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def open_index(folder: Path, settings: IndexSettings, longest_item: float) -> ItemIndex:
    """Opens the searcher and the ids in `folder`, unless a pickle is among them.

    Raises:
        InputError: If one is.
        ImportError: If ScaNN is not installed.
    """
    if any(folder.rglob(_PICKLE)):
        raise InputError(
            f"`{folder}` must hold no {_PICKLE}, which could run anything; it does. "
            "Build the index again with `tfcausal index`."
        )
    searcher = scann_module().load_searcher(str(folder / "scann"))
    items = read_ids(folder / "items.txt")
    return ItemIndex(searcher, items, settings, longest_item)


def scann_module() -> Any:
    """Returns ScaNN's module of searchers and their builders.

    Raises:
        ImportError: If ScaNN is not installed.
    """
    try:
        from scann.scann_ops.py import scann_ops_pybind
    except ImportError as error:
        raise ImportError("An index needs ScaNN: pip install 'scann[tf]'.") from error
    return scann_ops_pybind
