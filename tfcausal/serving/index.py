"""A ScaNN index beside an exported model: nearly the same lists, in less time.

    MODEL/VERSION-scann/scann/         what ScaNN serialized
    MODEL/VERSION-scann/items.txt      item ids, a line for each indexed vector
    MODEL/VERSION-scann/manifest.json  kind "index"

One index serves every weight of a cause: weights scale the query, never the items.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfcausal.errors import InputError
from tfcausal.schema.folders import refuse_existing, staged_folder
from tfcausal.schema.manifest import (
    Manifest,
    checksums,
    library_versions,
    read_manifest,
    write_manifest,
)
from tfcausal.schema.vectors import Float32s
from tfcausal.stats.negatives import Int64s

_BRUTE_FORCE_ITEMS = 20_000
_BATCH = 8192
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

    def __init__(self, searcher: Any, items: Sequence[str], settings: IndexSettings):
        """Takes a searcher whose row r is the item `items[r]`."""
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
            InputError: If k is below 1 or a query is not finite.
        """
        if k < 1:
            raise InputError(f"`k` must be at least 1; got {k}.")
        if not np.isfinite(queries).all():
            raise InputError("Queries must be finite; check the weights of causes.")
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


def build_index(
    version: Path,
    *,
    floor: float = 0.95,
    k: int = 100,
    num_users: int = 256,
    settings: IndexSettings | None = None,
    overwrite: bool = False,
) -> Path:
    """Indexes an exported model's items, and keeps the index if its recall is high.

    Args:
        version: Folder of an exported version.
        floor: Recall that must be reached against exact search, with all causes at
            weight 1 and with each at 0 and 2.
        k: Places that recall is measured at.
        num_users: Users, evenly over the vocabulary, whose vectors are the queries.
        settings: How to search; None chooses by the number of items.
        overwrite: Whether an index that is there may be replaced.
    Returns:
        The index's folder.
    Raises:
        InputError: If there is no exported model, an item is there twice, or the recall
            is below the floor; then no index is written.
        ImportError: If ScaNN is not installed.
    """
    pybind = _scann()
    target = index_folder(version)
    if not overwrite:
        refuse_existing(target)
    manifest = read_manifest(version, kind="export")
    model = tf.saved_model.load(str(version))
    items = read_ids(version / "assets" / "items.txt")
    if len(set(items)) != len(items):
        raise InputError(f"`{version}` must name each item once; an id is there twice.")
    vectors = np.concatenate(
        [
            model.signatures["item_embedding"](item_id=tf.constant(batch))[
                "embedding"
            ].numpy()
            for batch in _batches(items)
        ]
    )
    users = read_ids(version / "assets" / "users.txt")
    sample = np.unique(np.linspace(0, len(users) - 1, num_users).astype(int))
    asked = tf.constant([users[user] for user in sample.tolist()])
    queries = model.signatures["user_embedding"](user_id=asked)["embedding"].numpy()
    chosen = settings or IndexSettings.for_items(len(items))
    with staged_folder(target, overwrite=overwrite) as partial:
        (partial / "scann").mkdir()
        _build(pybind, vectors, chosen).serialize(
            str(partial / "scann"), relative_path=True
        )
        (partial / "items.txt").write_text(
            "".join(f"{item}\n" for item in items), encoding="utf-8"
        )
        index = _open(pybind, partial, chosen)
        recall = {
            name: recall_at(index, vectors, weighted, k)
            for name, weighted in _interventions(queries, manifest.details["causes"])
        }
        if min(recall.values()) < floor:
            raise InputError(
                f"`{target}`: recall@{k} must be at least {floor}; got "
                f"{', '.join(f'{value:.3f} {name}' for name, value in recall.items())}. "
                "Search more leaves, or lower --floor."
            )
        write_manifest(
            partial,
            Manifest(
                kind="index",
                options={"floor": floor, "k": k, **asdict(chosen)},
                counts={"items": len(items)},
                inputs={"export": manifest.fingerprint},
                files=checksums(partial),
                details={"recall": recall},
                versions=library_versions("scann", "numpy"),
            ),
        )
    return target


def load_index(folder: Path) -> ItemIndex:
    """Opens an index.

    Raises:
        InputError: If there is none, or it holds a pickle, which is never opened.
        ImportError: If ScaNN is not installed.
    """
    manifest = read_manifest(folder, kind="index")
    if any(folder.rglob(_PICKLE)):
        raise InputError(
            f"`{folder}` must hold no {_PICKLE}, which could run anything; it does. "
            "Build the index again with `tfcausal index`."
        )
    names = ("num_leaves", "leaves_to_search", "reorder")
    settings = IndexSettings(**{name: manifest.options[name] for name in names})
    return _open(_scann(), folder, settings)


def recall_at(index: ItemIndex, vectors: Float32s, queries: Float32s, k: int) -> float:
    """Returns the mean share of the exact k best that the index finds.

    An item counts if its score reaches that of the exact k-th place, so that ties cost
    nothing.

    Args:
        index: The index of `vectors`.
        vectors: [num_items, dim] float32.
        queries: [n, dim] float32.
        k: Places.
    """
    depth = min(k, len(vectors))
    shares = []
    for query in queries:
        exact = vectors @ query
        last = np.partition(exact, len(exact) - depth)[len(exact) - depth]
        rows, scores = index.nearest(query[None], depth)
        found = exact[rows[0][np.isfinite(scores[0])]]
        slack = 1e-5 * float(np.abs(exact).max())
        shares.append(float((found >= last - slack).sum()) / depth)
    return float(np.mean(shares))


def read_ids(path: Path) -> list[str]:
    """Reads ids, a line each; only a newline ends one."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def _interventions(
    queries: Float32s, causes: Mapping[str, Sequence[int]]
) -> Iterable[tuple[str, Float32s]]:
    """Yields the queries as they are, then with each cause at 0 and at 2, [n, dim]."""
    flat = queries.reshape(-1, queries.shape[-1])
    yield "as trained", flat
    for cause, (start, stop) in causes.items():
        for weight in (0, 2):
            scaled = flat.copy()
            scaled[:, start:stop] *= weight
            yield f"{cause}={weight}", scaled


def _build(pybind: Any, vectors: Float32s, settings: IndexSettings) -> Any:
    builder = pybind.builder(vectors, min(10, len(vectors)), "dot_product")
    if not settings.num_leaves:
        return builder.score_brute_force().build()
    return (
        builder.tree(
            num_leaves=settings.num_leaves,
            num_leaves_to_search=settings.leaves_to_search,
            training_sample_size=min(len(vectors), 250_000),
        )
        .score_ah(2, anisotropic_quantization_threshold=0.2)
        .reorder(settings.reorder)
        .build()
    )


def _open(pybind: Any, folder: Path, settings: IndexSettings) -> ItemIndex:
    searcher = pybind.load_searcher(str(folder / "scann"))
    return ItemIndex(searcher, read_ids(folder / "items.txt"), settings)


def _batches(items: Sequence[str]) -> Iterable[Sequence[str]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def _scann() -> Any:
    try:
        from scann.scann_ops.py import scann_ops_pybind
    except ImportError as error:
        raise ImportError(
            "An index needs ScaNN: pip install 'tfcausal[scann]'."
        ) from error
    return scann_ops_pybind
