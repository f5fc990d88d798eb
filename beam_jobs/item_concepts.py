"""Concepts of items, such as director and genre, and the users' shares of their values.

For CaD-VAE and other methods that learn from attributes of items. The attributes are
columns of DATASET/item_features.parquet, which ingest writes with --item_features.
"""

import re
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
from beam_jobs.transforms.item_concepts import BuildConcepts, ConceptPlan
from tfcausal.errors import InputError, unknown_name
from tfcausal.schema import columns
from tfcausal.schema.dataset import FOLD_IN_PARTS, TRAIN, TRAINING_PARTS
from tfcausal.schema.folders import staged_folder
from tfcausal.schema.manifest import Manifest, read_manifest
from tfcausal.stats.concepts import SHARES_OF, Binning, ConceptRule

# What every file system and store takes for the name of one folder, and pyarrow for no
# partition of a table.
_FOLDER_NAME = re.compile(r"[^./\\:*?=\x00-\x1f][^/\\:*?=\x00-\x1f]{0,63}")


@dataclass(frozen=True)
class ItemConceptOptions:
    """Options of item_concepts.

    Attributes:
        dataset: The folder that ingest, with --item_features, and split wrote.
        concepts: Columns of the features of items, each a concept, such as
            director,genres,actors,year.
        min_count: Values of fewer items become the unknown one.
        max_values: Keep only so many values of each concept, those of the most items;
            the others become the unknown one. None for all.
        bins: Columns of numbers whose values are bins, as COLUMN:RULE:NUMBER with
            equal_width or quantile (of items), such as year:equal_width:10. All bins
            are kept. None where each number is a value of its own.
        share_of: What a user's shares are of: items, those of the user that have a
            value, or values, so that shares sum to 1.
        overwrite: Replace concepts written earlier.
    """

    dataset: Path
    concepts: tuple[str, ...]
    min_count: int = 1
    max_values: int | None = None
    bins: tuple[str, ...] | None = None
    share_of: Literal["items", "values"] = "items"
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises InputError for a value that makes no sense."""
        if self.share_of not in SHARES_OF:
            raise unknown_name("share_of", self.share_of, SHARES_OF)
        if not self.concepts or len(set(self.concepts)) < len(self.concepts):
            raise InputError(
                "`concepts` must name at least one column, and each once; got "
                f"{','.join(self.concepts) or 'none'}."
            )
        for name in self.concepts:
            if not _FOLDER_NAME.fullmatch(name):
                raise InputError(
                    f"`concepts` must be names that a folder can have; got `{name}`. "
                    "Rename the column in the table of features."
                )
        for name in ("min_count", "max_values"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"`{name}` must be at least 1; got {value}.")
        self.rules()

    def rules(self) -> tuple[ConceptRule, ...]:
        """Returns which values each concept has.

        Raises:
            InputError: If bins are of another form or of no concept.
        """
        binnings: dict[str, Binning] = {}
        for text in self.bins or ():
            name, binning = Binning.parse(text)
            if name not in self.concepts:
                raise unknown_name("concept in `bins`", name, self.concepts)
            if name in binnings:
                raise InputError(
                    f"`bins` must name each column once; got `{name}` twice."
                )
            binnings[name] = binning
        return tuple(
            ConceptRule(name, self.min_count, self.max_values, binnings.get(name))
            for name in self.concepts
        )


class ItemConceptFlags(JobFlags):
    """Flags of item_concepts."""

    options_class = ItemConceptOptions

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        add_flags(parser, ItemConceptOptions)


def run(
    options: ItemConceptOptions, pipeline_options: PipelineOptions | None = None
) -> Manifest:
    """Writes concepts into DATASET/features/item_concepts.

    Args:
        options: Options of the job.
        pipeline_options: Beam's options; None to run in this process.
    Returns:
        The manifest of the concepts.
    Raises:
        InputError: If the data set is not split, has no features of items, or a column
            of them cannot be a concept.
    """
    dataset = open_split(options.dataset)
    rules = options.rules()
    _require_columns(dataset, rules)
    target = dataset.folder.item_concepts
    with staged_folder(target, "item_concepts", overwrite=options.overwrite) as folder:
        plan = ConceptPlan(
            dataset=dataset.folder,
            folder=folder,
            concepts=rules,
            parts=_parts(dataset),
            share_of=options.share_of,
            num_shards=dataset.num_shards,
            row_group_size=dataset.row_group_size,
        )
        for rule in rules:
            for part, _ in plan.parts:
                plan.concept(rule.name).users(part).mkdir(parents=True)
        build_concepts = BuildConcepts(plan)
        run_pipeline(
            lambda pipeline: pipeline | "BuildConcepts" >> build_concepts,
            pipeline_options,
            without_beam=build_concepts.without_beam,
            finish=partial(_finish, options, dataset.splits, plan),
            folder=folder,
        )
        return read_manifest(folder, kind="item_concepts")


def _finish(
    options: ItemConceptOptions, splits: Manifest, plan: ConceptPlan, report: Report
) -> None:
    seal(
        plan.folder,
        "item_concepts",
        options=promised_options(options),
        counts=report.counts,
        inputs={"splits": splits.fingerprint},
        details={"parts": {part: list(joined) for part, joined in plan.parts}},
    )


def _require_columns(dataset: SplitDataset, rules: tuple[ConceptRule, ...]) -> None:
    path = dataset.folder.item_features
    if not path.is_file():
        raise InputError(
            f"`{path}` must hold features of items; there is no such file. Run "
            "beam_jobs.ingest with --item_features."
        )
    num_rows = pq.read_metadata(path).num_rows
    if num_rows != dataset.num_items:
        raise InputError(
            f"`{path}` must have a row for each of {dataset.num_items} items; got "
            f"{num_rows}. Run beam_jobs.ingest again."
        )
    schema = pq.read_schema(path)
    known = [name for name in schema.names if name != columns.ITEM_ID]
    for rule in rules:
        if rule.name not in known:
            raise unknown_name("feature of items", rule.name, known)
        rule.require_fits(schema.field(rule.name).type)


def _parts(dataset: SplitDataset) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Returns what is known of users: to train on, and of those who are held out."""
    training = tuple(name for name in TRAINING_PARTS if dataset.has_part(name))
    held_out = [name for name in FOLD_IN_PARTS.values() if dataset.has_part(name)]
    return (TRAIN, training), *((name, (name,)) for name in held_out)


JOB = Job(
    name="item_concepts",
    summary="Numbers the values of items' concepts, and counts them by user.",
    flags=ItemConceptFlags,
    run=run,
)


def main() -> int:
    """Runs the command."""
    return JOB.main()


if __name__ == "__main__":
    sys.exit(main())
