"""ScaNN indexes of the vectors of a catalogue, each of a shard of its items.

What `beam_jobs.recommend --index` searches where the items are more than one worker
holds: no process ever has more than one shard.
"""

import sys
from argparse import ArgumentParser
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.runtime.command import Job
from beam_jobs.runtime.flags import JobFlags, add_flags
from beam_jobs.runtime.pipeline import call, promised_options, run_pipeline, seal
from beam_jobs.runtime.report import Report
from beam_jobs.transforms.index import BuildShard, IndexPlan
from beam_jobs.transforms.vectors import CatalogueVectors
from tfcausal.errors import InputError
from tfcausal.schema.exported import index_shard
from tfcausal.schema.folders import staged_folder
from tfcausal.schema.manifest import Manifest, read_manifest
from tfcausal.schema.paths import as_path


@dataclass(frozen=True)
class IndexOptions:
    """Options of index.

    Attributes:
        vectors: The folder that embed wrote.
        output: The folder to write.
        items_per_shard: Items of an index, which a worker builds and later searches as
            a whole; in whole files of embed, at least one.
        floor: Recall against exact search below which no index is kept: of each shard,
            with all causes at weight 1 and with each at 0, 0.25, 0.5 and 2.
        k: Places that recall is measured at.
        num_users: Known users, evenly over the vocabulary, whose vectors are the
            queries.
        overwrite: Replace what --output holds.
    """

    vectors: Path
    output: Path
    items_per_shard: int = 1_000_000
    floor: float = 0.95
    k: int = 100
    num_users: int = 256
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises InputError for a value that makes no sense."""
        for name in ("items_per_shard", "k", "num_users"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"`{name}` must be at least 1; got {getattr(self, name)}."
                )
        if not 0 <= self.floor <= 1:
            raise InputError(f"`floor` must be from 0 to 1; got {self.floor}.")


class IndexFlags(JobFlags):
    """Flags of index."""

    options_class = IndexOptions

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        add_flags(parser, IndexOptions)


def run(
    options: IndexOptions, pipeline_options: PipelineOptions | None = None
) -> Manifest:
    """Writes an index of each shard of the items.

    Args:
        options: Options of the job.
        pipeline_options: Beam's options; None to run in this process.
    Returns:
        The manifest.
    Raises:
        InputError: If there are no vectors, or no known user to measure recall with; if
            a worker lacks the memory; or if a recall is below the floor.
    """
    vectors = read_manifest(as_path(options.vectors), kind="vectors")
    with staged_folder(
        as_path(options.output), "sharded_index", overwrite=options.overwrite
    ) as folder:
        catalogue = CatalogueVectors.of(as_path(options.vectors), vectors)
        plan = IndexPlan(
            catalogue,
            vectors.fingerprint,
            folder,
            catalogue.item_shards(options.items_per_shard),
            floor=options.floor,
            k=options.k,
            num_users=options.num_users,
        )
        run_pipeline(
            partial(_build, plan),
            pipeline_options,
            without_beam=lambda: call(BuildShard(plan), plan.units()),
            finish=partial(_finish, options, vectors, folder),
            folder=folder,
        )
        return read_manifest(folder, kind="sharded_index")


def _build(plan: IndexPlan, pipeline: Any) -> beam.PCollection:
    return (
        pipeline
        | "Shards" >> beam.Create(plan.units())
        | "BuildShard" >> beam.ParDo(BuildShard(plan))
    )


def _finish(
    options: IndexOptions, vectors: Manifest, folder: Path, report: Report
) -> None:
    if report.counts["items"] != vectors.counts["items"]:
        raise InputError(
            f"`{options.vectors}` must hold the {vectors.counts['items']} items that "
            f"its manifest counts; got {report.counts['items']}. Run beam_jobs.embed "
            "again."
        )
    seal(
        folder,
        "sharded_index",
        # Unlike lists, an index is another where its items are cut otherwise.
        options=promised_options(options)
        | {"items_per_shard": options.items_per_shard},
        counts=report.counts,
        inputs={"vectors": vectors.fingerprint},
        details={"recall": _least_recall(folder, report.counts["shards"])},
    )


def _least_recall(folder: Path, num_shards: int) -> dict[str, float]:
    """Returns the least recall of a shard, for each kind of queries."""
    found = [
        read_manifest(index_shard(folder, number), kind="index").details["recall"]
        for number in range(num_shards)
    ]
    return {kind: min(one[kind] for one in found) for kind in found[0]}


JOB = Job(
    name="index",
    summary="Indexes the items of an exported model with ScaNN, in shards.",
    flags=IndexFlags,
    run=run,
)


def main() -> int:
    """Runs the command."""
    return JOB.main()


if __name__ == "__main__":
    sys.exit(main())
