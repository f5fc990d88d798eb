"""Training triplets drawn ahead: (user, positive, negatives, cause), an epoch a folder.

Training can draw the same triplets itself, equal bit for bit; drawing them here is for
trainers that read files, or that shall not spend their own time on it.
"""

import sys
from argparse import ArgumentParser
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.runtime.command import Job
from beam_jobs.runtime.dataset_input import open_split
from beam_jobs.runtime.flags import JobFlags, add_flags
from beam_jobs.runtime.pipeline import call, run_pipeline, seal
from beam_jobs.runtime.report import WriteReport, take_report
from beam_jobs.transforms.triplets import (
    BLOCKS,
    EXAMPLES,
    DrawShard,
    TripletPlan,
)
from tfcausal.errors import InputError, unknown_name
from tfcausal.schema.dataset import TRAINING_PARTS, epoch_name
from tfcausal.schema.folders import staged_folder
from tfcausal.schema.manifest import Manifest, read_manifest, require_input
from tfcausal.stats.negatives import NegativeSampling, PopularityMargin, Uniform
from tfcausal.stats.order import BLOCK_ROWS

LAWS = (PopularityMargin.law, Uniform.law)


@dataclass(frozen=True)
class TripletOptions:
    """Options of triplets.

    Attributes:
        dataset: The folder that ingest, split and popularity wrote.
        epochs: Number of epochs to draw.
        seed: Seed of all draws and of the order of rows; training with this seed meets
            the same triplets.
        negatives: popularity_margin (DICE's PNSM) or uniform.
        num_negatives: Negatives for each positive.
        margin: popularity_margin: a more popular negative has a popularity above the
            positive's by more than this.
        margin_decay: popularity_margin: factor on the margins after each epoch.
        down_margin: popularity_margin: a less popular negative has a popularity below
            the positive's by more than this; none for below half of it.
        min_pool: popularity_margin: with fewer candidates than this in one pool, all
            negatives come from the other.
        record_format: blocks of packed columns, or examples (a tf.train.Example for
            each row; slow and large, for other readers).
        block_rows: Rows in a block; training reads blocks of the default size.
        overwrite: Replace triplets drawn earlier.
    """

    dataset: Path
    epochs: int
    seed: int = 0
    negatives: Literal["popularity_margin", "uniform"] = "popularity_margin"
    num_negatives: int = PopularityMargin.num_negatives
    margin: float = PopularityMargin.margin
    margin_decay: float = PopularityMargin.margin_decay
    down_margin: float | None = PopularityMargin.down_margin
    min_pool: int = PopularityMargin.min_pool
    record_format: Literal["blocks", "examples"] = "blocks"
    block_rows: int = BLOCK_ROWS
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises InputError for a value that makes no sense."""
        if self.negatives not in LAWS:
            raise unknown_name("negatives", self.negatives, LAWS)
        if self.record_format not in (BLOCKS, EXAMPLES):
            raise unknown_name("record_format", self.record_format, (BLOCKS, EXAMPLES))
        for name in ("epochs", "block_rows"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"`{name}` must be at least 1; got {getattr(self, name)}."
                )
        self.sampling()

    def sampling(self) -> NegativeSampling:
        """Returns who is a negative.

        Raises:
            InputError: If a value of it makes no sense.
        """
        if self.negatives == Uniform.law:
            return Uniform(self.num_negatives)
        return PopularityMargin(
            num_negatives=self.num_negatives,
            margin=self.margin,
            margin_decay=self.margin_decay,
            down_margin=self.down_margin,
            min_pool=self.min_pool,
        )


class TripletFlags(JobFlags):
    """Flags of triplets."""

    options_class = TripletOptions

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        add_flags(parser, TripletOptions)


def run(
    options: TripletOptions, pipeline_options: PipelineOptions | None = None
) -> Manifest:
    """Draws triplets into DATASET/triplets.

    Args:
        options: Options of the job.
        pipeline_options: Beam's options; None to run in this process.
    Returns:
        The manifest of the triplets.
    Raises:
        InputError: If the data set is not split and counted, or an option does not fit.
    """
    dataset = open_split(options.dataset)
    counted = dataset.folder.popularity
    popularity = read_manifest(counted, kind="popularity")
    require_input(popularity, "splits", dataset.splits.fingerprint, counted)
    parts = tuple(name for name in TRAINING_PARTS if dataset.has_part(name))
    sampling = options.sampling()
    with staged_folder(dataset.folder.triplets, overwrite=options.overwrite) as folder:
        plan = TripletPlan(
            dataset=dataset.folder,
            parts=parts,
            popularity=counted / "popularity.parquet",
            folder=folder,
            seed=options.seed,
            sampling=sampling,
            record_format=options.record_format,
            block_rows=options.block_rows,
        )
        for epoch in range(options.epochs):
            (folder / epoch_name(epoch)).mkdir()
        units = [
            (epoch, shard)
            for epoch in range(options.epochs)
            for shard in range(dataset.num_shards)
        ]
        run_pipeline(
            lambda pipeline: _build(pipeline, plan, units),
            pipeline_options,
            without_beam=lambda: call(DrawShard(plan), units),
            folder=folder,
        )
        counts = take_report(folder).counts
        return seal(
            folder,
            "triplets",
            options={
                "seed": options.seed,
                "epochs": options.epochs,
                "negatives": sampling.law,
                **asdict(sampling),
                "record_format": options.record_format,
                "block_rows": options.block_rows,
            },
            counts={"rows_per_epoch": counts["rows"] // options.epochs, **counts},
            inputs={
                "splits": dataset.splits.fingerprint,
                "popularity": popularity.fingerprint,
            },
        )


def _build(pipeline: Any, plan: TripletPlan, units: list[tuple[int, int]]) -> None:
    _ = (
        pipeline
        | "EpochsAndShards" >> beam.Create(units)
        | "DrawShard" >> beam.ParDo(DrawShard(plan))
        | WriteReport(plan.folder)
    )


JOB = Job(
    name="triplets",
    summary="Draws the negatives of each training row for some epochs ahead.",
    flags=TripletFlags,
    run=run,
)


def main() -> int:
    """Runs the command."""
    return JOB.main()


if __name__ == "__main__":
    sys.exit(main())
