"""The concepts of items that beam_jobs.item_concepts wrote, read into arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfcausal.data.interactions import CheckedDataset, read_vocabulary
from tfcausal.errors import InputError, unknown_name
from tfcausal.schema import columns
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.dataset import TRAIN, ConceptFolder
from tfcausal.schema.manifest import Manifest, read_manifest, require_input
from tfcausal.stats.concepts import MultiHot, shares_matrix
from tfcausal.stats.graph import CSR, Int32s, Int64s

_AGAIN = "Run beam_jobs.item_concepts again."


@dataclass(frozen=True)
class Concept:
    """The values of one concept, and those that each item has.

    Attributes:
        values: [num_values] string array; row 0 is the unknown value "".
        counts: [num_values] int64 items that have each.
        items: The values of each item, [num_items, num_values].
    """

    values: pa.Array
    counts: Int64s
    items: MultiHot


@dataclass(frozen=True)
class ItemConcepts:
    """All concepts of a data set's items.

    Attributes:
        manifest: What the job promised.
        concepts: By name, in the order of the job's --concepts.
    """

    manifest: Manifest
    concepts: Mapping[str, Concept]


def read_concepts(dataset: CheckedDataset) -> ItemConcepts:
    """Reads the concepts of items.

    Args:
        dataset: The data set whose concepts are read.
    Returns:
        The concepts, 4 bytes for each value of each item and 8 for each item.
    Raises:
        InputError: If they are missing, of another split, or do not hold what their
            manifest says.
    """
    manifest = _open(dataset)
    names = manifest.options["concepts"]
    return ItemConcepts(
        manifest, {name: _read_concept(dataset, manifest, name) for name in names}
    )


def read_concept(dataset: CheckedDataset, name: str) -> Concept:
    """Reads one concept of items.

    Args:
        dataset: The data set whose concepts are read.
        name: The concept.
    Raises:
        InputError: As `read_concepts`, or there is no such concept.
    """
    manifest = _open(dataset)
    if name not in manifest.options["concepts"]:
        raise unknown_name("concept", name, manifest.options["concepts"])
    return _read_concept(dataset, manifest, name)


def values_by_id(
    dataset: CheckedDataset, concept: Concept, item_ids: Sequence[str]
) -> Int32s:
    """Returns the values of items, [n, any] int32, then `NO_VALUE`.

    An unknown id has none.

    Args:
        dataset: The data set whose concept it is.
        concept: The concept.
        item_ids: [n] ids.
    """
    ids = pa.array(item_ids, pa.string())
    known = read_vocabulary(dataset.folder.items)
    found = pc.index_in(ids, known.cast(pa.string())).fill_null(UNKNOWN_INDEX)
    return concept.items.padded(found.to_numpy())


def read_user_shares(dataset: CheckedDataset, concept: str, part: str = TRAIN) -> CSR:
    """Reads the shares of a part's users in the values of a concept.

    `stats.concepts.dense_shares` makes rows of it, and `mean_shares` what stands for a
    user without any value.

    Args:
        dataset: The data set whose concepts are read.
        concept: The concept.
        part: "train" for what users are trained on, or what is folded in of users who
            are held out, such as "test_fold_in".
    Returns:
        [num_users, num_values] shares; without an entry where a user has no row in the
        part, or no item with a value.
    Raises:
        InputError: If they are missing, of another split, do not hold what their
            manifest says, or there is no such concept or part.
    """
    manifest = _open(dataset)
    concepts, parts = manifest.options["concepts"], manifest.details["parts"]
    if concept not in concepts:
        raise unknown_name("concept", concept, concepts)
    if part not in parts:
        raise unknown_name("part", part, parts)
    root = dataset.folder.item_concepts
    folder = ConceptFolder(root / concept).users(part)
    prefix = f"{concept}/users/{part}/"
    names = sorted(name for name in manifest.files if name.startswith(prefix))
    tables = [_read(root / name) for name in names]
    shares = shares_matrix(tables, dataset.num_users)
    num_values = int(manifest.counts[f"{concept}_values"]) + 1
    users = int(manifest.counts[f"users_in_{part}"])
    found = sum(len(table) for table in tables)
    if found != users or shares.indices.max(initial=0) >= num_values:
        raise InputError(
            f"`{folder}` must have {users} users and {num_values} values, as its "
            f"manifest says; got {found} users and values up to "
            f"{shares.indices.max(initial=0)}. {_AGAIN}"
        )
    return shares


def _open(dataset: CheckedDataset) -> Manifest:
    folder = dataset.folder.item_concepts
    manifest = read_manifest(folder, kind="item_concepts")
    require_input(manifest, "splits", dataset.splits.fingerprint, folder)
    return manifest


def _read_concept(dataset: CheckedDataset, manifest: Manifest, name: str) -> Concept:
    folder = ConceptFolder(dataset.folder.item_concepts / name)
    values = _read(folder.values)
    items = MultiHot.from_table(_read(folder.items))
    num_values = int(manifest.counts[f"{name}_values"]) + 1
    fits = (
        len(values) == num_values
        and len(items.indptr) == dataset.num_items + 1
        and items.indices.max(initial=0) < num_values
    )
    if not fits:
        raise InputError(
            f"`{folder.root}` must have {num_values} values and {dataset.num_items} "
            f"items; got {len(values)} and {len(items.indptr) - 1}. {_AGAIN}"
        )
    return Concept(
        values[columns.VALUE].combine_chunks(),
        values[columns.COUNT].to_numpy(),
        items,
    )


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(
            f"`{path}` must be a Parquet file of a concept; {error}. {_AGAIN}"
        ) from error
