"""The vectors of all users and items of an exported model, by its own signatures.

What another index, another ranker or `beam_jobs.recommend` reads: ids and vectors, the
popularity of items, and of users whether the model knows them and what they have seen.
"""

import sys
from argparse import ArgumentParser
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.runtime.command import Job
from beam_jobs.runtime.flags import JobFlags, add_flags
from beam_jobs.runtime.pipeline import promised_options, run_pipeline, seal
from beam_jobs.runtime.report import Report
from beam_jobs.transforms.embed import KINDS, EmbedCatalogue, id_blocks
from tfcausal.errors import InputError
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.exported import VectorsFolder, find_version
from tfcausal.schema.folders import staged_folder
from tfcausal.schema.manifest import Manifest, read_manifest
from tfcausal.schema.paths import as_path


@dataclass(frozen=True)
class EmbedOptions:
    """Options of embed.

    Attributes:
        model: An exported version, saved_models/NAME/VERSION, or saved_models/NAME for
            the last one.
        output: The folder to write.
        block_rows: Users or items in a block: one call of the model, one file, and one
            piece of work of recommend.
        overwrite: Replace what --output holds.
    """

    model: Path
    output: Path
    block_rows: int = 32_768
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises InputError for a value that makes no sense."""
        if self.block_rows < 1:
            raise InputError(f"`block_rows` must be at least 1; got {self.block_rows}.")


class EmbedFlags(JobFlags):
    """Flags of embed."""

    options_class = EmbedOptions

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        add_flags(parser, EmbedOptions)


def run(
    options: EmbedOptions, pipeline_options: PipelineOptions | None = None
) -> Manifest:
    """Writes the vectors of an exported model's users and items.

    Args:
        options: Options of the job.
        pipeline_options: Beam's options; None to run in this process.
    Returns:
        The manifest; `details` has the causes, the presets and the size of the vectors.
    Raises:
        InputError: If there is no exported model, or its ids are not those that it was
            exported with.
    """
    version = find_version(as_path(options.model))
    export = read_manifest(version, kind="export")
    with staged_folder(
        as_path(options.output), "vectors", overwrite=options.overwrite
    ) as root:
        folder = VectorsFolder(root)
        for subfolder in (folder.users, folder.items):
            subfolder.mkdir()
        blocks = [
            block
            for kind in KINDS
            for block in id_blocks(
                # The manifest counts the unknown user and item too.
                version,
                kind,
                export.counts[kind] - (UNKNOWN_INDEX + 1),
                options.block_rows,
            )
        ]
        embed = EmbedCatalogue(version, blocks, folder)
        run_pipeline(
            lambda pipeline: pipeline | "EmbedCatalogue" >> embed,
            pipeline_options,
            without_beam=embed.without_beam,
            finish=partial(_finish, options, export, root),
            folder=root,
        )
        return read_manifest(root, kind="vectors")


def _finish(
    options: EmbedOptions, export: Manifest, folder: Path, report: Report
) -> None:
    causes = export.details["causes"]
    seal(
        folder,
        "vectors",
        options=promised_options(options),
        counts=report.counts,
        inputs={"export": export.fingerprint},
        details={
            "causes": causes,
            "presets": export.details["presets"],
            "dim": max(end for _, end in causes.values()),
            "queries": export.counts["queries"],
        },
    )


JOB = Job(
    name="embed",
    summary="Writes the vectors of all users and items of an exported model.",
    flags=EmbedFlags,
    run=run,
)


def main() -> int:
    """Runs the command."""
    return JOB.main()


if __name__ == "__main__":
    sys.exit(main())
