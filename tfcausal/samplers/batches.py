"""Batches for training, the negatives of triplets drawn in the graph where needed."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfcausal.data.training_rows import (
    Columns,
    TrainingRows,
    TripletRows,
    epoch_chunks,
)
from tfcausal.samplers.negatives import NegativeSampler
from tfcausal.stats.negatives import Int64s, NegativeSampling

_FEW_STEPS = 10
"""With fewer steps an epoch, early stopping may end a training that hardly began."""

_log = logging.getLogger(__name__)


class Batches(ABC):
    """Makes the datasets that training reads; a batch is a dictionary of columns.

    Which rows are in batch b of epoch e depends on seed, e and b alone.

    Attributes:
        batch_size: Rows in a batch.
        steps_per_epoch: Batches in an epoch; a rest is left out.
    """

    def __init__(self, rows: TrainingRows, *, seed: int, batch_size: int) -> None:
        """Describes the batches.

        Args:
            rows: Where the rows come from.
            seed: Seed of the run.
            batch_size: Rows in a batch; at most as many as there are.
        """
        self._rows = rows
        self._seed = seed
        self.batch_size = min(batch_size, rows.num_rows)
        self.steps_per_epoch = rows.num_rows // self.batch_size
        if self.steps_per_epoch < _FEW_STEPS:
            _log.warning(
                "An epoch of %d rows has %d steps of batch_size=%d; a smaller batch "
                "learns more in each epoch.",
                rows.num_rows,
                self.steps_per_epoch,
                self.batch_size,
            )

    def dataset(
        self, first_epoch: int, end_epoch: int, skip_batches: int = 0
    ) -> tf.data.Dataset:
        """Returns the batches of epochs [first_epoch, end_epoch).

        Args:
            first_epoch: The epoch to begin with.
            end_epoch: The first epoch no longer in it.
            skip_batches: Batches of the first epoch that are already behind.
        """
        epochs = tf.data.Dataset.range(first_epoch, end_epoch)
        return epochs.flat_map(
            lambda epoch: self._epoch(
                epoch, tf.where(tf.equal(epoch, first_epoch), skip_batches, 0)
            )
        ).prefetch(4)

    def _epoch(self, epoch: tf.Tensor, skip_batches: tf.Tensor) -> tf.data.Dataset:
        chunks = tf.data.Dataset.from_generator(
            self._chunks,
            output_signature=self._signature(),
            args=(epoch, skip_batches),
        )
        whole = self._completed(chunks, epoch)
        return whole.rebatch(self.batch_size, drop_remainder=True)

    def _chunks(self, epoch: Any, skip_batches: Any) -> Iterator[Columns]:
        return epoch_chunks(
            self._rows,
            seed=self._seed,
            epoch=int(epoch),
            batch_size=self.batch_size,
            skip_batches=int(skip_batches),
        )

    @abstractmethod
    def _signature(self) -> dict[str, tf.TensorSpec]:
        """Returns what the source's columns are like."""

    def _completed(self, chunks: tf.data.Dataset, epoch: tf.Tensor) -> tf.data.Dataset:
        """Adds to chunks of rows what their source does not have."""
        return chunks


class SequenceBatches(Batches):
    """Batches of histories and targets: fields of `methods.histories.HistoryBatch`."""

    def __init__(
        self, rows: TrainingRows, *, max_length: int, seed: int, batch_size: int
    ) -> None:
        """Describes the batches.

        Args:
            rows: Where the samples come from.
            max_length: Items of a history.
            seed: Seed of the run.
            batch_size: Samples in a batch; at most as many as there are.
        """
        super().__init__(rows, seed=seed, batch_size=batch_size)
        self._max_length = max_length

    def _signature(self) -> dict[str, tf.TensorSpec]:
        row = tf.TensorSpec([None], tf.int32)
        return {
            "users": row,
            "histories": tf.TensorSpec([None, self._max_length], tf.int32),
            "lengths": row,
            "targets": row,
        }


class TripletBatches(Batches):
    """Batches of triplets: the fields of `methods.triplets.TripletBatch`."""

    def __init__(
        self,
        rows: TripletRows,
        sampling: NegativeSampling | None,
        popularity: Int64s,
        sampler: NegativeSampler | None,
        *,
        seed: int,
        batch_size: int,
    ) -> None:
        """Describes the batches.

        Args:
            rows: Where the rows come from.
            sampling: The law of the negatives; None for positives alone.
            popularity: [num_items] interactions in the train window.
            sampler: Draws the negatives; None where the rows come with theirs, or there
                are to be none.
            seed: Seed of the run.
            batch_size: Positives in a batch; at most as many as there are.
        """
        super().__init__(rows, seed=seed, batch_size=batch_size)
        self._triplets = rows
        self._sampling = sampling
        self._popularity = popularity
        self._sampler = sampler

    def _completed(self, chunks: tf.data.Dataset, epoch: tf.Tensor) -> tf.data.Dataset:
        if self._sampling is None:
            chunks = chunks.map(_without_keys)
        if self._sampler is not None:
            up_end, down_start, min_pool = tf.numpy_function(
                self._pools, [epoch], [tf.int64, tf.int64, tf.int64]
            )
            up_end.set_shape([None])
            down_start.set_shape([None])
            min_pool.set_shape([])
            sampler = self._sampler

            def draw(chunk: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
                drawn = sampler(
                    up_end,
                    down_start,
                    min_pool,
                    chunk["users"],
                    chunk["positives"],
                    chunk["row_keys"],
                )
                return _without_keys(chunk) | drawn

            chunks = chunks.map(draw).prefetch(1)
        return chunks

    def _pools(self, epoch: Any) -> tuple[Int64s, Int64s, np.int64]:
        assert self._sampling is not None
        pools = self._sampling.pools(self._popularity, int(epoch))
        return pools.up_end, pools.down_start, np.int64(pools.min_pool)

    def _signature(self) -> dict[str, tf.TensorSpec]:
        row = tf.TensorSpec([None], tf.int32)
        if not self._triplets.draws_negatives:
            keys = tf.TensorSpec([None], tf.uint64)
            facts = dict.fromkeys(self._triplets.facts, row)
            return {"users": row, "positives": row, "row_keys": keys, **facts}
        assert self._sampling is not None
        width = self._sampling.num_negatives
        wide = tf.TensorSpec([None, width], tf.int32)
        signature = {
            "users": row,
            "positives": row,
            "negatives": wide,
            "case": tf.TensorSpec([None, width], tf.int8),
            "support": wide,
        }
        if self._triplets.has_log_q:
            signature["log_q"] = tf.TensorSpec([None, width], tf.float32)
        return signature


def _without_keys(chunk: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {name: column for name, column in chunk.items() if name != "row_keys"}
