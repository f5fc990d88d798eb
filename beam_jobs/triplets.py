"""Training triplets drawn ahead: (user, positive, negatives, cause), an epoch a folder.

Training can draw the same triplets itself, equal bit for bit; drawing them here is for
trainers that read files, or that shall not spend their own time on it.
"""

import sys
from argparse import ArgumentParser
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import apache_beam as beam
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.runtime.command import Job
from beam_jobs.runtime.dataset_input import SplitDataset, open_split
from beam_jobs.runtime.flags import JobFlags, add_flags
from beam_jobs.runtime.pipeline import call, run_pipeline, seal
from beam_jobs.runtime.report import Report
from beam_jobs.transforms.triplets import (
    BLOCKS,
    EXAMPLES,
    DrawShard,
    HardPlan,
    TripletPlan,
)
from tfcausal.errors import InputError, unknown_name
from tfcausal.schema.dataset import TRAINING_PARTS, epoch_name
from tfcausal.schema.folders import staged_folder
from tfcausal.schema.manifest import (
    Manifest,
    read_manifest,
    require_files,
    require_input,
)
from tfcausal.schema.paths import as_path
from tfcausal.schema.vectors import CausalVectors
from tfcausal.stats.negative_laws import LAWS, AnySampling
from tfcausal.stats.negatives import PopularityMargin, Uniform
from tfcausal.stats.order import BLOCK_ROWS
from tfcausal.stats.weighted_negatives import ByPopularity


@dataclass(frozen=True)
class TripletOptions:
    """Options of triplets.

    Attributes:
        dataset: The folder that ingest, split and popularity wrote.
        epochs: Number of epochs to draw.
        seed: Seed of all draws and of the order of rows; training with this seed meets
            the same triplets.
        negatives: popularity_margin (DICE's PNSM), uniform, or popularity (in
            proportion to it). The last is not one that training can draw itself.
        num_negatives: Negatives for each positive.
        margin: popularity_margin: a more popular negative has a popularity above the
            positive's by more than this.
        margin_decay: popularity_margin: factor on the margins after each epoch.
        down_margin: popularity_margin: a less popular negative has a popularity below
            the positive's by more than this; none for below half of it.
        min_pool: popularity_margin: with fewer candidates than this in one pool, all
            negatives come from the other.
        beta: popularity: an item's weight is its popularity to this power, >= 0.
        hard_negatives: Folder of a finished run on this split, by whose vectors hard
            negatives are found: items of high score that the user has not met.
        hard_pool: hard_negatives: number of those items, from which one is drawn.
        hard_share: hard_negatives: probability that a negative is hard; the rest comes
            by the law of `negatives`.
        log_q: Write with each negative the log-probability of its draw.
        record_format: blocks of packed columns, or examples (a tf.train.Example for
            each row; slow and large, for other readers).
        block_rows: Rows in a block; training reads blocks of the default size.
        overwrite: Replace triplets drawn earlier.
    """

    dataset: Path
    epochs: int
    seed: int = 0
    negatives: Literal["popularity_margin", "uniform", "popularity"] = (
        "popularity_margin"
    )
    num_negatives: int = PopularityMargin.num_negatives
    margin: float = PopularityMargin.margin
    margin_decay: float = PopularityMargin.margin_decay
    down_margin: float | None = PopularityMargin.down_margin
    min_pool: int = PopularityMargin.min_pool
    beta: float = ByPopularity.beta
    hard_negatives: Path | None = None
    hard_pool: int = 100
    hard_share: float = 1.0
    log_q: bool = False
    record_format: Literal["blocks", "examples"] = "blocks"
    block_rows: int = BLOCK_ROWS
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises InputError for a value that makes no sense."""
        if self.negatives not in LAWS:
            raise unknown_name("negatives", self.negatives, LAWS)
        if self.record_format not in (BLOCKS, EXAMPLES):
            raise unknown_name("record_format", self.record_format, (BLOCKS, EXAMPLES))
        for name in ("epochs", "block_rows", "hard_pool"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"`{name}` must be at least 1; got {getattr(self, name)}."
                )
        if not 0 < self.hard_share <= 1:
            raise InputError(
                f"`hard_share` must be above 0 and at most 1; got {self.hard_share}. "
                "For no hard negatives leave `hard_negatives` out."
            )
        self.sampling()

    def sampling(self) -> AnySampling:
        """Returns who is a negative.

        Raises:
            InputError: If a value of it makes no sense.
        """
        if self.negatives == Uniform.law:
            return Uniform(self.num_negatives)
        if self.negatives == ByPopularity.law:
            return ByPopularity(self.num_negatives, self.beta)
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
        InputError: If the data set is not split and counted, or an option or the run
            whose hard negatives are wanted does not fit.
    """
    dataset = open_split(options.dataset)
    counted = dataset.folder.popularity
    popularity = read_manifest(counted, kind="popularity")
    require_input(popularity, "splits", dataset.splits.fingerprint, counted)
    parts = tuple(name for name in TRAINING_PARTS if dataset.has_part(name))
    sampling = options.sampling()
    inputs = {
        "splits": dataset.splits.fingerprint,
        "popularity": popularity.fingerprint,
    }
    hard = None
    if options.hard_negatives is not None:
        model = as_path(options.hard_negatives)
        inputs["run"] = _checked_run(model, dataset).fingerprint
        hard = HardPlan(_vectors(model), options.hard_pool, options.hard_share)
    with staged_folder(
        dataset.folder.triplets, "triplets", overwrite=options.overwrite
    ) as folder:
        plan = TripletPlan(
            dataset=dataset.folder,
            parts=parts,
            popularity=counted / "popularity.parquet",
            folder=folder,
            seed=options.seed,
            sampling=sampling,
            record_format=options.record_format,
            block_rows=options.block_rows,
            hard=hard,
            log_q=options.log_q,
        )
        for epoch in range(options.epochs):
            (folder / epoch_name(epoch)).mkdir()
        units = plan.units(options.epochs, dataset.num_shards)
        run_pipeline(
            lambda pipeline: _build(pipeline, plan, units),
            pipeline_options,
            without_beam=lambda: call(DrawShard(plan), units),
            finish=partial(_finish, options, plan, inputs),
            folder=folder,
        )
        return read_manifest(folder, kind="triplets")


def _vectors(run: Path) -> Path:
    return run / "vectors"


def _checked_run(folder: Path, dataset: SplitDataset) -> Manifest:
    """Returns the manifest of a run whose vectors are of this very split."""
    if (folder / "saved_model.pb").is_file():
        raise InputError(
            f"`hard_negatives` must be the folder of a run, in which vectors are plain "
            f"files; got the exported model `{folder}`. Pass the run it was made from."
        )
    manifest = read_manifest(folder, kind="run")
    require_input(manifest, "splits", dataset.splits.fingerprint, folder)
    vectors = CausalVectors.load(_vectors(folder))
    for name, values, vocabulary in (
        ("users", vectors.queries, dataset.folder.users),
        ("items", vectors.candidates, dataset.folder.items),
    ):
        expected = pq.read_metadata(vocabulary).num_rows
        if len(values) != expected:
            raise InputError(
                f"`{folder}` must have vectors of {expected} {name}, as the data set "
                f"has; got {len(values)}. Train again on `{dataset.folder.root}`."
            )
    require_files(manifest, folder)
    return manifest


def _finish(
    options: TripletOptions, plan: TripletPlan, inputs: dict[str, str], report: Report
) -> None:
    counts = report.counts
    seal(
        plan.folder,
        "triplets",
        options={
            "seed": options.seed,
            "epochs": options.epochs,
            "negatives": plan.sampling.law,
            **asdict(plan.sampling),
            **_hard_options(plan),
            "log_q": options.log_q,
            "record_format": options.record_format,
            "block_rows": options.block_rows,
        },
        counts={"rows_per_epoch": counts["rows"] // options.epochs, **counts},
        inputs=inputs,
    )


def _hard_options(plan: TripletPlan) -> dict[str, Any]:
    if plan.hard is None:
        return {}
    return {"hard_pool": plan.hard.pool_size, "hard_share": plan.hard.share}


def _build(
    pipeline: Any, plan: TripletPlan, units: list[tuple[range, int]]
) -> beam.PCollection:
    return (
        pipeline
        | "EpochsAndShards" >> beam.Create(units)
        | "DrawShard" >> beam.ParDo(DrawShard(plan))
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
