"""The K best items of every user of an exported model, with each cause's term.

What the model's `recommend` signature answers one request at a time, for all users or
those of a file: equal scores in the order of items, what is hidden never listed, the
popularity answer for who is unknown.
"""

import hashlib
import math
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
from beam_jobs.transforms.recommend import RecommendBlock, RecommendPlan, read_asked
from beam_jobs.transforms.vectors import CatalogueVectors
from tfcausal.errors import InputError
from tfcausal.schema.exported import index_shard
from tfcausal.schema.folders import staged_folder
from tfcausal.schema.interventions import applied_weights
from tfcausal.schema.manifest import Manifest, kind_of, read_manifest
from tfcausal.schema.paths import as_path


@dataclass(frozen=True)
class RecommendOptions:
    """Options of recommend.

    Attributes:
        vectors: The folder that embed wrote.
        output: The folder to write.
        k: Items of a list; fewer where there are no more.
        weight: Intervene: scale a cause in the score, as CAUSE=NUMBER, such as
            conformity=0; may be given again. The others keep 1.
        do: Take the weights of this preset of the model, such as interest_only; those
            of --weight multiply them.
        include_seen: List what the user has seen, too.
        users: A file of ids, one a line, to answer for these users only; an id that the
            model does not know gets the most popular items.
        index: Search in place of exactly through this ScaNN index: what `tfcausal
            index` wrote, saved_models/NAME/VERSION-scann, or beam_jobs.index.
        items_per_shard: Items that a worker holds at once, but never fewer than one
            file of embed; the lists are the same for any. An index has its own.
        overwrite: Replace what --output holds.
    """

    vectors: Path
    output: Path
    k: int = 10
    weight: tuple[str, ...] | None = None
    do: str | None = None
    include_seen: bool = False
    users: Path | None = None
    index: Path | None = None
    items_per_shard: int = 1_000_000
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises InputError for a value that makes no sense."""
        for name in ("k", "items_per_shard"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"`{name}` must be at least 1; got {getattr(self, name)}."
                )
        self.weights()

    def weights(self) -> dict[str, float]:
        """Returns cause to weight.

        Raises:
            InputError: If a text has another form, or a cause stands twice.
        """
        weights: dict[str, float] = {}
        for text in self.weight or ():
            cause, _, number = text.rpartition("=")
            try:
                weight = float(number)
            except ValueError:
                weight = math.nan
            if not cause or not math.isfinite(weight):
                raise InputError(
                    f"`weight` must be CAUSE=NUMBER with a finite number; got {text}. "
                    "Write it as --weight=conformity=0."
                )
            if cause in weights:
                raise InputError(f"`weight` must name `{cause}` once; got it twice.")
            weights[cause] = weight
        return weights


class RecommendFlags(JobFlags):
    """Flags of recommend."""

    options_class = RecommendOptions

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        add_flags(parser, RecommendOptions)


def run(
    options: RecommendOptions, pipeline_options: PipelineOptions | None = None
) -> Manifest:
    """Writes lists of all users, or of those of a file.

    Args:
        options: Options of the job.
        pipeline_options: Beam's options; None to run in this process.
    Returns:
        The manifest of the lists.
    Raises:
        InputError: If there are no vectors, the index is of another export, the file
            names nobody, a weight is of no cause or too large, or there is no such
            preset.
    """
    vectors = read_manifest(as_path(options.vectors), kind="vectors")
    catalogue = CatalogueVectors.of(as_path(options.vectors), vectors)
    weights = applied_weights(
        catalogue.causes,
        vectors.details["presets"],
        options.weights(),
        options.do or "",
    )
    num_users, inputs = _asked_for(options, vectors)
    shards, indexes, of_index = _search(options, catalogue, vectors)
    inputs |= {"vectors": vectors.fingerprint} | of_index
    with staged_folder(
        as_path(options.output), "recommendations", overwrite=options.overwrite
    ) as folder:
        plan = RecommendPlan(
            catalogue,
            folder,
            shards=shards,
            weights=weights,
            k=options.k,
            include_seen=options.include_seen,
            asked=None if options.users is None else as_path(options.users),
            indexes=indexes,
        )
        run_pipeline(
            partial(_build, plan),
            pipeline_options,
            without_beam=lambda: call(RecommendBlock(plan), plan.units()),
            finish=partial(_finish, options, weights, inputs, num_users, folder),
            folder=folder,
        )
        return read_manifest(folder, kind="recommendations")


def _build(plan: RecommendPlan, pipeline: Any) -> beam.PCollection:
    return (
        pipeline
        | "BlocksOfUsers" >> beam.Create(plan.units())
        | "RecommendBlock" >> beam.ParDo(RecommendBlock(plan))
    )


def _finish(
    options: RecommendOptions,
    weights: dict[str, float],
    inputs: dict[str, str],
    num_users: int,
    folder: Path,
    report: Report,
) -> None:
    if report.counts["users"] != num_users:
        raise InputError(
            f"`{options.vectors}` must hold the users that its manifest counts, so "
            f"that {num_users} get lists; got {report.counts['users']}. Run "
            "beam_jobs.embed again."
        )
    seal(
        folder,
        "recommendations",
        options=promised_options(options) | {"weight": options.weights()},
        counts=report.counts,
        inputs=inputs,
        details={"weights": weights},
    )


def _asked_for(
    options: RecommendOptions, vectors: Manifest
) -> tuple[int, dict[str, str]]:
    """Returns how many users get lists, and what tells them from others."""
    if options.users is None:
        return vectors.counts["users"], {}
    try:
        asked = read_asked(as_path(options.users))
    except FileNotFoundError as error:
        raise InputError(
            f"`users` must be a file of user ids, one a line; `{options.users}` is not "
            "there. Leave --users out to answer for all."
        ) from error
    if not len(asked):
        raise InputError(
            f"`{options.users}` must name at least one user; got none. Leave --users "
            "out to answer for all."
        )
    lines = "".join(f"{user}\n" for user in asked.to_pylist())
    return len(asked), {"users": hashlib.sha256(lines.encode()).hexdigest()}


def _search(
    options: RecommendOptions, catalogue: CatalogueVectors, vectors: Manifest
) -> tuple[list[range], list[Path], dict[str, str]]:
    """Returns which files of items are held at once, and what finds the best of them.

    Returns:
        The shards; the index of each, none for exact search; and what tells the index
        from others.
    """
    if options.index is None:
        return catalogue.item_shards(options.items_per_shard), [], {}
    folder = as_path(options.index)
    kind = kind_of(folder)
    if kind not in ("index", "sharded_index"):
        raise InputError(
            "`index` must be what `tfcausal index` (saved_models/NAME/VERSION-scann) "
            f"or `beam_jobs.index` wrote; `{folder}` holds {kind or 'no result'}."
        )
    if kind == "sharded_index":
        index = read_manifest(folder, kind="sharded_index")
        _require_same(options, "vectors", index.inputs["vectors"], vectors.fingerprint)
        shards = catalogue.item_shards(index.options["items_per_shard"])
        indexes = [index_shard(folder, number) for number in range(len(shards))]
        return shards, indexes, {"index": index.fingerprint}
    index = read_manifest(folder, kind="index")
    _require_same(options, "export", index.inputs["export"], vectors.inputs["export"])
    if not index.options.get("as_built"):
        raise InputError(
            f"`{folder}` must be the index as built; its items have changed since. "
            "Build it again with `tfcausal index --overwrite`."
        )
    return [catalogue.item_files], [folder], {"index": index.fingerprint}


def _require_same(
    options: RecommendOptions, name: str, of_index: str, wanted: str
) -> None:
    """Raises InputError unless an index was built of what the lists are made of."""
    if of_index != wanted:
        raise InputError(
            f"`index` must be of the {name} that the lists are made of; "
            f"`{options.index}` is of {of_index[:12]}, `{options.vectors}` says "
            f"{wanted[:12]}. Give the index of the model that embed read, or run "
            "beam_jobs.index on these vectors."
        )


JOB = Job(
    name="recommend",
    summary="Writes the best items of all users of an exported model.",
    flags=RecommendFlags,
    run=run,
)


def main() -> int:
    """Runs the command."""
    return JOB.main()


if __name__ == "__main__":
    sys.exit(main())
