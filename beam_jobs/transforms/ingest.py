"""The transforms of ingest: read and cut by user, filter, number, write.

units -> ReadUnits -> rows by shard -> GroupByKey -> JoinShards
      -> stages that change the rows of a shard by counts of all ids:
         DropRare once, CoreRound some times, CutVocabularies, each where asked for
      -> vocabularies -> WriteShards, WriteFeatures

Ranges of large files are counted before they are read (CountRows). A stage's side input
is the sum of the counts that the stage before gives.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_jobs.runtime.pipeline import call, route
from beam_jobs.runtime.report import REPORTS, Report
from beam_jobs.runtime.spill import Spill, spill_folder
from beam_jobs.sources.feature_file import FeatureFile
from beam_jobs.sources.ranges import count_rows
from beam_jobs.sources.units import InputFile, SourceUnit
from beam_jobs.transforms.features import WriteFeatures
from beam_jobs.transforms.ingest_stages import (
    ITEM_COUNTS,
    REJECTED,
    USER_COUNTS,
    CutVocabularies,
    DropRare,
    JoinShards,
    MergeIdCounts,
    ReadUnits,
    ShardBytes,
    WriteRejected,
    WriteShards,
)
from tfcausal.schema import columns
from tfcausal.schema.dataset import DatasetFolder
from tfcausal.schema.manifest import file_checksum
from tfcausal.schema.paths import as_path
from tfcausal.stats import vocabulary, vocabulary_cut
from tfcausal.stats.arrow_bytes import table_from_bytes, table_to_bytes
from tfcausal.stats.cleaning import CarriedColumn
from tfcausal.stats.repeats import Repeats

_FILES_AT_ONCE = 16
_SIDE_COLUMNS = {USER_COUNTS: columns.USER_ID, ITEM_COUNTS: columns.ITEM_ID}


def clean_schema(
    *, rating: bool, timestamp: bool, carried: tuple[CarriedColumn, ...] = ()
) -> pa.Schema:
    """Returns the schema of clean rows."""
    text = pa.dictionary(pa.int32(), pa.string())
    fields = [(columns.USER_ID, text), (columns.ITEM_ID, text)]
    fields += [(columns.RATING, pa.float32())] if rating else []
    fields += [(columns.TIMESTAMP, pa.int64())] if timestamp else []
    return pa.schema([*fields, *((column.name, column.type) for column in carried)])


@dataclasses.dataclass(frozen=True)
class IngestPlan:
    """What the transforms need to know.

    Attributes:
        files: The input's files.
        units: The pieces of work.
        schema: Schema of clean rows.
        folder: The folder that is being written; its subfolders exist.
        num_shards: Number of shards.
        min_rating: Least rating to keep; None for all.
        min_user_count: Least interactions of a user.
        min_item_count: Least interactions of an item.
        min_core: Least interactions of both in the end; 1 for no such filter.
        core_rounds: How often the filters may be repeated for that.
        max_users: Size of the vocabulary of users; None for all.
        max_items: Size of the vocabulary of items; None for all.
        hash_buckets: Into how many buckets the ids beyond are hashed; 0 to drop them.
        repeats: What becomes of repeated interactions.
        row_group_size: Rows in a Parquet row group.
        features: Files of features of users or items.
    """

    files: tuple[InputFile, ...]
    units: tuple[SourceUnit, ...]
    schema: pa.Schema
    folder: Path
    num_shards: int
    min_rating: float | None
    min_user_count: int
    min_item_count: int
    min_core: int
    core_rounds: int
    max_users: int | None
    max_items: int | None
    hash_buckets: int
    repeats: Repeats
    row_group_size: int
    features: tuple[FeatureFile, ...] = ()

    @property
    def ranges(self) -> list[SourceUnit]:
        """The pieces that have to be counted before they are read."""
        return [unit for unit in self.units if unit.end is not None]

    @property
    def file_groups(self) -> list[tuple[InputFile, ...]]:
        """The files, some together, whose checksums one worker finds."""
        starts = range(0, len(self.files), _FILES_AT_ONCE)
        return [self.files[start : start + _FILES_AT_ONCE] for start in starts]

    @property
    def rounds(self) -> int:
        """How often the filters of the core are applied."""
        return self.core_rounds if self.min_core > 1 else 0

    @property
    def filters(self) -> list[tuple[str, int, int]]:
        """The filters that drop something: label, least count of items, of users."""
        found = []
        if self.min_item_count > 1 or self.min_user_count > 1:
            found.append(("DropRare", self.min_item_count, self.min_user_count))
        labels = map(_round_label, range(1, self.rounds + 1))
        return [*found, *((label, self.min_core, self.min_core) for label in labels)]

    @property
    def join(self) -> JoinShards:
        """What makes the rows of a shard."""
        return JoinShards(self.repeats, count_users=not self.filters)

    @property
    def stages(self) -> list[tuple[str, DropRare | CutVocabularies]]:
        """What is done to the rows of a shard by counts of all, and its label."""
        filters = self.filters
        found: list[tuple[str, DropRare | CutVocabularies]] = [
            (label, DropRare(items, users, count_users=number == len(filters)))
            for number, (label, items, users) in enumerate(filters, 1)
        ]
        if self.max_users is not None or self.max_items is not None:
            cut = CutVocabularies(
                self.max_users, self.max_items, self.hash_buckets, self.repeats
            )
            found.append(("CutVocabularies", cut))
        return found

    def buckets(self, tag: str) -> int:
        """Returns how many buckets the vocabulary of users or items has."""
        maximum = self.max_users if tag == USER_COUNTS else self.max_items
        return 0 if maximum is None else self.hash_buckets

    def vocabulary_path(self, tag: str) -> Path:
        """Returns where the vocabulary of users or items is written."""
        folder = DatasetFolder(self.folder)
        return folder.users if tag == USER_COUNTS else folder.items


def _round_label(number: int) -> str:
    return f"CoreRound{number:03d}"


def _checksums(files: Sequence[InputFile]) -> Report:
    paths = [as_path(file.path) for file in files]
    with ThreadPoolExecutor() as threads:
        found = threads.map(file_checksum, paths)
        names = [file.name for file in files]
        return Report(checksums=dict(zip(names, found, strict=True)))


def _feature_checksum(source: FeatureFile) -> Report:
    found = file_checksum(as_path(source.file.path))
    name = f"{source.features_of}_features/{source.file.name}"
    return Report(checksums={name: found})


def _make_vocabulary(counts: bytes, plan: IngestPlan, tag: str) -> bytes:
    id_column = _SIDE_COLUMNS[tag]
    table = vocabulary.order_vocabulary(table_from_bytes(counts), id_column)
    table = vocabulary_cut.with_buckets(table, plan.buckets(tag))
    pq.write_table(table, plan.vocabulary_path(tag))
    return table_to_bytes(table.select([id_column]))


def _is_core(item_counts: bytes, min_core: int) -> bool:
    """Returns whether no item is rare; of users, each stage leaves none that is."""
    counts = table_from_bytes(item_counts)[columns.COUNT]
    return not len(counts) or pc.min(counts).as_py() >= min_core


def _check_core(item_counts: bytes, min_core: int, rounds: int) -> Report:
    if _is_core(item_counts, min_core):
        return Report()
    return Report(
        failures=(
            f"`--core_rounds` must be enough for items and users with fewer than "
            f"{min_core} interactions to be gone; after {rounds} rounds some are left. "
            "Raise it.",
        )
    )


class Ingest(beam.PTransform):
    """From pieces of the input to the files of a data set; gives the reports."""

    def __init__(self, plan: IngestPlan) -> None:
        """Keeps the plan."""
        super().__init__()
        self._plan = plan

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Builds the pipeline described at the top of this file."""
        plan = self._plan
        folder = DatasetFolder(plan.folder)
        read = self._read(pipeline)
        join = plan.join
        joined = (
            (read.rows, self._every_shard(pipeline))
            | "WithEmptyShards" >> beam.Flatten()
            | "GroupByShard" >> beam.GroupByKey()
            | "JoinShards"
            >> beam.ParDo(join).with_outputs(*join.counts, REPORTS, main="rows")
        )
        reports = [read[REPORTS], joined[REPORTS]]
        rows, counts = joined.rows, self._sums(joined, "Join", join.counts)
        for label, stage in plan.stages:
            sides = (beam.pvalue.AsSingleton(counts[tag]) for tag in stage.sides)
            done = rows | label >> beam.ParDo(stage, *sides).with_outputs(
                *stage.counts, REPORTS, main="rows"
            )
            rows, counts = done.rows, self._sums(done, label, stage.counts)
            reports.append(done[REPORTS])
            if label == _round_label(plan.rounds):
                reports.append(
                    counts[ITEM_COUNTS]
                    | "CheckCore" >> beam.Map(_check_core, plan.min_core, plan.rounds)
                )
        vocabularies = {
            tag: beam.pvalue.AsSingleton(
                counts[tag]
                | f"Number_{id_column}" >> beam.Map(_make_vocabulary, plan, tag)
            )
            for tag, id_column in _SIDE_COLUMNS.items()
        }
        written = rows | "WriteShards" >> beam.ParDo(
            WriteShards(folder.interactions, plan.row_group_size),
            *vocabularies.values(),
        ).with_outputs(REPORTS, main="none")
        rejected = (
            read[REJECTED]
            | "GroupRejected" >> beam.GroupByKey()
            | "WriteRejected" >> beam.ParDo(WriteRejected(folder.rejected))
        )
        checksums = (
            pipeline
            | "Files" >> beam.Create(plan.file_groups)
            | "Checksums" >> beam.Map(_checksums)
        )
        reports += [written[REPORTS], rejected, checksums]
        for source in plan.features:
            files = pipeline | f"File_{source.features_of}" >> beam.Create([source])
            aligned = files | f"WriteFeatures_{source.features_of}" >> beam.ParDo(
                WriteFeatures(plan.folder, plan.row_group_size),
                vocabularies[_tag_of(source)],
            ).with_outputs(REPORTS, main="none")
            sums = files | f"Checksum_{source.features_of}" >> beam.Map(
                _feature_checksum
            )
            reports += [aligned[REPORTS], sums]
        return tuple(reports) | "AllReports" >> beam.Flatten()

    def _read(self, pipeline: beam.Pipeline) -> beam.pvalue.DoOutputsTuple:
        plan = self._plan
        sides = []
        if plan.ranges:
            found = (
                pipeline
                | "Ranges" >> beam.Create(plan.ranges)
                | "CountRows" >> beam.Map(count_rows)
            )
            sides.append(beam.pvalue.AsList(found))
        return (
            pipeline
            | "Units" >> beam.Create(plan.units)
            | "ReadUnits"
            >> beam.ParDo(
                ReadUnits(plan.num_shards, plan.min_rating), *sides
            ).with_outputs(REJECTED, REPORTS, main="rows")
        )

    def _sums(
        self, outputs: beam.pvalue.DoOutputsTuple, label: str, tags: tuple[str, ...]
    ) -> Mapping[str, beam.PCollection]:
        return {
            tag: outputs[tag]
            | f"{label}_{tag}"
            >> beam.CombineGlobally(MergeIdCounts()).without_defaults()
            for tag in tags
        }

    def _every_shard(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Gives each shard a block without rows, so that each gets its file."""
        return pipeline | "EveryShard" >> beam.Create(_every_shard(self._plan))


def _tag_of(source: FeatureFile) -> str:
    return {id_: tag for tag, id_ in _SIDE_COLUMNS.items()}[source.id_column]


def _every_shard(plan: IngestPlan) -> list[ShardBytes]:
    empty = table_to_bytes(plan.schema.empty_table())
    return [(shard, empty) for shard in range(plan.num_shards)]


class _IdCounts:
    """Counts of ids, added up as they come."""

    def __init__(self) -> None:
        self._merge = MergeIdCounts()
        self._tables = self._merge.create_accumulator()

    def add(self, table: bytes) -> None:
        self._tables = self._merge.add_input(self._tables, table)

    def total(self) -> bytes:
        return self._merge.extract_output(self._tables)


def ingest_without_beam(plan: IngestPlan) -> Iterator[Report]:
    """Does what `Ingest` does, one piece and one shard at a time, without Beam.

    Args:
        plan: The plan.
    Yields:
        The reports.
    """
    with spill_folder(plan.folder) as spilled:
        yield from _ingest_spilling(plan, spilled)
    yield from map(_checksums, plan.file_groups)


def _ingest_spilling(plan: IngestPlan, spilled: Path) -> Iterator[Report]:
    folder = DatasetFolder(plan.folder)
    read, rows, rejected = (
        Spill(spilled / name) for name in ("read", "joined", "rejected")
    )
    for element in _every_shard(plan):
        read.append(element)
    ranges = [count_rows(unit) for unit in plan.ranges]
    yield from route(
        call(ReadUnits(plan.num_shards, plan.min_rating), plan.units, ranges),
        read.append,
        rejected=rejected.append,
    )
    join = plan.join
    counts = {tag: _IdCounts() for tag in join.counts}
    yield from route(
        call(join, read.take()),
        rows.append,
        **{tag: found.add for tag, found in counts.items()},
    )
    first_round, last_round = _round_label(1), _round_label(plan.rounds)
    for label, stage in plan.stages:
        sides = [counts[tag].total() for tag in stage.sides]
        # A round after which nothing is rare leaves nothing to those that follow.
        if first_round < label < last_round and _is_core(sides[0], plan.min_core):
            continue
        done = Spill(spilled / label)
        counts = {tag: _IdCounts() for tag in stage.counts}
        yield from route(
            call(stage, rows.take_one_each(), *sides),
            done.append,
            **{tag: found.add for tag, found in counts.items()},
        )
        rows = done
        if label == last_round:
            total = counts[ITEM_COUNTS].total()
            yield _check_core(total, plan.min_core, plan.rounds)
    ids = {
        tag: _make_vocabulary(counts[tag].total(), plan, tag) for tag in _SIDE_COLUMNS
    }
    write = WriteShards(folder.interactions, plan.row_group_size)
    yield from route(call(write, rows.take_one_each(), *ids.values()), lambda _: None)
    for source in plan.features:
        align = WriteFeatures(plan.folder, plan.row_group_size)
        yield from route(call(align, [source], ids[_tag_of(source)]), lambda _: None)
        yield _feature_checksum(source)
    yield from call(WriteRejected(folder.rejected), rejected.take())
