"""Builds the ScaNN index of an exported model, and keeps it if its recall is high."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcausal.errors import InputError
from tfcausal.evaluation.ranking import BLOCK_SCORES
from tfcausal.schema.folders import refuse_existing, staged_folder
from tfcausal.schema.manifest import (
    Manifest,
    checksums,
    library_versions,
    read_manifest,
    write_manifest,
)
from tfcausal.schema.vectors import Float32s
from tfcausal.serving.item_index import (
    IndexSettings,
    ItemIndex,
    index_folder,
    open_index,
    read_ids,
    scann_module,
)
from tfcausal.stats.nearest import longest

_BATCH = 8192
_TRAINING_SAMPLE = 250_000
_ROUNDING = 1e-5


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
    target = index_folder(version)
    if not overwrite:
        refuse_existing(target)
    manifest = read_manifest(version, kind="export")
    items = read_ids(version / "assets" / "items.txt")
    if len(set(items)) != len(items):
        raise InputError(f"`{version}` must name each item once; an id is there twice.")
    model = tf.saved_model.load(str(version))
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
    longest_item = longest(vectors)
    with staged_folder(target, overwrite=overwrite) as partial:
        save_searcher(partial, vectors, items, chosen)
        index = open_index(partial, chosen, longest_item)
        recall = {
            name: recall_at(index, vectors, weighted, k)
            for name, weighted in _interventions(queries, manifest.details["causes"])
        }
        if min(recall.values()) < floor:
            measured = (f"{value:.3f} {name}" for name, value in recall.items())
            raise InputError(
                f"`{target}`: recall@{k} must be at least {floor}; got "
                f"{', '.join(measured)}. Search more leaves, or lower --floor."
            )
        write_manifest(
            partial,
            Manifest(
                kind="index",
                options={"floor": floor, "k": k, **asdict(chosen)},
                counts={"items": len(items)},
                inputs={"export": manifest.fingerprint},
                files=checksums(partial),
                details={"recall": recall, "longest_item": longest_item},
                versions=library_versions("scann", "numpy"),
            ),
        )
    return target


def save_searcher(
    folder: Path, vectors: Float32s, items: Sequence[str], settings: IndexSettings
) -> None:
    """Lets ScaNN build a searcher and writes it with the ids into `folder`.

    Args:
        folder: An existing folder.
        vectors: [num_items, dim] float32.
        items: Ids, one for each vector.
        settings: How to search.
    Raises:
        ImportError: If ScaNN is not installed.
    """
    builder = scann_module().builder(vectors, min(10, len(vectors)), "dot_product")
    if settings.num_leaves:
        builder = (
            builder.tree(
                num_leaves=settings.num_leaves,
                num_leaves_to_search=settings.leaves_to_search,
                training_sample_size=min(len(vectors), _TRAINING_SAMPLE),
            )
            .score_ah(2, anisotropic_quantization_threshold=0.2)
            .reorder(settings.reorder)
        )
    else:
        builder = builder.score_brute_force()
    (folder / "scann").mkdir()
    builder.build().serialize(str(folder / "scann"), relative_path=True)
    (folder / "items.txt").write_text(
        "".join(f"{item}\n" for item in items), encoding="utf-8"
    )


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
    found_share = 0.0
    size = max(BLOCK_SCORES // len(vectors), 1)
    for first in range(0, len(queries), size):
        block = queries[first : first + size]
        exact = block @ vectors.T
        last = np.partition(exact, -depth, axis=1)[:, -depth]
        slack = _ROUNDING * np.abs(exact).max(axis=1)
        rows, scores = index.nearest(block, depth)
        reached = np.take_along_axis(exact, rows, axis=1) >= (last - slack)[:, None]
        found_share += float((reached & np.isfinite(scores)).sum()) / depth
    return found_share / len(queries)


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


def _batches(items: Sequence[str]) -> Iterable[Sequence[str]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]
