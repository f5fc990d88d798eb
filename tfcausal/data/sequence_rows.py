"""Histories and targets that beam_jobs.sequences cut, mapped into memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pyarrow as pa

from tfcausal.data.interactions import CheckedDataset
from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.dataset import ALL_ROWS, epoch_name
from tfcausal.schema.manifest import Manifest, read_manifest, require_input
from tfcausal.stats.order import round_robin
from tfcausal.stats.sequences import SequenceBlock


class SequenceShards:
    """Samples of one part; a source of rows for `training_rows.epoch_chunks`.

    Columns: `users` [n], `histories` [n, max_length], `lengths` [n], `targets` [n],
    all int32. The arrays of a block are views of the file: the system reads the pages
    that are used, and drops them when memory runs short.

    Attributes:
        manifest: What the job promised.
        num_rows: Samples of an epoch.
        max_length: Items of a history.
    """

    def __init__(
        self, dataset: CheckedDataset, *, part: str, num_epochs: int = 1
    ) -> None:
        """Maps the shards.

        Args:
            dataset: The data set whose sequences are read.
            part: The part that they were cut from.
            num_epochs: Epochs that will be asked for. Unless targets were sampled,
                all epochs have the same samples.
        Raises:
            InputError: If sequences are missing, too few, of another split, or do not
                hold what their manifest says.
        """
        self._folder = dataset.folder.sequences(part)
        self.manifest: Manifest = read_manifest(self._folder, kind="sequences")
        name, input_manifest = (
            ("dataset", dataset.manifest)
            if part == ALL_ROWS
            else ("splits", dataset.splits)
        )
        require_input(self.manifest, name, input_manifest.fingerprint, self._folder)
        self.num_rows = int(self.manifest.counts["rows_per_epoch"])
        self.max_length = int(self.manifest.options["max_length"])
        found = int(self.manifest.options["epochs"])
        self._differ = self.manifest.options["targets"] == "sampled"
        if self._differ and found < num_epochs:
            raise InputError(
                f"`{self._folder}` must hold {num_epochs} epochs; got {found}. Run "
                f"beam_jobs.sequences with --epochs={num_epochs}."
            )
        self._shards = [self._open_epoch(epoch_name(epoch)) for epoch in range(found)]

    def blocks(self, epoch: int) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Yields an epoch's blocks, one from each shard in turn."""
        shards = self._shards[epoch if self._differ else 0]
        counts = [shard.num_record_batches for shard in shards]
        for shard, number in round_robin(counts):
            block = SequenceBlock.from_batch(shards[shard].get_batch(number))
            yield {
                "users": block.users,
                "histories": block.histories,
                "lengths": block.lengths,
                "targets": block.targets,
            }

    def _open_epoch(self, epoch: str) -> list[pa.RecordBatchFileReader]:
        names = [name for name in self.manifest.files if name.startswith(f"{epoch}/")]
        shards = [self._open(self._folder / name) for name in sorted(names)]
        found = sum(
            len(shard.get_batch(number))
            for shard in shards
            for number in range(shard.num_record_batches)
        )
        if found != self.num_rows:
            raise InputError(
                f"`{self._folder / epoch}` must have {self.num_rows} rows, as its "
                f"manifest says; got {found}. Run beam_jobs.sequences again."
            )
        return shards

    def _open(self, path: Path) -> pa.RecordBatchFileReader:
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(
                f"`{path}` must be an Arrow file; {error}. Run beam_jobs.sequences "
                "again."
            ) from error
        if not reader.schema.equals(columns.sequences_schema(self.max_length)):
            raise InputError(
                f"`{path}` must hold histories of {self.max_length} items, as its "
                f"manifest says; got {reader.schema.to_string()}. Run "
                "beam_jobs.sequences again."
            )
        return reader
