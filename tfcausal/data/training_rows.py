"""Training rows in the order of an epoch, from memory or from Beam's shards.

Both sources give the same rows in the same order: positives in memory, whose negatives
the training graph then draws, and blocks of triplets that beam_jobs.triplets wrote.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfcausal.data.interactions import CheckedDataset, Interactions
from tfcausal.errors import InputError
from tfcausal.schema.dataset import epoch_name
from tfcausal.schema.manifest import Manifest, read_manifest, require_input
from tfcausal.stats import mixing, order
from tfcausal.stats.negatives import PURPOSE, Int32s
from tfcausal.stats.triplet_blocks import TripletBlock

Columns = dict[str, npt.NDArray[Any]]

CHUNK_ROWS = 16_384
"""Rows handed on at once, about: small enough to stay in the cache, large enough that
the fixed cost of an operation is spread over many."""


class TrainingRows(Protocol):
    """A source of training rows.

    Attributes:
        num_rows: Rows of an epoch.
    """

    num_rows: int

    def blocks(self, epoch: int) -> Iterator[Columns]:
        """Yields an epoch's blocks, columns of equal length, in their order."""


class TripletRows(TrainingRows, Protocol):
    """A source of users and what they met.

    Attributes:
        draws_negatives: Whether its rows come with their negatives.
        has_log_q: Whether these come with their log-probability.
        facts: What else is known of each row; the names are columns of the blocks.
    """

    draws_negatives: bool
    has_log_q: bool
    facts: Mapping[str, Int32s]


class PositivesInMemory:
    """Positives in memory; columns `users`, `positives` int32, `row_keys` uint64.

    Beside them each fact of the rows, int32, under its name.
    """

    draws_negatives = False
    has_log_q = False

    def __init__(
        self,
        rows: Interactions,
        facts: Mapping[str, Int32s] | None = None,
        *,
        seed: int,
    ) -> None:
        """Keeps the rows.

        Args:
            rows: The training parts, shard after shard.
            facts: What else is known of the rows: name to [n] int32.
            seed: Seed of the run.
        """
        self.num_rows = len(rows)
        self.facts: Mapping[str, Int32s] = dict(facts or {})
        self._rows = rows
        self._seed = seed

    def blocks(self, epoch: int) -> Iterator[Columns]:
        """Yields an epoch's blocks in their order."""
        rows = self._rows
        start = mixing.stream(self._seed, PURPOSE, epoch)
        firsts = np.concatenate([[0], rows.shard_ends[:-1]])
        orders = []
        for first, end in zip(firsts, rows.shard_ends, strict=True):
            met = None if rows.occurrences is None else rows.occurrences[first:end]
            users, items = rows.users[first:end], rows.items[first:end]
            orders.append(
                first + order.shard_order(self._seed, epoch, users, items, met)
            )
        counts = [-(-len(shard) // order.BLOCK_ROWS) for shard in orders]
        for shard, block in order.round_robin(counts):
            begin = block * order.BLOCK_ROWS
            chosen = orders[shard][begin : begin + order.BLOCK_ROWS]
            users, items = rows.users[chosen], rows.items[chosen]
            met = None if rows.occurrences is None else rows.occurrences[chosen]
            yield self._block(chosen, mixing.keys(start, users, items, met))

    def _block(self, chosen: npt.NDArray[Any], keys: mixing.UInt64s) -> Columns:
        """Returns the columns of some rows, with a key each for their negatives."""
        return {
            "users": self._rows.users[chosen],
            "positives": self._rows.items[chosen],
            "row_keys": keys,
            **{name: values[chosen] for name, values in self.facts.items()},
        }


class PositivesByUser(PositivesInMemory):
    """Positives in memory, drawn with replacement: a user, then a row of theirs.

    Each user who has any is as likely as every other, as in the code of He et al.,
    LightGCN, SIGIR 2020. The order of the rows given does not count.
    """

    def __init__(
        self,
        rows: Interactions,
        facts: Mapping[str, Int32s] | None = None,
        *,
        seed: int,
    ) -> None:
        """Keeps the rows, and where each user's are; arguments as there."""
        super().__init__(rows, facts, seed=seed)
        columns = [rows.items, rows.users]
        if rows.occurrences is not None:
            columns.insert(0, rows.occurrences)
        self._by_user = np.lexsort(columns)
        counts = np.bincount(rows.users)
        self._counts = counts[counts > 0]
        self._starts = np.cumsum(self._counts) - self._counts

    def blocks(self, epoch: int) -> Iterator[Columns]:
        """Yields an epoch's blocks; a place's draw depends on seed, epoch and place."""
        picks, keys = (
            np.asarray([mixing.stream(self._seed, purpose, epoch)], np.uint64)
            for purpose in (order.PURPOSE, PURPOSE)
        )
        for begin in range(0, self.num_rows, order.BLOCK_ROWS):
            places = np.arange(begin, min(begin + order.BLOCK_ROWS, self.num_rows))
            which_user, which_row = (
                mixing.uniforms(mixing.draws(picks, 2 * places + number))
                for number in (0, 1)
            )
            users = (which_user * len(self._starts)).astype(np.int64)
            within = (which_row * self._counts[users]).astype(np.int64)
            chosen = self._by_user[self._starts[users] + within]
            yield self._block(chosen, mixing.draws(keys, places))


class TripletShards:
    """Triplets that Beam drew; columns as the fields of TripletBlock.

    Attributes:
        has_log_q: Whether there is the column `log_q`.
    """

    draws_negatives = True
    facts: Mapping[str, Int32s] = MappingProxyType({})

    def __init__(self, dataset: CheckedDataset, *, num_epochs: int) -> None:
        """Finds the shards.

        Args:
            dataset: The data set whose triplets are read.
            num_epochs: Epochs that training may ask for.
        Raises:
            InputError: If they are missing, too few, or of another split.
        """
        self._folder = dataset.folder.triplets
        self.manifest: Manifest = read_manifest(self._folder, kind="triplets")
        require_input(self.manifest, "splits", dataset.splits.fingerprint, self._folder)
        found = len(list(self._folder.glob("epoch-*")))
        if found < num_epochs:
            raise InputError(
                f"`{self._folder}` must hold {num_epochs} epochs; got {found}. Run "
                f"beam_jobs.triplets with --epochs={num_epochs}, or train with "
                f"epochs={found}."
            )
        self.num_rows = int(self.manifest.counts["rows_per_epoch"])
        self.has_log_q = bool(self.manifest.options.get("log_q"))

    def blocks(self, epoch: int) -> Iterator[Columns]:
        """Yields an epoch's blocks in their order."""
        shards = [
            tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
            for path in self._paths(epoch)
        ]
        while shards:
            for shard in list(shards):
                record = next(shard, None)
                if record is None:
                    shards.remove(shard)
                    continue
                block = TripletBlock.from_bytes(record)
                rows: Columns = {
                    "users": block.users,
                    "positives": block.positives,
                    "negatives": block.negatives,
                    "case": block.case,
                    "support": block.support,
                }
                if block.log_q is not None:
                    rows["log_q"] = block.log_q
                yield rows

    def _paths(self, epoch: int) -> list[Path]:
        return sorted((self._folder / epoch_name(epoch)).glob("part-*.tfrecord"))


def epoch_chunks(
    rows: TrainingRows, *, seed: int, epoch: int, batch_size: int, skip_batches: int
) -> Iterator[Columns]:
    """Yields an epoch's rows in chunks of whole batches; a rest is left out.

    Args:
        rows: Where the rows come from.
        seed: Seed of the run.
        epoch: Number of the pass over the data, from 0.
        batch_size: Rows in a batch.
        skip_batches: Batches at the epoch's start that are already behind.
    """
    to_skip = skip_batches * batch_size
    waiting: Columns = {}
    for number, group in enumerate(_groups(rows.blocks(epoch))):
        chosen = order.block_permutation(seed, epoch, number, len(group["users"]))
        mixed = {name: column[chosen] for name, column in group.items()}
        if waiting:
            mixed = _join([waiting, mixed])
        size = len(mixed["users"])
        skipped = min(to_skip, size)
        to_skip -= skipped
        whole = skipped + (size - skipped) // batch_size * batch_size
        step = max(CHUNK_ROWS // batch_size, 1) * batch_size
        for begin in range(skipped, whole, step):
            end = min(begin + step, whole)
            yield {name: column[begin:end] for name, column in mixed.items()}
        waiting = {name: column[whole:] for name, column in mixed.items()}


def _groups(blocks: Iterator[Columns]) -> Iterator[Columns]:
    gathered: list[Columns] = []
    for block in blocks:
        gathered.append(block)
        if len(gathered) == order.GROUP_BLOCKS:
            yield _join(gathered)
            gathered = []
    if gathered:
        yield _join(gathered)


def _join(parts: list[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
