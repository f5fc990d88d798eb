"""Cutting one shard's histories and targets for an epoch, and writing them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import pyarrow as pa

from beam_jobs.runtime.report import Report, counted_report
from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.dataset import epoch_name, shard_name
from tfcausal.stats.sequences import HistoryCutter, SequenceRule, UserRows

_NAMESPACE = "sequences"


@dataclass(frozen=True)
class SequencePlan:
    """What a worker needs to know.

    Attributes:
        rows: The folder of shards whose rows are cut.
        folder: The folder that is being written; the epochs' folders exist.
        rule: Which samples are cut.
        block_rows: Samples in a block.
    """

    rows: Path
    folder: Path
    rule: SequenceRule
    block_rows: int


class CutShard(beam.DoFn):
    """From (epoch, shard) to an Arrow file of that shard's samples."""

    def __init__(self, plan: SequencePlan) -> None:
        """Keeps the plan."""
        self._plan = plan

    def process(self, unit: tuple[int, int]) -> Iterator[Report]:
        """Cuts, writes and reports."""
        plan = self._plan
        epoch, shard = unit
        path = plan.rows / shard_name(shard)
        try:
            rows = UserRows.read(path)
        except InputError as error:
            yield Report(failures=(str(error),))
            return
        firsts, ends = plan.rule.ends(rows, epoch)
        cutter = HistoryCutter(rows, plan.rule)
        target = plan.folder / epoch_name(epoch) / shard_name(shard, "arrow")
        schema = columns.sequences_schema(plan.rule.max_length)
        # Not compressed, so that a reader maps the file into memory and copies nothing.
        with target.open("wb") as stream, pa.ipc.new_file(stream, schema) as writer:
            for begin in range(0, len(ends), plan.block_rows):
                chosen = slice(begin, begin + plan.block_rows)
                block = cutter.cut(firsts[chosen], ends[chosen])
                writer.write_batch(block.to_batch())
        _, counts = rows.user_ranges()
        yield counted_report(
            _NAMESPACE,
            {
                "rows": len(ends),
                "users": len(counts),
                "users_too_short": int((counts < plan.rule.rows_needed).sum()),
            },
        )
