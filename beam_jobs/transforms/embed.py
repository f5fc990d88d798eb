"""The transforms of embed: blocks of ids through the exported model, to Parquet.

blocks -> EmbedBlocks, by RunInference -> WriteBlock -> files of vectors
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.ml.inference.base import ModelHandler, RunInference

from beam_jobs.runtime.pipeline import call
from beam_jobs.runtime.report import Report, counted_report
from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.dataset import shard_name
from tfcausal.schema.exported import VectorsFolder, ids_file

_NAMESPACE = "embed"
_READ_BYTES = 8 << 20
_NEWLINE = ord("\n")

Kind = Literal["users", "items"]
KINDS: tuple[Kind, ...] = ("users", "items")


@dataclass(frozen=True)
class IdBlock:
    """Successive ids of the model's file.

    Attributes:
        kind: Whose ids they are.
        number: The block's number, from 0.
        first: Index of the first id.
        begin: First byte of its line.
        end: The byte after the last line.
    """

    kind: Kind
    number: int
    first: int
    begin: int
    end: int


def id_blocks(
    version: Path, kind: Kind, num_ids: int, block_rows: int
) -> list[IdBlock]:
    """Cuts a model's ids into blocks, reading their file once.

    Args:
        version: The exported version.
        kind: Whose ids.
        num_ids: How many there must be.
        block_rows: Ids in a block; the last one has what is left.
    Raises:
        InputError: If there are more or fewer.
    """
    cuts, lines, place = [0], 0, 0
    with ids_file(version, kind).open("rb") as stream:
        while content := stream.read(_READ_BYTES):
            ends = np.flatnonzero(np.frombuffer(content, np.uint8) == _NEWLINE) + 1
            due = np.arange(
                -lines % block_rows or block_rows, len(ends) + 1, block_rows
            )
            cuts += (ends[due - 1] + place).tolist()
            lines += len(ends)
            place += len(content)
    if lines != num_ids:
        raise InputError(
            f"`{ids_file(version, kind)}` must have the {num_ids} ids that the model "
            f"was exported with; got {lines}. Export the run again."
        )
    if lines % block_rows:
        cuts.append(place)
    return [
        IdBlock(kind, number, columns.UNKNOWN_INDEX + 1 + number * block_rows, *bounds)
        for number, bounds in enumerate(pairwise(cuts))
    ]


class EmbedBlocks(ModelHandler[IdBlock, tuple[IdBlock, pa.Table], Any]):
    """Calls the signatures of an exported model, which each worker loads once."""

    def __init__(self, version: Path) -> None:
        """Keeps where the model lies."""
        super().__init__()
        self._version = version

    def load_model(self) -> Any:
        """Loads the model; TensorFlow is imported here and nowhere before."""
        from tfcausal.serving.catalogue import load_catalogue

        return load_catalogue(self._version)

    def run_inference(
        self,
        batch: Sequence[IdBlock],
        model: Any,
        inference_args: Mapping[str, Any] | None = None,
    ) -> Iterable[tuple[IdBlock, pa.Table]]:
        """Yields each block with the table of its vectors."""
        for block in batch:
            with ids_file(self._version, block.kind).open("rb") as stream:
                stream.seek(block.begin)
                lines = stream.read(block.end - block.begin).decode("utf-8")
            # Only a newline ends an id.
            yield block, getattr(model, block.kind)(lines.split("\n")[:-1], block.first)

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Says that a batch is a block, whatever the runner bundles."""
        return {"min_batch_size": 1, "max_batch_size": 1}


class _WriteBlock(beam.DoFn):
    def __init__(self, folder: VectorsFolder) -> None:
        self._folder = folder

    def process(self, element: tuple[IdBlock, pa.Table]) -> Iterator[Report]:
        block, rows = element
        target = getattr(self._folder, block.kind) / shard_name(block.number)
        # Hardly a number is there twice, so that a dictionary would only cost.
        pq.write_table(rows, target, row_group_size=len(rows), use_dictionary=False)
        counts: dict[str, int] = {block.kind: len(rows)}
        if block.kind == "users":
            counts["known_users"] = pc.sum(rows[columns.KNOWN_USER]).as_py()
        yield counted_report(_NAMESPACE, counts)


class EmbedCatalogue(beam.PTransform):
    """From the ids of an exported model to files of vectors; gives the reports."""

    def __init__(
        self, version: Path, blocks: Sequence[IdBlock], folder: VectorsFolder
    ) -> None:
        """Keeps what is to be done.

        Args:
            version: The exported version.
            blocks: All blocks of its ids.
            folder: The folder that is being written; its subfolders exist.
        """
        super().__init__()
        self._handler = EmbedBlocks(version)
        self._blocks = blocks
        self._folder = folder

    def without_beam(self) -> Iterator[Report]:
        """Does what `expand` does, one block after the other."""
        model = self._handler.load_model()
        embedded = self._handler.run_inference(self._blocks, model)
        yield from call(_WriteBlock(self._folder), embedded)

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Builds the pipeline described at the top of this file."""
        return (
            pipeline
            | "Blocks" >> beam.Create(self._blocks)
            | "EmbedBlocks" >> RunInference(self._handler)
            | "WriteBlock" >> beam.ParDo(_WriteBlock(self._folder))
        )
