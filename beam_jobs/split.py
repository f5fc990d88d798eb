"""A data set into training, validation and test parts.

random: exact shares of all rows. intervened: a pool of rows is drawn as if every item
had the same exposure (weight 1 / popularity, capped), and cut into train_intervened,
validation and test; the rest, which follows the log's own policy, is train.
"""

import sys
from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.runtime.command import Job
from beam_jobs.runtime.dataset_input import IngestedDataset, open_ingested
from beam_jobs.runtime.flags import JobFlags, add_flags
from beam_jobs.runtime.pipeline import promised_options, run_pipeline, seal
from beam_jobs.runtime.report import WriteReport, take_report
from beam_jobs.transforms.split import Split, SplitPlan
from tfcausal.errors import InputError, unknown_name
from tfcausal.schema.dataset import TEST, TRAIN, TRAIN_INTERVENED, VALIDATION
from tfcausal.schema.folders import staged_folder
from tfcausal.schema.manifest import Manifest
from tfcausal.stats.splitting import part_ends, require_shares

RULES = ("random", "intervened")


@dataclass(frozen=True)
class SplitOptions:
    """Options of split.

    Attributes:
        dataset: The folder that beam_jobs.ingest wrote.
        rule: random (shares of all rows) or intervened (validation and test as if all
            items were exposed alike).
        seed: Seed of all draws.
        cap_percentile: intervened: weights are capped at this percentile of the
            distinct inverse popularities.
        pool_fraction: intervened: share of all rows in the pool.
        intervened_shares: intervened: shares of the pool that become train_intervened,
            validation and test.
        fractions: random: shares of all rows that become train, validation and test.
        overwrite: Replace an earlier split.
    """

    dataset: Path
    rule: Literal["random", "intervened"]
    seed: int = 0
    cap_percentile: float = 90.0
    pool_fraction: float = 0.4
    intervened_shares: tuple[float, ...] = (0.25, 0.25, 0.5)
    fractions: tuple[float, ...] = (0.7, 0.1, 0.2)
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises InputError for a value that makes no sense."""
        if self.rule not in RULES:
            raise unknown_name("rule", self.rule, RULES)
        if not 0 <= self.cap_percentile <= 100:
            raise InputError(
                f"`cap_percentile` must lie in [0, 100]; got {self.cap_percentile}."
            )
        if not 0 < self.pool_fraction < 1:
            raise InputError(
                f"`pool_fraction` must lie in (0, 1); got {self.pool_fraction}."
            )
        require_shares("intervened_shares", self.intervened_shares, 3)
        require_shares("fractions", self.fractions, 3)


class SplitFlags(JobFlags):
    """Flags of split."""

    options_class = SplitOptions

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        add_flags(parser, SplitOptions)


def run(
    options: SplitOptions, pipeline_options: PipelineOptions | None = None
) -> Manifest:
    """Writes the parts of a split into DATASET/splits.

    Args:
        options: Options of the job.
        pipeline_options: Beam's options; None to run in this process.
    Returns:
        The manifest of the split; `details["parts"]` has the rows of each part.
    Raises:
        InputError: If the data set or an option does not fit.
    """
    dataset = open_ingested(options.dataset)
    plan = _plan(dataset, options)
    names = [*plan.parts, *([plan.rest] if plan.rest else [])]
    with staged_folder(dataset.folder.splits, overwrite=options.overwrite) as folder:
        for name in names:
            (folder / name).mkdir()
        split = Split(plan, folder, dataset.num_shards, dataset.row_group_size)

        def build(pipeline: Any) -> None:
            _ = pipeline | "Split" >> split | WriteReport(folder)

        run_pipeline(
            build, pipeline_options, without_beam=split.without_beam, folder=folder
        )
        report = take_report(folder)
        counts = {name: report.counts[name] for name in sorted(names)}
        return seal(
            folder,
            "splits",
            options=_effective(options),
            counts=counts,
            inputs={"dataset": dataset.manifest.fingerprint},
            details={"parts": counts},
        )


def _plan(dataset: IngestedDataset, options: SplitOptions) -> SplitPlan:
    total = dataset.num_interactions
    pool_rows, rest = None, None
    parts, shares = (TRAIN, VALIDATION, TEST), options.fractions
    if options.rule == "intervened":
        pool_rows, _ = part_ends(
            total, (options.pool_fraction, 1 - options.pool_fraction)
        )
        parts, shares = (TRAIN_INTERVENED, VALIDATION, TEST), options.intervened_shares
        rest = TRAIN
    ends = part_ends(total if pool_rows is None else pool_rows, shares)
    # A share of 0 asks for no such part at all; one that comes out empty is an error.
    chosen = [place for place, share in enumerate(shares) if share > 0]
    sizes = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    for place in chosen:
        if not sizes[place]:
            raise InputError(
                f"Every part must get at least one row; `{parts[place]}` gets none of "
                f"{total}. Ingest more rows, or change the shares."
            )
    return SplitPlan(
        dataset=dataset.folder,
        seed=options.seed,
        cap_percentile=options.cap_percentile,
        pool_rows=pool_rows,
        parts=tuple(parts[place] for place in chosen),
        part_ends=tuple(ends[place] for place in chosen),
        rest=rest,
    )


def _effective(options: SplitOptions) -> dict[str, Any]:
    """Returns the options that play a part under this rule."""
    other = (
        ("fractions",)
        if options.rule == "intervened"
        else ("cap_percentile", "pool_fraction", "intervened_shares")
    )
    promised = promised_options(options)
    return {name: value for name, value in promised.items() if name not in other}


JOB = Job(
    name="split",
    summary="Splits a data set into training, validation and test parts.",
    flags=SplitFlags,
    run=run,
)


def main() -> int:
    """Runs the command."""
    return JOB.main()


if __name__ == "__main__":
    sys.exit(main())
