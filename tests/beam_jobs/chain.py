"""Every job with its options, in an order in which each finds what it reads."""

from pathlib import Path
from typing import Any, NamedTuple

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs import (
    drift,
    graph,
    ingest,
    item_concepts,
    popularity,
    sequences,
    split,
    triplets,
)
from tests.beam_jobs.raw import Row, raw_rows, write_shards
from tfcausal.schema.dataset import DatasetFolder
from tfcausal.schema.manifest import checksums

NUM_ITEMS = 100
NUM_USERS = 80


class Step(NamedTuple):
    """One job.

    Attributes:
        job: Its module.
        options: Its options.
        target: The folder that it writes.
    """

    job: Any
    options: Any
    target: Path


def write_input(folder: Path, rows: list[Row] | None = None) -> Path:
    """Writes raw rows and features of films below a folder, and returns it."""
    folder.mkdir(exist_ok=True)
    write_shards(folder / "raw", raw_rows() if rows is None else rows)
    lines = [f"film {item},g{item % 7}\n" for item in range(NUM_ITEMS)]
    (folder / "films.csv").write_text("item_id,genre\n" + "".join(lines))
    return folder


def steps(source: Path, dataset: Path, **of_ingest: Any) -> dict[str, Step]:
    """Returns the jobs by name.

    Args:
        source: Where `write_input` wrote.
        dataset: The data set to make; drift goes beside it.
        **of_ingest: More options of ingest.
    """
    folder = DatasetFolder(dataset)
    other = dataset.with_name(f"{dataset.name}_drift")
    read = ingest.IngestOptions(
        str(source / "raw"),
        "csv",
        dataset,
        item_features=str(source / "films.csv"),
        **of_ingest,
    )
    found = (
        Step(ingest, read, dataset),
        Step(split, split.SplitOptions(dataset, "intervened"), folder.splits),
        Step(popularity, popularity.PopularityOptions(dataset), folder.popularity),
        Step(triplets, triplets.TripletOptions(dataset, epochs=2), folder.triplets),
        Step(
            sequences,
            sequences.SequenceOptions(dataset, max_length=5),
            folder.sequences("train"),
        ),
        Step(
            graph,
            graph.GraphOptions(dataset),
            folder.graph(("train", "train_intervened")),
        ),
        Step(
            item_concepts,
            item_concepts.ItemConceptOptions(dataset, ("genre",)),
            folder.item_concepts,
        ),
        Step(drift, drift.DriftOptions(dataset, dataset, other), other),
    )
    return {step.job.JOB.name: step for step in found}


def run_chain(
    source: Path, dataset: Path, flags: list[str], **of_ingest: Any
) -> dict[str, str]:
    """Runs all jobs and returns the checksum of every file that they wrote."""
    chain = steps(source, dataset, **of_ingest)
    for step in chain.values():
        step.job.run(step.options, PipelineOptions(flags))
    beside = checksums(chain["drift"].target)
    return (
        checksums(dataset)
        | {f"drift/{name}": checksum for name, checksum in beside.items()}
        | {"": (dataset / "manifest.json").read_text()}
    )
