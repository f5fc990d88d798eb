"""The normalised user-item adjacency for LightGCN and DGCF, by users and by items.

A user and an item are neighbours if the user met the item at least once in one of the
parts. Nodes are rows of the vocabularies; in one graph of all nodes user u is node u
and item i is node num_users + i.
"""

import sys
from argparse import ArgumentParser
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.runtime.command import Job
from beam_jobs.runtime.dataset_input import SplitDataset, open_split
from beam_jobs.runtime.flags import JobFlags, add_flags
from beam_jobs.runtime.pipeline import promised_options, run_pipeline, seal
from beam_jobs.runtime.report import Report
from beam_jobs.transforms.graph import BuildGraph, GraphPlan
from tfcausal.errors import InputError, unknown_name
from tfcausal.schema.dataset import TRAINING_PARTS, GraphFolder
from tfcausal.schema.folders import staged_folder
from tfcausal.schema.manifest import Manifest, read_manifest
from tfcausal.stats.graph import NORMALISATIONS


@dataclass(frozen=True)
class GraphOptions:
    """Options of graph.

    Attributes:
        dataset: The folder that ingest and split wrote.
        parts: The parts of the split whose rows are edges; none for the training
            parts that it has.
        normalisation: symmetric, 1 / sqrt(d_u d_i), or left, 1 / d of the node whose
            row it is.
        self_loops: Make every node its own neighbour too, as DICE's LightGCN does.
        overwrite: Replace a graph of the same parts.
    """

    dataset: Path
    parts: tuple[str, ...] | None = None
    normalisation: Literal["symmetric", "left"] = "symmetric"
    self_loops: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises InputError for a value that makes no sense."""
        if self.normalisation not in NORMALISATIONS:
            raise unknown_name("normalisation", self.normalisation, NORMALISATIONS)
        if self.parts is not None and len(set(self.parts)) < len(self.parts):
            raise InputError(
                f"`parts` must name each part once; got {','.join(self.parts)}."
            )


class GraphFlags(JobFlags):
    """Flags of graph."""

    options_class = GraphOptions

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        add_flags(parser, GraphOptions)


def run(
    options: GraphOptions, pipeline_options: PipelineOptions | None = None
) -> Manifest:
    """Writes a graph into DATASET/graph/PART+PART.

    Args:
        options: Options of the job.
        pipeline_options: Beam's options; None to run in this process.
    Returns:
        The manifest of the graph.
    Raises:
        InputError: If the data set is not split, or has no such part.
    """
    dataset = open_split(options.dataset)
    parts = _parts(dataset, options)
    target = dataset.folder.graph(parts)
    with staged_folder(target, "graph", overwrite=options.overwrite) as folder:
        graph = GraphFolder(folder)
        for subfolder in (graph.by_user, graph.by_item):
            subfolder.mkdir()
        num_users = pq.read_metadata(dataset.folder.users).num_rows
        plan = GraphPlan(
            dataset=dataset.folder,
            parts=parts,
            folder=graph,
            num_shards=dataset.num_shards,
            num_users=num_users,
            num_items=dataset.num_items,
            normalisation=options.normalisation,
            self_loops=options.self_loops,
            row_group_size=dataset.row_group_size,
        )
        build_graph = BuildGraph(plan)

        run_pipeline(
            lambda pipeline: pipeline | "BuildGraph" >> build_graph,
            pipeline_options,
            without_beam=build_graph.without_beam,
            finish=partial(_finish, options, dataset.splits, plan),
            folder=folder,
        )
        return read_manifest(folder, kind="graph")


def _finish(
    options: GraphOptions, splits: Manifest, plan: GraphPlan, report: Report
) -> None:
    seal(
        plan.folder.root,
        "graph",
        options=promised_options(options) | {"parts": list(plan.parts)},
        counts=report.counts,
        inputs={"splits": splits.fingerprint},
    )


def _parts(dataset: SplitDataset, options: GraphOptions) -> tuple[str, ...]:
    if options.parts is None:
        return tuple(name for name in TRAINING_PARTS if dataset.has_part(name))
    for name in options.parts:
        if not dataset.has_part(name):
            raise unknown_name("part", name, dataset.splits.details["parts"])
    return tuple(sorted(options.parts))


JOB = Job(
    name="graph",
    summary="Writes the normalised adjacency of users and items.",
    flags=GraphFlags,
    run=run,
)


def main() -> int:
    """Runs the command."""
    return JOB.main()


if __name__ == "__main__":
    sys.exit(main())
