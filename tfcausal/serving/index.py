"""Builds the ScaNN index of an exported model, and keeps it if its recall is high."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfcausal.errors import InputError
from tfcausal.schema.exported import ids_file
from tfcausal.schema.folders import refuse_existing, staged_folder
from tfcausal.schema.manifest import (
    Manifest,
    checksums,
    library_versions,
    read_manifest,
    write_manifest,
)
from tfcausal.schema.vectors import Float32s
from tfcausal.serving.index_files import AS_BUILT, read_ids, write_index
from tfcausal.serving.index_recall import interventions, recall_of, widened
from tfcausal.serving.index_settings import (
    IndexSettings,
    bytes_to_build,
    require_memory,
)
from tfcausal.serving.item_index import IndexedItems, ItemIndex, require_ids
from tfcausal.serving.versions import index_folder

_BATCH = 8192


def build_index(
    version: Path,
    *,
    floor: float = 0.95,
    k: int = 100,
    num_users: int = 256,
    settings: IndexSettings | None = None,
    overwrite: bool = False,
    ignore_memory: bool = False,
) -> Path:
    """Indexes an exported model's items, and keeps the index if its recall is high.

    Args:
        version: Folder of an exported version.
        floor: Recall that must be reached against exact search, with all causes at
            weight 1 and with each at 0, 0.25, 0.5 and 2.
        k: Places that recall is measured at.
        num_users: Users, evenly over the vocabulary, whose vectors are the queries.
        settings: How to search; None chooses by the number of items, and looks into
            more leaves where the recall asks for it.
        overwrite: Whether an index that is there may be replaced.
        ignore_memory: Whether to go on where the memory that it will take is not free.
    Returns:
        The index's folder.
    Raises:
        InputError: If there is no exported model, an item is there twice, memory is
            short, or the recall is below the floor; then no index is written.
        ImportError: If ScaNN is not installed.
    """
    target = index_folder(version)
    if not overwrite:
        refuse_existing(target)
    manifest = read_manifest(version, kind="export")
    causes = manifest.details["causes"]
    if not ignore_memory:
        require_memory(*_size(manifest))
    items = read_ids(ids_file(version, "items"))
    # A model with an id twice does not load, and says so in other words.
    require_ids(items)
    vectors, queries = _embedded(version, items, num_users)
    asked = dict(interventions(queries, causes))
    built, recall = _measured(f"`{target}`", items, vectors, asked, floor, k, settings)
    with staged_folder(target, "index", overwrite=overwrite) as partial:
        _write(partial, built, recall, floor, k, {"export": manifest.fingerprint})
    return target


def build_shard(
    folder: Path,
    items: Sequence[str],
    vectors: Float32s,
    queries: Float32s,
    causes: Mapping[str, slice],
    *,
    floor: float,
    k: int,
    inputs: Mapping[str, str],
) -> None:
    """Writes the index of some items of a catalogue, if its recall is high.

    Args:
        folder: An empty folder.
        items: Their ids, each once.
        vectors: [num_items, dim] float32.
        queries: [num_users, num_queries, dim] float32, of known users.
        causes: Cause to its coordinates.
        floor: As in `build_index`.
        k: As in `build_index`.
        inputs: What the vectors come from, for the manifest.
    Raises:
        InputError: If an item is there twice, a vector is not finite, or the recall is
            below the floor; then nothing is written.
        ImportError: If ScaNN is not installed.
    """
    bounds = {cause: (part.start, part.stop) for cause, part in causes.items()}
    asked = dict(interventions(queries, bounds))
    name = f"Items {items[0]} to {items[-1]}"
    built, recall = _measured(name, items, vectors, asked, floor, k, None)
    _write(folder, built, recall, floor, k, inputs)


def _measured(
    name: str,
    items: Sequence[str],
    vectors: Float32s,
    asked: Mapping[str, Float32s],
    floor: float,
    k: int,
    settings: IndexSettings | None,
) -> tuple[IndexedItems, dict[str, float]]:
    """Returns an index and its recall, none of which is below the floor."""
    built = IndexedItems.build(items, vectors, settings)
    if settings is None:
        built, recall = widened(built, asked, k, floor)
    else:
        recall = recall_of(built, asked, k)
    short = [f"{one:.4f} {kind}" for kind, one in recall.items() if one < floor]
    if short:
        leaves = built.searcher.settings.leaves_to_search
        raise InputError(
            f"{name}: recall@{k} must be at least {floor:g}; got {', '.join(short)} "
            f"from {leaves} of {built.searcher.settings.num_leaves} leaves. Lower the "
            "floor."
        )
    return built, recall


def _write(
    folder: Path,
    built: IndexedItems,
    recall: Mapping[str, float],
    floor: float,
    k: int,
    inputs: Mapping[str, str],
) -> None:
    details = write_index(folder, ItemIndex.of(built))
    write_manifest(
        folder,
        Manifest(
            kind="index",
            options={"floor": floor, "k": k, AS_BUILT: True},
            counts={"items": len(built.items), "changed": 0},
            inputs=inputs,
            files=checksums(folder),
            details=details | {"recall": recall},
            versions=library_versions("scann", "numpy"),
        ),
    )


def forecast(version: Path) -> str:
    """Returns a line on the memory that indexing an exported model takes.

    Raises:
        InputError: If there is no exported model.
    """
    num_items, dim = _size(read_manifest(version, kind="export"))
    gib = bytes_to_build(num_items, dim) / 2**30
    return (
        f"Indexing {num_items:,} items of {dim} dimensions: about {gib:.1f} GiB of "
        "memory."
    )


def _size(manifest: Manifest) -> tuple[int, int]:
    """Returns how many items an export has, and the dimensions of their vectors."""
    dim = max(stop for _, stop in manifest.details["causes"].values())
    return manifest.counts["items"] - 1, dim


def _embedded(
    version: Path, items: Sequence[str], num_users: int
) -> tuple[Float32s, Float32s]:
    """Returns the vectors of all items, and the queries of some users."""
    model: Any = tf.saved_model.load(str(version))
    vectors = np.concatenate(
        [
            model.signatures["item_embedding"](item_id=tf.constant(batch))[
                "embedding"
            ].numpy()
            for batch in _batches(items)
        ]
    )
    users = read_ids(ids_file(version, "users"))
    sample = np.unique(np.linspace(0, len(users) - 1, num_users).astype(int))
    asked = tf.constant([users[user] for user in sample.tolist()])
    answer = model.signatures["user_embedding"](user_id=asked)
    # Who is unknown has a vector that no list is made by.
    known = answer["known_user"].numpy()
    queries = answer["embedding"].numpy()
    return vectors, queries[known] if known.any() else queries


def _batches(items: Sequence[str]) -> Iterable[Sequence[str]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]
