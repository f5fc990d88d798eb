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
from tfcausal.schema.vectors import CausalVectors
from tfcausal.stats import mixing, negatives, order
from tfcausal.stats.crc32c import crc32c
from tfcausal.stats.examples import encode_examples, frame_rows
from tfcausal.stats.hard_negatives import HardPools, mine_pools
from tfcausal.stats.negative_laws import (
    AnySampling,
    HardDraw,
    NegativeDraw,
    law_of,
    log_q,
)
from tfcausal.stats.sorting import stable_order
from tfcausal.stats.triplet_blocks import TripletBlock, tfrecord_frame

_NAMESPACE = "triplets"
BLOCKS = "blocks"
EXAMPLES = "examples"
_ROWS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class HardPlan:
    """Where hard negatives come from.

    Attributes:
        vectors: Folder of the vectors of a finished run.
        pool_size: Hard negatives that a user has to draw from.
        share: Probability that a negative is hard.
    """

    vectors: Path
    pool_size: int
    share: float


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
        hard: Where hard negatives come from; None for no such negatives.
        log_q: Whether to write the log-probability of each draw.
    """

    dataset: DatasetFolder
    parts: tuple[str, ...]
    popularity: Path
    folder: Path
    seed: int
    sampling: AnySampling
    record_format: str
    block_rows: int
    hard: HardPlan | None = None
    log_q: bool = False

    def units(self, epochs: int, num_shards: int) -> list[tuple[range, int]]:
        """Returns pieces of work: epochs and the shard whose triplets they draw."""
        # Hard negatives are found once for all epochs.
        together = 1 if self.hard is None else epochs
        return [
            (range(first, first + together), shard)
            for first in range(0, epochs, together)
            for shard in range(num_shards)
        ]


@dataclass(frozen=True)
class _Rows:
    users: negatives.Int32s
    items: negatives.Int32s
    occurrences: negatives.Int32s | None


class DrawShard(beam.DoFn):
    """From (epochs, shard) to a TFRecord file of the shard's triplets in each epoch."""

    def __init__(self, plan: TripletPlan) -> None:
        """Keeps the plan."""
        self._plan = plan

    def setup(self) -> None:
        """Reads item popularity, once on a worker, and opens vectors."""
        table = pq.read_table(self._plan.popularity, columns=[columns.POPULARITY])
        popularity = table[columns.POPULARITY].to_numpy()
        self._catalogue = negatives.Catalogue.from_popularity(popularity)
        if self._plan.hard is not None:
            self._vectors = CausalVectors.load(self._plan.hard.vectors)

    def process(self, unit: tuple[range, int]) -> Iterator[Report]:
        """Draws, writes and reports."""
        plan = self._plan
        epochs, shard = unit
        rows = _read_rows(plan, shard)
        # A user lies in one shard whole, so the shard knows all that its users met.
        positives = negatives.Positives.from_rows(
            rows.users, rows.items, self._catalogue
        )
        hard = self._hard_pools(rows)
        for epoch in epochs:
            law = self._law(positives, hard, epoch)
            path = plan.folder / epoch_name(epoch) / shard_name(shard, "tfrecord")
            num_rows, without = 0, 0
            with path.open("wb") as stream:
                for block in self._blocks(rows, law, epoch):
                    stream.write(_framed(block, plan.record_format))
                    num_rows += len(block.users)
                    without += int((block.support == 0).any(axis=1).sum())
            yield counted_report(
                _NAMESPACE, {"rows": num_rows, "rows_short_of_negatives": without}
            )

    def _hard_pools(self, rows: _Rows) -> HardPools | None:
        if self._plan.hard is None:
            return None
        return mine_pools(
            self._vectors.queries,
            self._vectors.candidates,
            rows.users,
            rows.items,
            self._plan.hard.pool_size,
        )

    def _law(
        self, positives: negatives.Positives, hard: HardPools | None, epoch: int
    ) -> NegativeDraw:
        plan = self._plan
        base = law_of(plan.sampling, self._catalogue, positives, epoch)
        if plan.hard is None or hard is None:
            return base
        return HardDraw(base, hard, plan.hard.share, self._catalogue)

    def _blocks(
        self, rows: _Rows, law: NegativeDraw, epoch: int
    ) -> Iterator[TripletBlock]:
        plan = self._plan
        start = mixing.stream(plan.seed, negatives.PURPOSE, epoch)
        # A draw does not depend on its place. By user, where one search lies near the
        # last, drawing takes a fraction of the time it takes in the order of training.
        by_user = stable_order(rows.users)
        parts, likely = [], []
        for begin in range(0, len(by_user), _ROWS_AT_ONCE):
            chosen = by_user[begin : begin + _ROWS_AT_ONCE]
            users, items = rows.users[chosen], rows.items[chosen]
            met = None if rows.occurrences is None else rows.occurrences[chosen]
            part = law.draw(users, items, mixing.keys(start, users, items, met))
            parts.append(part)
            if plan.log_q:
                likely.append(log_q(law, users, items, part))
        if not parts:
            return
        drawn = negatives.Negatives.join(parts)
        all_log_q = np.concatenate(likely) if plan.log_q else None
        place = np.empty(len(by_user), np.int64)
        place[by_user] = np.arange(len(by_user))
        visited = order.shard_order(
            plan.seed, epoch, rows.users, rows.items, rows.occurrences
        )
        for begin in range(0, len(visited), plan.block_rows):
            chosen = visited[begin : begin + plan.block_rows]
            yield TripletBlock.from_draw(
                rows.users[chosen],
                rows.items[chosen],
                drawn.at(place[chosen]),
                None if all_log_q is None else all_log_q[place[chosen]],
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
