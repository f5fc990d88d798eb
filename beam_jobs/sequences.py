"""Histories and targets for sequential methods, from each user's rows in their order.

A user's rows are taken in order of time; equal times, and rows without a time, in the
order of the input. Each sample has the last items before its target, at most
`max_length`, and the target.
"""

import sys
from argparse import ArgumentParser
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.runtime.command import Job
from beam_jobs.runtime.dataset_input import IngestedDataset, open_ingested, open_split
from beam_jobs.runtime.flags import JobFlags, add_flags
from beam_jobs.runtime.pipeline import call, promised_options, run_pipeline, seal
from beam_jobs.runtime.report import Report
from beam_jobs.transforms.sequences import CutShard, SequencePlan
from tfcausal.errors import InputError, unknown_name
from tfcausal.schema.dataset import ALL_ROWS, TRAIN, epoch_name
from tfcausal.schema.folders import staged_folder
from tfcausal.schema.manifest import Manifest, read_manifest
from tfcausal.stats.order import BLOCK_ROWS
from tfcausal.stats.sequences import SequenceRule


@dataclass(frozen=True)
class SequenceOptions:
    """Options of sequences.

    Attributes:
        dataset: The folder that ingest and split wrote.
        part: The part of the split whose rows are cut, or all for every row of the
            data set.
        targets: every_prefix (each item with enough before it), sampled (num_cuts
            items of a user, drawn anew in each epoch), last (each user's last item)
            or whole (no target: a user's last items, for targets in another part).
        max_length: Items of a history.
        min_length: Items that must come before a target (whole: that a user must
            have). ComiRec has 4; CauseRec's paper takes every position, which is 1.
        epochs: sampled: Number of epochs to draw.
        num_cuts: sampled: Targets drawn for a user in an epoch, with replacement.
        padding: Whether short histories are filled with item 0 on the right or on the
            left.
        order: mixed (drawn by seed and epoch) or by_user.
        seed: Seed of draws and order.
        block_rows: Samples in a block; training reads blocks of the default size.
        overwrite: Replace sequences of this part cut earlier.
    """

    dataset: Path
    part: str = TRAIN
    targets: Literal["every_prefix", "sampled", "last", "whole"] = "every_prefix"
    max_length: int = SequenceRule.max_length
    min_length: int = SequenceRule.min_length
    epochs: int = 1
    num_cuts: int = SequenceRule.num_cuts
    padding: Literal["right", "left"] = "right"
    order: Literal["mixed", "by_user"] = "mixed"
    seed: int = 0
    block_rows: int = BLOCK_ROWS
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises InputError for a value that makes no sense."""
        for name in ("epochs", "block_rows"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"`{name}` must be at least 1; got {getattr(self, name)}."
                )
        if self.epochs > 1 and self.targets != "sampled":
            raise InputError(
                "`epochs` must be 1 unless targets=sampled, since all epochs have the "
                f"same samples; got {self.epochs}. Leave it out."
            )
        self.rule()

    def rule(self) -> SequenceRule:
        """Returns which samples are cut.

        Raises:
            InputError: If a value of it makes no sense.
        """
        return SequenceRule(
            targets=self.targets,
            max_length=self.max_length,
            min_length=self.min_length,
            num_cuts=self.num_cuts,
            padding=self.padding,
            order=self.order,
            seed=self.seed,
        )


class SequenceFlags(JobFlags):
    """Flags of sequences."""

    options_class = SequenceOptions

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        add_flags(parser, SequenceOptions)


def run(
    options: SequenceOptions, pipeline_options: PipelineOptions | None = None
) -> Manifest:
    """Cuts samples into DATASET/sequences/PART.

    Args:
        options: Options of the job.
        pipeline_options: Beam's options; None to run in this process.
    Returns:
        The manifest of the sequences.
    Raises:
        InputError: If the data set, its part or an option does not fit, or no user has
            rows enough for a sample.
    """
    dataset, rows, inputs = _open(options)
    target = dataset.folder.sequences(options.part)
    rule = options.rule()
    with staged_folder(target, "sequences", overwrite=options.overwrite) as folder:
        plan = SequencePlan(rows, folder, rule, options.block_rows)
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
            without_beam=lambda: call(CutShard(plan), units),
            finish=partial(_finish, options, inputs, folder),
            folder=folder,
        )
        return read_manifest(folder, kind="sequences")


def _finish(
    options: SequenceOptions, inputs: dict[str, str], folder: Path, report: Report
) -> None:
    counts = report.counts
    if not counts["rows"]:
        raise InputError(
            f"Some user of the part `{options.part}` must have at least "
            f"{options.rule().rows_needed} rows; none of "
            f"{counts['users'] // options.epochs} has. Choose a smaller min_length, or "
            "another part."
        )
    per_epoch = {
        "rows_per_epoch": counts["rows"] // options.epochs,
        "users": counts["users"] // options.epochs,
        "users_too_short": counts["users_too_short"] // options.epochs,
    }
    seal(
        folder,
        "sequences",
        options=promised_options(options),
        counts={"rows": counts["rows"], **per_epoch},
        inputs=inputs,
    )


def _open(options: SequenceOptions) -> tuple[IngestedDataset, Path, dict[str, str]]:
    """Returns the data set, the folder of rows, and the input's fingerprint."""
    if options.part == ALL_ROWS:
        ingested = open_ingested(options.dataset)
        fingerprint = {"dataset": ingested.manifest.fingerprint}
        return ingested, ingested.folder.interactions, fingerprint
    split = open_split(options.dataset)
    if not split.has_part(options.part):
        known = [*split.splits.details["parts"], ALL_ROWS]
        raise unknown_name("part", options.part, known)
    rows = split.folder.part(options.part)
    return split, rows, {"splits": split.splits.fingerprint}


def _build(
    pipeline: Any, plan: SequencePlan, units: list[tuple[int, int]]
) -> beam.PCollection:
    return (
        pipeline
        | "EpochsAndShards" >> beam.Create(units)
        | "CutShard" >> beam.ParDo(CutShard(plan))
    )


JOB = Job(
    name="sequences",
    summary="Cuts histories and targets for sequential methods out of users' rows.",
    flags=SequenceFlags,
    run=run,
)


def main() -> int:
    """Runs the command."""
    return JOB.main()


if __name__ == "__main__":
    sys.exit(main())
