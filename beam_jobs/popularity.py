"""Item popularity in the train window, from the training parts of a split only."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.runtime.command import Job
from beam_jobs.runtime.dataset_input import SplitDataset, open_split
from beam_jobs.runtime.flags import JobFlags, add_flags
from beam_jobs.runtime.pipeline import promised_options, run_pipeline, seal
from beam_jobs.runtime.report import (
    Report,
    WriteReport,
    counted_report,
    take_report,
)
from beam_jobs.transforms.popularity import (
    CountPopularity,
    ReadRowGroups,
    read_without_beam,
)
from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.dataset import TRAIN, TRAIN_INTERVENED, shard_name
from tfcausal.schema.folders import staged_folder
from tfcausal.schema.manifest import Manifest
from tfcausal.stats.popularity import Int64s, ItemCounts, popularity_table

_FILE_NAME = "popularity.parquet"


@dataclass(frozen=True)
class PopularityOptions:
    """Options of popularity.

    Attributes:
        dataset: The folder that beam_jobs.ingest and beam_jobs.split wrote.
        overwrite: Replace an earlier count.
    """

    dataset: Path
    overwrite: bool = False


class PopularityFlags(JobFlags):
    """Flags of popularity."""

    options_class = PopularityOptions

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        add_flags(parser, PopularityOptions)


def run(
    options: PopularityOptions, pipeline_options: PipelineOptions | None = None
) -> Manifest:
    """Counts items into DATASET/features/popularity.

    Args:
        options: Options of the job.
        pipeline_options: Beam's options; None to run in this process.
    Returns:
        The manifest of the counts.
    Raises:
        InputError: If the data set is not split, or its part `train` is empty.
    """
    dataset = open_split(options.dataset)
    if not dataset.has_part(TRAIN):
        raise InputError(
            "Popularity must count at least one interaction; the split has no part "
            f"`{TRAIN}`. Split again with a share for it."
        )
    parts = [name for name in (TRAIN, TRAIN_INTERVENED) if dataset.has_part(name)]
    target = dataset.folder.popularity
    with staged_folder(target, overwrite=options.overwrite) as folder:
        run_pipeline(
            lambda pipeline: _build(pipeline, dataset, parts, folder),
            pipeline_options,
            without_beam=lambda: _without_beam(dataset, parts, folder),
            folder=folder,
        )
        rows = take_report(folder).counts
        counts = {part: _take_counts(folder / f"{part}.npy") for part in parts}
        table = popularity_table(counts[TRAIN], counts.get(TRAIN_INTERVENED))
        pq.write_table(table, folder / _FILE_NAME)
        return seal(
            folder,
            "popularity",
            options=promised_options(options),
            counts=dict(rows)
            | {"items_met": int((table[columns.POPULARITY].to_numpy() > 0).sum())},
            inputs={"splits": dataset.splits.fingerprint},
        )


def _build(
    pipeline: Any, dataset: SplitDataset, parts: list[str], folder: Path
) -> None:
    reports = [
        pipeline
        | f"Read/{part}" >> ReadRowGroups(_shards(dataset, part), [columns.ITEM])
        | f"Count/{part}" >> CountPopularity(dataset.num_items)
        | f"Keep/{part}" >> beam.Map(_keep_counts, part, folder)
        for part in parts
    ]
    _ = reports | "AllReports" >> beam.Flatten() | WriteReport(folder)


def _without_beam(
    dataset: SplitDataset, parts: list[str], folder: Path
) -> Iterator[Report]:
    for part in parts:
        total = ItemCounts.zeros(dataset.num_items)
        for batch in read_without_beam(_shards(dataset, part), [columns.ITEM]):
            total.add(batch.column(columns.ITEM).to_numpy())
        yield _keep_counts(total.counts, part, folder)


def _shards(dataset: SplitDataset, part: str) -> list[Path]:
    folder = dataset.folder.part(part)
    return [folder / shard_name(shard) for shard in range(dataset.num_shards)]


def _keep_counts(counts: Int64s, part: str, folder: Path) -> Report:
    np.save(folder / f"{part}.npy", counts, allow_pickle=False)
    return counted_report("popularity", {part: int(counts.sum())})


def _take_counts(path: Path) -> Int64s:
    counts: Int64s = np.load(path, allow_pickle=False)
    path.unlink()
    return counts


JOB = Job(
    name="popularity",
    summary="Counts each item's interactions in the training parts of a split.",
    flags=PopularityFlags,
    run=run,
)


def main() -> int:
    """Runs the command."""
    return JOB.main()


if __name__ == "__main__":
    sys.exit(main())
