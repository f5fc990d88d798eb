"""Histories and targets for sequential methods, cut from users' rows in order of time.

A sample is a target item of a user and the last `max_length` items before it, the
history. Samples are chosen as places in the shard's rows, eight bytes each, and their
histories are cut out block by block: `max_length` times the rows are never in memory.

Reference: Zhang et al., CauseRec: Counterfactual User Sequence Synthesis for Sequential
Recommendation, SIGIR 2021, section 4.1: every position is a target ("every_prefix").
Cen et al., Controllable Multi-Interest Framework for Recommendation (ComiRec), KDD
2020: a position is drawn at each visit of a user ("sampled").
Deviations: ComiRec's code visits random users with replacement; here an epoch visits
every user as often.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tfcausal.errors import InputError, unknown_name
from tfcausal.schema import columns
from tfcausal.stats import mixing
from tfcausal.stats.sorting import key_order

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]

TargetRule = Literal["every_prefix", "sampled", "last", "whole"]
TARGET_RULES: tuple[TargetRule, ...] = ("every_prefix", "sampled", "last", "whole")
Padding = Literal["right", "left"]
PADDINGS: tuple[Padding, ...] = ("right", "left")
RowOrder = Literal["mixed", "by_user"]
ROW_ORDERS: tuple[RowOrder, ...] = ("mixed", "by_user")

CUT_PURPOSE = "sequence cuts"
ORDER_PURPOSE = "sequence order"

PAD = columns.UNKNOWN_INDEX
"""What fills a history: the unknown item, which no row of a data set has."""


@dataclass(frozen=True)
class UserRows:
    """The rows of one shard, each user's side by side and in order of time.

    Attributes:
        users: [n] int32 user indices, ascending.
        items: [n] int32 item indices > 0.
        firsts: [n] int64, the place of the first row of a row's user.
    """

    users: Int32s
    items: Int32s
    firsts: Int64s

    @classmethod
    def read(cls, path: Path) -> "UserRows":
        """Reads a shard of a part.

        Args:
            path: A Parquet file as ingest and split write it.
        Returns:
            The rows.
        Raises:
            InputError: If a row is out of order, or its item is the padding.
        """
        wanted = {columns.USER, columns.ITEM, columns.TIMESTAMP}
        names = [name for name in pq.read_schema(path).names if name in wanted]
        table = pq.read_table(path, columns=names)
        timed = columns.TIMESTAMP in names
        try:
            return cls.in_order(
                table[columns.USER].to_numpy(),
                table[columns.ITEM].to_numpy(),
                table[columns.TIMESTAMP].to_numpy() if timed else None,
            )
        except InputError as error:
            raise InputError(f"`{path}`: {error}") from error

    @classmethod
    def in_order(
        cls, users: Int32s, items: Int32s, timestamps: Int64s | None
    ) -> "UserRows":
        """Checks the order of rows and finds where each user's begin.

        Args:
            users: [n] int32.
            items: [n] int32.
            timestamps: [n] int64 seconds, or None where the order of the rows is that
                of time. Rows of equal time stay as they are.
        Returns:
            The rows.
        Raises:
            InputError: If a row is out of order, or its item is the padding.
        """
        new_user = np.diff(users) > 0
        wrong = np.diff(users) < 0
        if timestamps is not None:
            wrong |= ~new_user & (np.diff(timestamps) < 0)
        if wrong.any():
            raise InputError(
                "Rows must be ordered by user and timestamp; row "
                f"{int(np.argmax(wrong)) + 2} is out of order. Ingest and split again."
            )
        if (items <= PAD).any():
            raise InputError(
                f"Item indices must be above {PAD}, which fills histories; got "
                f"{int(items.min())}. Ingest and split again."
            )
        places = np.arange(len(users))
        begins = np.append(True, new_user)[: len(users)]
        return cls(users, items, np.maximum.accumulate(np.where(begins, places, 0)))

    def user_ranges(self) -> tuple[Int64s, Int64s]:
        """Returns [num_users] where each user's rows begin, and how many they are."""
        begins = np.flatnonzero(self.firsts == np.arange(len(self.firsts)))
        return begins, np.diff(np.append(begins, len(self.firsts)))


@dataclass(frozen=True)
class SequenceRule:
    """Which samples are cut from a user's rows.

    Attributes:
        targets: "every_prefix", "sampled" (`num_cuts` targets of a user, drawn anew in
            each epoch), "last" (a user's last item) or "whole" (all rows are history
            and the target is 0).
        max_length: Items of a history.
        min_length: Items that must come before a target; for "whole", rows that a user
            must have.
        num_cuts: Targets drawn for a user in an epoch, with replacement.
        padding: Whether a short history is filled on the right or on the left.
        order: "mixed" (drawn anew in each epoch) or "by_user".
        seed: Seed of draws and order.
    """

    targets: TargetRule = "every_prefix"
    max_length: int = 20
    min_length: int = 4
    num_cuts: int = 1
    padding: Padding = "right"
    order: RowOrder = "mixed"
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises InputError for a value that makes no sense."""
        for name, known in (
            ("targets", TARGET_RULES),
            ("padding", PADDINGS),
            ("order", ROW_ORDERS),
        ):
            if getattr(self, name) not in known:
                raise unknown_name(name, getattr(self, name), known)
        for name in ("max_length", "min_length", "num_cuts"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"`{name}` must be at least 1; got {getattr(self, name)}."
                )
        if self.num_cuts > 1 and self.targets != "sampled":
            raise InputError(
                f"`num_cuts` must be 1 unless targets=sampled; got {self.num_cuts}. "
                "Leave it out, or choose --targets=sampled."
            )

    @property
    def rows_needed(self) -> int:
        """Rows without which a user has no sample."""
        return self.min_length + (self.targets != "whole")

    def ends(self, rows: UserRows, epoch: int) -> tuple[Int64s, Int64s]:
        """Chooses the samples of an epoch.

        Args:
            rows: The rows of a shard.
            epoch: Number of the pass over the data, from 0.
        Returns:
            [m] int64 the place of the first row of each sample's user, and [m] int64
            the place behind the last row of its history, where its target stands
            ("whole": where the user's rows end).
        """
        if self.targets == "every_prefix":
            before = np.arange(len(rows.firsts)) - rows.firsts
            ends = np.flatnonzero(before >= self.min_length)
            firsts = rows.firsts[ends]
        else:
            firsts, ends = self._ends_by_user(rows, epoch)
        if self.order == "by_user":
            return firsts, ends
        start = mixing.stream(self.seed, ORDER_PURPOSE, epoch)
        words = mixing.keys(start, rows.users[firsts], ends - firsts)
        # Equal words are equal samples, or in the order in which they were cut.
        chosen = key_order(words)
        return firsts[chosen], ends[chosen]

    def _ends_by_user(self, rows: UserRows, epoch: int) -> tuple[Int64s, Int64s]:
        firsts, counts = rows.user_ranges()
        choices = counts - self.rows_needed + 1
        firsts, counts, choices = (
            column[choices > 0] for column in (firsts, counts, choices)
        )
        if self.targets == "whole":
            return firsts, firsts + counts
        if self.targets == "last":
            return firsts, firsts + counts - 1
        start = mixing.stream(self.seed, CUT_PURPOSE, epoch)
        words = mixing.keys(start, rows.users[firsts], np.zeros(len(firsts), np.int64))
        draws = mixing.draws(words[:, None], np.arange(self.num_cuts))
        steps = np.floor(mixing.uniforms(draws) * choices[:, None]).astype(np.int64)
        ends = (firsts + self.min_length)[:, None] + steps
        return np.repeat(firsts, self.num_cuts), ends.ravel()


@dataclass(frozen=True)
class SequenceBlock:
    """A block of samples.

    Attributes:
        users: [n] int32.
        histories: [n, max_length] int32, the latest item last, filled with PAD.
        lengths: [n] int32 in [1, max_length], items of each history.
        targets: [n] int32, 0 where there is none.
    """

    users: Int32s
    histories: Int32s
    lengths: Int32s
    targets: Int32s

    def to_batch(self) -> pa.RecordBatch:
        """Returns the block as a batch of `columns.sequences_schema`."""
        max_length = self.histories.shape[1]
        return pa.record_batch(
            [
                pa.array(self.users),
                pa.FixedSizeListArray.from_arrays(
                    pa.array(self.histories.ravel()), max_length
                ),
                pa.array(self.lengths),
                pa.array(self.targets),
            ],
            schema=columns.sequences_schema(max_length),
        )

    @classmethod
    def from_batch(cls, batch: pa.RecordBatch) -> "SequenceBlock":
        """Reads what `to_batch` wrote, without copying; the arrays are read-only."""
        history = batch.column(columns.HISTORY)
        return cls(
            batch.column(columns.USER).to_numpy(),
            history.flatten().to_numpy().reshape(len(batch), history.type.list_size),
            batch.column(columns.LENGTH).to_numpy(),
            batch.column(columns.TARGET).to_numpy(),
        )


class HistoryCutter:
    """Cuts the histories of chosen samples out of a shard's rows."""

    def __init__(self, rows: UserRows, rule: SequenceRule) -> None:
        """Keeps the rows, with padding before and behind them.

        Args:
            rows: The rows of a shard.
            rule: Length and padding of histories, and whether there are targets.
        """
        self._rows = rows
        self._rule = rule
        margin = np.full(rule.max_length, PAD, np.int32)
        self._windows = np.lib.stride_tricks.sliding_window_view(
            np.concatenate([margin, rows.items, margin]), rule.max_length
        )

    def cut(self, firsts: Int64s, ends: Int64s) -> SequenceBlock:
        """Cuts a block.

        Args:
            firsts: [n] from `SequenceRule.ends`.
            ends: [n] from `SequenceRule.ends`.
        Returns:
            [n] samples in the same order.
        """
        rule = self._rule
        lengths = np.minimum(ends - firsts, rule.max_length)
        offsets = np.arange(rule.max_length)
        if rule.padding == "left":
            # A window that ends where the history ends.
            histories = self._windows[ends]
            outside = offsets < (rule.max_length - lengths)[:, None]
        else:
            histories = self._windows[ends - lengths + rule.max_length]
            outside = offsets >= lengths[:, None]
        histories[outside] = PAD
        targets = (
            np.full(len(ends), PAD, np.int32)
            if rule.targets == "whole"
            else self._rows.items[ends]
        )
        return SequenceBlock(
            self._rows.users[firsts], histories, lengths.astype(np.int32), targets
        )
