"""Histories from the rows of a split: samples to learn from, and each user's last."""

from collections.abc import Iterator

import numpy as np

from tfcausal.data.interactions import CheckedDataset, part_files
from tfcausal.data.training_rows import Columns
from tfcausal.errors import InputError
from tfcausal.schema.dataset import FOLD_IN_PARTS, TRAIN
from tfcausal.stats import order
from tfcausal.stats.negatives import Int32s
from tfcausal.stats.sequences import PAD, HistoryCutter, SequenceRule, UserRows


class SequencesInMemory:
    """Samples cut from a part in memory; a source of rows for `epoch_chunks`.

    The same samples in the same order as beam_jobs.sequences writes by the same rule,
    with the columns of `sequence_rows.SequenceShards`. In memory are the rows, and for
    an epoch two places a sample.
    """

    def __init__(
        self, dataset: CheckedDataset, rule: SequenceRule, *, part: str = TRAIN
    ) -> None:
        """Reads the rows.

        Args:
            dataset: The data set.
            rule: Which samples are cut.
            part: The part of its split.
        Raises:
            InputError: If the part does not exist, its rows are out of order, or no
                user has rows enough.
        """
        self._rule = rule
        self._shards = [
            UserRows.read(path)
            for files in part_files(dataset.folder, [part])
            for _, path in files
        ]
        self.num_rows = sum(len(rule.ends(rows, 0)[1]) for rows in self._shards)
        self.max_length = rule.max_length
        if not self.num_rows:
            raise InputError(
                f"Some user of the part `{part}` must have at least "
                f"{rule.rows_needed} rows; none has. Choose a smaller min_length."
            )

    def blocks(self, epoch: int) -> Iterator[Columns]:
        """Yields an epoch's blocks, one from each shard in turn."""
        # As in the job, which writes samples that all epochs share but once.
        drawn = epoch if self._rule.targets == "sampled" else 0
        chosen = [self._rule.ends(rows, drawn) for rows in self._shards]
        cutters = [HistoryCutter(rows, self._rule) for rows in self._shards]
        counts = [-(-len(ends) // order.BLOCK_ROWS) for _, ends in chosen]
        for shard, number in order.round_robin(counts):
            begin = number * order.BLOCK_ROWS
            place = slice(begin, begin + order.BLOCK_ROWS)
            firsts, ends = chosen[shard]
            yield vars(cutters[shard].cut(firsts[place], ends[place]))


def read_histories(dataset: CheckedDataset, max_length: int) -> Int32s:
    """Reads each user's last items among those that a model may know.

    These are the training part's, and of users who are held out what is folded in.

    Args:
        dataset: A data set that has been split.
        max_length: Items of a history.
    Returns:
        [num_users, max_length] int32, the latest item last, then `PAD`; only `PAD` for
        who has none.
    Raises:
        InputError: If rows are out of order.
    """
    rule = SequenceRule(
        targets="whole", min_length=1, max_length=max_length, order="by_user"
    )
    histories = np.full((dataset.num_users, max_length), PAD, np.int32)
    for part in dataset.parts([TRAIN, *FOLD_IN_PARTS.values()]):
        for files in part_files(dataset.folder, [part]):
            for _, path in files:
                rows = UserRows.read(path)
                block = HistoryCutter(rows, rule).cut(*rule.ends(rows, 0))
                histories[block.users] = block.histories
    return histories
