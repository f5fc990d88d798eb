"""Item popularity in the train window, and what methods make of it.

Counts, comparable forms, time slots, propensities, and the shares of a confounding
feature, all from the training parts of a split only; the entropy of every part.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from math import inf, isfinite
from pathlib import Path
from typing import Any, Literal

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.runtime.command import Job
from beam_jobs.runtime.dataset_input import SplitDataset, open_split, time_bounds
from beam_jobs.runtime.flags import JobFlags, add_flags
from beam_jobs.runtime.pipeline import (
    promised_options,
    run_pipeline,
    seal,
    waits_for_end,
)
from beam_jobs.runtime.report import Report
from beam_jobs.transforms.confounder import Confounder
from beam_jobs.transforms.day_counts import (
    DAYS,
    CountByDay,
    DayPlan,
    open_earlier,
    read_months,
)
from beam_jobs.transforms.popularity import (
    Count,
    CountItems,
    CountRows,
    CountSlots,
    CountTimes,
    part_paths,
    read_counted,
)
from beam_jobs.transforms.popularity_tables import (
    Counted,
    write_confounder,
    write_tables,
)
from tfcausal.errors import InputError, unknown_name
from tfcausal.schema import columns
from tfcausal.schema.dataset import (
    TRAIN,
    TRAIN_INTERVENED,
    TRAINING_PARTS,
    shard_name,
)
from tfcausal.schema.folders import staged_folder
from tfcausal.schema.manifest import Manifest, file_checksum, read_manifest
from tfcausal.schema.paths import as_path
from tfcausal.stats.day_counts import SECONDS_OF_DAY, DayRows, DayTotals
from tfcausal.stats.discretisation import DISCRETISATIONS
from tfcausal.stats.popularity import entropy
from tfcausal.stats.slots import (
    EQUAL_TIME,
    SLOT_RULES,
    TimeCounts,
    equal_rows_begins,
    equal_time_begins,
)

DEFAULT_SLOTS = 9


@dataclass(frozen=True)
class PopularityOptions:
    """Options of popularity.

    Attributes:
        dataset: The folder that ingest and split wrote.
        num_slots: Time slots of the train window, 0 for no slots; none for nine where
            there are timestamps that far apart. PDA cuts all time into ten, of which
            nine are for training.
        slot_rule: equal_time (slots of equal length, as PDA's) or equal_rows.
        trend: How much of the change between the last two slots goes on in the slot
            that follows; 0 for the last slot's popularity.
        num_groups: Groups of items with about equally many interactions.
        smoothness: Exponent of the smoothed inverse propensity weights, IPS-CNSR; none
            for no such column.
        by_day: Count by day (UTC) and keep these counts, so that --increment can add
            to them; slots begin with a day.
        half_life: Days in which an interaction's weight halves, counted back from the
            last day of training; none for no decayed counts. Counts by day.
        increment: A folder that this job wrote by day, of earlier days; its counts are
            added to those of this data set. Counts by day.
        confounder: A numeric column, of items' features or of the interactions, whose
            distribution P(a) is wanted.
        item_features: A Parquet file with item_id and the confounder, in place of the
            data set's own features.
        discretisation: The confounder's bins: equal_width, quantile (of interactions),
            edges or values (a bin for each value).
        num_bins: equal_width, quantile: number of bins.
        edges: edges: the value at which each bin but the first begins.
        label: A column of the interactions, 0 or 1, whose rate in each bin of the
            confounder gives the propensities of IPW.
        overwrite: Replace an earlier count.
    """

    dataset: Path
    num_slots: int | None = None
    slot_rule: Literal["equal_time", "equal_rows"] = "equal_time"
    trend: float = 0.5
    num_groups: int = 3
    smoothness: float | None = None
    by_day: bool = False
    half_life: float | None = None
    increment: Path | None = None
    confounder: str | None = None
    item_features: Path | None = None
    discretisation: Literal["equal_width", "quantile", "edges", "values"] = (
        "equal_width"
    )
    num_bins: int = 6
    edges: tuple[float, ...] | None = None
    label: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises InputError for a value that makes no sense."""
        if self.slot_rule not in SLOT_RULES:
            raise unknown_name("slot_rule", self.slot_rule, SLOT_RULES)
        if self.discretisation not in DISCRETISATIONS:
            raise unknown_name("discretisation", self.discretisation, DISCRETISATIONS)
        for name, least in (("num_slots", 0), ("num_groups", 1), ("num_bins", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"`{name}` must be at least {least}; got {value}.")
        for name in ("smoothness", "half_life"):
            value = getattr(self, name)
            if value is not None and not 0 < value < inf:
                raise InputError(f"`{name}` must be finite and above 0; got {value}.")
        if not isfinite(self.trend):
            raise InputError(f"`trend` must be finite; got {self.trend}.")
        self._require_confounder()

    def _require_confounder(self) -> None:
        for name in ("item_features", "edges", "label"):
            if getattr(self, name) is not None and self.confounder is None:
                raise InputError(
                    f"`{name}` must go with `confounder`; got {getattr(self, name)} "
                    "alone. Name the column."
                )
        if (self.discretisation == "edges") != (self.edges is not None):
            raise InputError(
                "`edges` must be given with discretisation=edges, and with nothing "
                f"else; got {self.edges} with {self.discretisation}."
            )
        edges = self.edges or ()
        if not all(map(isfinite, edges)) or any(a >= b for a, b in pairwise(edges)):
            shown = ",".join(map(str, edges))
            raise InputError(f"`edges` must be finite and increasing; got {shown}.")

    @property
    def counts_by_day(self) -> bool:
        """Whether counts are kept by day."""
        return self.by_day or self.half_life is not None or self.increment is not None


class PopularityFlags(JobFlags):
    """Flags of popularity."""

    options_class = PopularityOptions

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        add_flags(parser, PopularityOptions)


@dataclass(frozen=True)
class _Work:
    """One run of the job.

    Attributes:
        dataset: The data set.
        options: Options of the job.
        folder: The folder that is being written.
    """

    dataset: SplitDataset
    options: PopularityOptions
    folder: Path

    def paths(self, part: str) -> tuple[Path, ...]:
        """Returns the files of a part."""
        return part_paths(self.dataset, part)

    def count(self, part: str, combine: beam.CombineFn) -> Count:
        """Returns a count of a part's rows, named after it."""
        return Count(part, part, self.paths(part), combine)


def _run(
    stages: Sequence[CountRows | CountByDay],
    pipeline_options: PipelineOptions | None,
    finish: Callable[[Report], object],
    folder: Path,
) -> None:
    """Runs stages together."""

    def build(pipeline: Any) -> beam.PCollection:
        reports = [pipeline | type(stage).__name__ >> stage for stage in stages]
        return reports | "AllReports" >> beam.Flatten()

    run_pipeline(
        build,
        pipeline_options,
        without_beam=lambda: chain.from_iterable(
            stage.without_beam() for stage in stages
        ),
        finish=finish,
        folder=folder,
    )


def run(
    options: PopularityOptions, pipeline_options: PipelineOptions | None = None
) -> Manifest:
    """Counts items into DATASET/features/popularity.

    Args:
        options: Options of the job.
        pipeline_options: Beam's options; None to run in this process.
    Returns:
        The manifest of the counts.
    Raises:
        InputError: If the data set is not split, its part `train` is empty, or an
            option does not fit.
    """
    dataset = open_split(options.dataset)
    if not dataset.has_part(TRAIN):
        raise InputError(
            "Popularity must count at least one interaction; the split has no part "
            f"`{TRAIN}`. Split again with a share for it."
        )
    inputs = {"splits": dataset.splits.fingerprint}
    if options.num_slots or options.counts_by_day:
        _require_times(dataset)
    confounder = _open_confounder(dataset, options, inputs)
    earlier = _open_earlier(dataset, options, inputs)
    target = dataset.folder.popularity
    with staged_folder(target, "popularity", overwrite=options.overwrite) as folder:
        work = _Work(dataset, options, folder)
        counts = [
            work.count(part, CountItems(dataset.num_items))
            for part in dataset.splits.details["parts"]
            if part not in TRAINING_PARTS
        ]
        counts += [] if confounder is None else confounder.counts(dataset)
        begins: tuple[int, ...] = ()
        stages: list[CountRows | CountByDay] = []
        if options.counts_by_day:
            stages.append(_count_days(work, earlier))
        else:
            begins = _slot_begins(work, pipeline_options)
            counts += _counts_at_once(work, begins)
        stages.append(CountRows(counts, folder))
        finish = partial(_finish, work, begins, confounder, inputs)
        _run(stages, pipeline_options, finish, folder)
        return read_manifest(folder, kind="popularity")


def _finish(
    work: _Work,
    begins: tuple[int, ...],
    confounder: Confounder | None,
    inputs: dict[str, str],
    report: Report,
) -> None:
    counted = (
        _add_up_days(work, report)
        if work.options.counts_by_day
        else _take_counts(work, begins)
    )
    options = work.options
    num_users = pq.read_metadata(work.dataset.folder.users).num_rows - 1
    details = write_tables(
        work.folder,
        counted,
        num_users,
        num_groups=options.num_groups,
        smoothness=options.smoothness,
        trend=options.trend,
    )
    if confounder is not None:
        details["confounder"] = write_confounder(
            work.folder,
            counted,
            confounder,
            options.discretisation,
            options.num_bins,
            options.edges or (),
        )
    parts = work.dataset.splits.details["parts"]
    rows = {TRAIN: counted.observed, TRAIN_INTERVENED: counted.intervened}
    entropies = {
        part: rows[part] if part in rows else read_counted(work.folder, part)
        for part in parts
    }
    details["entropy"] = {
        part: entropy(found) for part, found in sorted(entropies.items())
    }
    totals = {part: int(rows[part].sum()) for part in rows if part in parts}
    totals["items_met"] = int((counted.observed > 0).sum())
    if work.options.increment is not None:
        totals["interactions_of_other_items"] = counted.elsewhere
    seal(
        work.folder,
        "popularity",
        options=_promised(work.options),
        counts=totals,
        inputs=inputs,
        details=details,
    )


def _promised(options: PopularityOptions) -> dict[str, Any]:
    promised = promised_options(options) | {"by_day": options.counts_by_day}
    # Its fingerprint stands among the inputs.
    promised.pop("increment")
    return promised


def _has_times(dataset: SplitDataset) -> bool:
    path = dataset.folder.part(TRAIN) / shard_name(0)
    return columns.TIMESTAMP in pq.read_schema(path).names


def _require_times(dataset: SplitDataset) -> None:
    if not _has_times(dataset):
        raise InputError(
            f"`{dataset.folder.root}` must have timestamps for slots and counts by "
            "day; it has none. Ingest with a timestamp column, or leave `num_slots`, "
            "`by_day`, `half_life` and `increment` out."
        )


def _open_confounder(
    dataset: SplitDataset, options: PopularityOptions, inputs: dict[str, str]
) -> Confounder | None:
    if options.confounder is None:
        return None
    file = options.item_features
    if file is not None:
        file = as_path(file)
    opened = Confounder.open(dataset, options.confounder, options.label, file)
    if options.increment is not None and (opened.of_items is None or options.label):
        raise InputError(
            "`increment` must go without `label` and with a confounder of items, since "
            "counts by day hold nothing else; got "
            f"`{options.label or options.confounder}`. Count all rows at once."
        )
    if file is not None:
        inputs["item_features"] = file_checksum(file)
    return opened


def _open_earlier(
    dataset: SplitDataset, options: PopularityOptions, inputs: dict[str, str]
) -> Path | None:
    """Returns the folder of an earlier run's counts by day."""
    if options.increment is None:
        return None
    paths = [
        path
        for part in TRAINING_PARTS
        if dataset.has_part(part)
        for path in part_paths(dataset, part)
    ]
    first_day = np.datetime64(time_bounds(paths)[0] // SECONDS_OF_DAY, "D")
    opened = open_earlier(as_path(options.increment), first_day)
    inputs["increment"] = opened.fingerprint
    return opened.days


def _counts_at_once(work: _Work, begins: tuple[int, ...]) -> list[Count]:
    """Returns what counts the training parts into one array each."""
    num_items = work.dataset.num_items
    in_train = CountSlots(num_items, begins) if begins else CountItems(num_items)
    counts = [work.count(TRAIN, in_train)]
    if work.dataset.has_part(TRAIN_INTERVENED):
        counts.append(work.count(TRAIN_INTERVENED, CountItems(num_items)))
    return counts


def _take_counts(work: _Work, begins: tuple[int, ...]) -> Counted:
    """Returns what `_counts_at_once` has counted."""
    found = read_counted(work.folder, TRAIN)
    intervened = np.zeros(work.dataset.num_items, np.int64)
    if work.dataset.has_part(TRAIN_INTERVENED):
        intervened = read_counted(work.folder, TRAIN_INTERVENED)
    if not begins:
        return Counted(found, intervened)
    return Counted(found.sum(axis=0), intervened, begins, found)


def _slot_begins(
    work: _Work, pipeline_options: PipelineOptions | None
) -> tuple[int, ...]:
    """Returns the first second of each slot, or none."""
    if work.options.num_slots == 0 or not _has_times(work.dataset):
        return ()
    paths = work.paths(TRAIN)
    first, last = time_bounds(paths)
    num_slots = _num_slots(work.options, last - first + 1)
    if work.options.slot_rule == EQUAL_TIME:
        return equal_time_begins(first, last, num_slots)
    if not waits_for_end(pipeline_options):
        raise InputError(
            f"`slot_rule` must be {EQUAL_TIME} where the run does not wait for its "
            f"pipeline's end, since {work.options.slot_rule} takes two pipelines, one "
            "after the other. Choose that rule, run it from a machine that waits, or "
            "count by_day."
        )
    count = Count("times", TRAIN, paths, CountTimes(first, last))
    _run([CountRows([count], work.folder)], pipeline_options, _leave_open, work.folder)
    width = TimeCounts.zeros(first, last).width
    return equal_rows_begins(
        read_counted(work.folder, "times"), num_slots, first, width
    )


def _leave_open(report: Report) -> None:
    """Ends a pipeline after which another writes in the same folder."""


def _num_slots(options: PopularityOptions, span: int) -> int:
    """Returns the number of slots; unless it is asked for, none where time is short."""
    if options.num_slots is not None:
        return options.num_slots
    return DEFAULT_SLOTS if span >= DEFAULT_SLOTS else 0


def _count_days(work: _Work, earlier: Path | None) -> CountByDay:
    """Returns what counts the training parts by day."""
    folder = work.folder / DAYS
    folder.mkdir()
    parts = [part for part in TRAINING_PARTS if work.dataset.has_part(part)]
    plan = DayPlan(
        {part: work.paths(part) for part in parts},
        work.dataset.folder.items,
        folder,
        earlier,
    )
    return CountByDay(plan)


def _add_up_days(work: _Work, report: Report) -> Counted:
    """Adds up what `_count_days` has counted, in the order of the days."""
    dataset, options = work.dataset, work.options
    folder = work.folder / DAYS
    ids = pq.read_table(dataset.folder.items, columns=[columns.ITEM_ID])
    vocabulary = ids[columns.ITEM_ID].combine_chunks()
    days = DayRows.of(read_months(folder, vocabulary))
    num_slots = _num_slots(options, len(days.counts))
    begins = (
        equal_time_begins(days.first, days.last, num_slots)
        if options.slot_rule == EQUAL_TIME
        else equal_rows_begins(days.counts, num_slots, days.first)
    )
    totals = DayTotals.zeros(
        dataset.num_items,
        begins or (days.first,),
        days.last,
        inf if options.half_life is None else options.half_life,
    )
    for month in read_months(folder, vocabulary):
        totals.add(month)
    observed = totals.slots.sum(axis=0)
    found = int(observed.sum() + totals.intervened.sum())
    return Counted(
        observed,
        totals.intervened,
        tuple(begin * SECONDS_OF_DAY for begin in begins),
        totals.slots if begins else None,
        None if options.half_life is None else totals.decayed,
        report.counts["interactions"] - found,
    )


JOB = Job(
    name="popularity",
    summary="Counts each item's interactions in the training parts of a split.",
    flags=PopularityFlags,
    run=run,
)


def main() -> int:
    """Runs the command."""
    return JOB.main()


if __name__ == "__main__":
    sys.exit(main())
