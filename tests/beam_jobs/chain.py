"""Every job with its options, in an order in which each finds what it reads."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs import (
    drift,
    embed,
    graph,
    index,
    ingest,
    item_concepts,
    popularity,
    recommend,
    sequences,
    split,
    triplets,
)
from tests.beam_jobs.raw import Row, raw_rows, write_shards
from tests.exports import exported_model
from tfcausal.schema.dataset import DatasetFolder
from tfcausal.schema.manifest import checksums

NUM_ITEMS = 100
NUM_USERS = 80
BESIDE = {
    "drift": "drift",
    "vectors": "embed",
    "index": "index",
    "lists": "recommend",
}
"""Folders beside the data set, and the jobs that write them."""


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
    """Writes raw rows, features of films and a model below a folder; returns it."""
    folder.mkdir(exist_ok=True)
    write_shards(folder / "raw", raw_rows() if rows is None else rows)
    lines = [f"film {item},g{item % 7}\n" for item in range(NUM_ITEMS)]
    (folder / "films.csv").write_text("item_id,genre\n" + "".join(lines))
    shutil.copytree(exported_model(), folder / "model")
    return folder


def copy_input(source: Path, bucket: Path) -> None:
    """Copies what `write_input` wrote into an object store."""
    for path in source.rglob("*"):
        if path.is_file():
            with (bucket / path.relative_to(source)).open("wb") as stream:
                stream.write(path.read_bytes())


def steps(source: Path, dataset: Path, **of_ingest: Any) -> dict[str, Step]:
    """Returns the jobs by name.

    Args:
        source: Where `write_input` wrote.
        dataset: The data set to make; what is not of one goes beside it.
        **of_ingest: More options of ingest.
    """
    folder = DatasetFolder(dataset)
    compared, vectors, shards, lists = (
        dataset.with_name(f"{dataset.name}_{name}") for name in BESIDE
    )
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
        Step(drift, drift.DriftOptions(dataset, dataset, compared), compared),
        Step(embed, embed.EmbedOptions(source / "model", vectors, 50), vectors),
        Step(index, index.IndexOptions(vectors, shards, 50, k=10), shards),
        Step(recommend, recommend.RecommendOptions(vectors, lists), lists),
    )
    return {step.job.JOB.name: step for step in found}


def run_chain(
    source: Path, dataset: Path, flags: list[str], **of_ingest: Any
) -> dict[str, str]:
    """Runs all jobs and returns the checksum of every file that they wrote."""
    chain = steps(source, dataset, **of_ingest)
    for step in chain.values():
        step.job.run(step.options, PipelineOptions(flags))
    beside = {
        f"{job}/{name}": checksum
        for job in BESIDE.values()
        for name, checksum in checksums(chain[job].target).items()
    }
    manifests = {
        job: (chain[job].target / "manifest.json").read_text()
        for job in ("ingest", *BESIDE.values())
    }
    return checksums(dataset) | beside | manifests
