"""The transforms of index: shards of items, each to a ScaNN index of its own.

numbers of shards -> BuildShard -> folders of an index
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_jobs.runtime.report import Report, counted_report
from beam_jobs.transforms.vectors import CatalogueVectors, in_rows
from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.exported import index_shard
from tfcausal.schema.paths import from_local_disk
from tfcausal.schema.vectors import Float32s

_NAMESPACE = "index"
_FILES_OF_USERS = 16
"""Files that the users of the queries are drawn from, at most."""


@dataclass(frozen=True)
class IndexPlan:
    """What a worker needs to know.

    Attributes:
        vectors: What embed wrote.
        fingerprint: That of its manifest.
        folder: The folder that is being written.
        shards: The files of items of each index.
        floor: Recall that an index must reach.
        k: Places that recall is measured at.
        num_users: Known users whose vectors are the queries.
    """

    vectors: CatalogueVectors
    fingerprint: str
    folder: Path
    shards: list[range]
    floor: float
    k: int
    num_users: int

    def units(self) -> range:
        """Returns the numbers of the pieces of work: the shards."""
        return range(len(self.shards))

    def queries(self) -> Float32s:
        """Reads the vectors of some known users, [n, num_queries, dim] float32."""
        files = self.vectors.user_files
        count = min(len(files), _FILES_OF_USERS)
        chosen = np.linspace(0, len(files) - 1, count).astype(int).tolist()
        return np.concatenate(
            [
                self._queries_of(file, math.ceil(self.num_users / count))
                for file in chosen
            ]
        )

    def _queries_of(self, file: int, count: int) -> Float32s:
        users = self.vectors.users(file, [columns.KNOWN_USER, columns.EMBEDDING])
        # Who is unknown has a vector that no list is made by.
        known = np.flatnonzero(users[columns.KNOWN_USER].to_numpy())
        places = np.linspace(0, max(len(known) - 1, 0), min(count, len(known)))
        rows = pa.array(known[places.astype(int)])
        return in_rows(users[columns.EMBEDDING].take(rows))


class BuildShard(beam.DoFn):
    """From the number of a shard to its index."""

    def __init__(self, plan: IndexPlan) -> None:
        """Keeps the plan."""
        self._plan = plan

    def process(self, shard: int) -> Iterator[Report]:
        """Reads, builds, measures, writes and reports."""
        try:
            num_items = self._build(shard)
        except InputError as error:
            yield Report(failures=(str(error),))
            return
        yield counted_report(_NAMESPACE, {"shards": 1, "items": num_items})

    def _build(self, shard: int) -> int:
        # TensorFlow and ScaNN are imported here and nowhere before.
        from tfcausal.serving.index import build_shard
        from tfcausal.serving.index_settings import require_memory

        plan = self._plan
        items = plan.vectors.items(
            plan.shards[shard], [columns.ITEM_ID, columns.EMBEDDING]
        )
        queries = plan.queries()
        if not len(queries):
            raise InputError(
                f"`{plan.vectors.folder.root}` must have a user that the model knows, "
                "to measure recall with; it has none. Export a model that was trained."
            )
        require_memory(
            len(items),
            queries.shape[-1],
            "Give fewer --items_per_shard, or use larger workers.",
        )
        with from_local_disk(index_shard(plan.folder, shard)) as folder:
            build_shard(
                folder,
                items[columns.ITEM_ID].to_pylist(),
                in_rows(items[columns.EMBEDDING]),
                queries,
                plan.vectors.causes,
                floor=plan.floor,
                k=plan.k,
                inputs={"vectors": plan.fingerprint},
            )
        return len(items)
