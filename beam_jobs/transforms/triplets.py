"""Drawing an epoch's triplets for one shard of users, and writing them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.runtime.report import Report, counted_report
from tfcausal.schema import columns
from tfcausal.schema.dataset import DatasetFolder, epoch_name, shard_name
from tfcausal.stats import mixing, negatives, order
from tfcausal.stats.crc32c import crc32c
from tfcausal.stats.examples import encode_examples, frame_rows
from tfcausal.stats.sorting import stable_order
from tfcausal.stats.triplet_blocks import TripletBlock, tfrecord_frame

_NAMESPACE = "triplets"
BLOCKS = "blocks"
EXAMPLES = "examples"
_ROWS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class TripletPlan:
    """What a worker needs to know.

    Attributes:
        dataset: The data set.
        parts: The parts whose rows are positives, in this order.
        popularity: File of item popularity.
        folder: The folder that is being written; the epochs' folders exist.
        seed: Seed of order and draws.
        sampling: Who is a negative.
        record_format: BLOCKS or EXAMPLES.
        block_rows: Rows in a record of BLOCKS.
    """

    dataset: DatasetFolder
    parts: tuple[str, ...]
    popularity: Path
    folder: Path
    seed: int
    sampling: negatives.NegativeSampling
    record_format: str
    block_rows: int


@dataclass(frozen=True)
class _Rows:
    users: negatives.Int32s
    items: negatives.Int32s
    occurrences: negatives.Int32s | None


class DrawShard(beam.DoFn):
    """From (epoch, shard) to a TFRecord file of that shard's triplets."""

    def __init__(self, plan: TripletPlan) -> None:
        """Keeps the plan."""
        self._plan = plan

    def setup(self) -> None:
        """Reads item popularity, once on a worker."""
        table = pq.read_table(self._plan.popularity, columns=[columns.POPULARITY])
        popularity = table[columns.POPULARITY].to_numpy()
        self._catalogue = negatives.Catalogue.from_popularity(popularity)

    def process(self, unit: tuple[int, int]) -> Iterator[Report]:
        """Draws, writes and reports."""
        plan = self._plan
        epoch, shard = unit
        rows = _read_rows(plan, shard)
        path = plan.folder / epoch_name(epoch) / shard_name(shard, "tfrecord")
        num_rows, without = 0, 0
        with path.open("wb") as stream:
            for block in self._blocks(rows, epoch):
                stream.write(_framed(block, plan.record_format))
                num_rows += len(block.users)
                without += int((block.support == 0).any(axis=1).sum())
        yield counted_report(
            _NAMESPACE, {"rows": num_rows, "rows_short_of_negatives": without}
        )

    def _blocks(self, rows: _Rows, epoch: int) -> Iterator[TripletBlock]:
        plan, catalogue = self._plan, self._catalogue
        pools = plan.sampling.pools(catalogue.popularity, epoch)
        # A user lies in one shard whole, so the shard knows all that its users met.
        positives = negatives.Positives.from_rows(rows.users, rows.items, catalogue)
        start = mixing.stream(plan.seed, negatives.PURPOSE, epoch)
        # A draw does not depend on its place. By user, where one search lies near the
        # last, drawing takes a fraction of the time it takes in the order of training.
        by_user = stable_order(rows.users)
        parts = []
        for begin in range(0, len(by_user), _ROWS_AT_ONCE):
            chosen = by_user[begin : begin + _ROWS_AT_ONCE]
            users, items = rows.users[chosen], rows.items[chosen]
            met = None if rows.occurrences is None else rows.occurrences[chosen]
            parts.append(
                negatives.draw_negatives(
                    pools,
                    catalogue,
                    positives,
                    users,
                    items,
                    mixing.keys(start, users, items, met),
                    plan.sampling.num_negatives,
                )
            )
        if not parts:
            return
        drawn = negatives.Negatives.join(parts)
        place = np.empty(len(by_user), np.int64)
        place[by_user] = np.arange(len(by_user))
        visited = order.shard_order(
            plan.seed, epoch, rows.users, rows.items, rows.occurrences
        )
        for begin in range(0, len(visited), plan.block_rows):
            chosen = visited[begin : begin + plan.block_rows]
            yield TripletBlock.from_draw(
                rows.users[chosen], rows.items[chosen], drawn.at(place[chosen])
            )


def _read_rows(plan: TripletPlan, shard: int) -> _Rows:
    tables = []
    for part in plan.parts:
        path = plan.dataset.part(part) / shard_name(shard)
        wanted = {columns.USER, columns.ITEM, columns.OCCURRENCE}
        names = [name for name in pq.read_schema(path).names if name in wanted]
        tables.append(pq.read_table(path, columns=names))
    table = pa.concat_tables(tables)
    return _Rows(
        table[columns.USER].to_numpy(),
        table[columns.ITEM].to_numpy(),
        (
            table[columns.OCCURRENCE].to_numpy()
            if columns.OCCURRENCE in table.column_names
            else None
        ),
    )


def _framed(block: TripletBlock, record_format: str) -> bytes:
    if record_format == BLOCKS:
        return tfrecord_frame(block.to_bytes(), crc32c)
    return frame_rows(encode_examples(block))
