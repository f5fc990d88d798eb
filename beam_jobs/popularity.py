"""Item popularity in the train window, and what methods make of it.

Counts, comparable forms, time slots, propensities, and the shares of a confounding
feature, all from the training parts of a split only; the entropy of every part.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    local_path,
    promised_options,
    run_pipeline,
    seal,
)
from beam_jobs.runtime.report import Report, WriteReport, take_report
from beam_jobs.transforms.confounder import Confounder
from beam_jobs.transforms.day_counts import (
    CountByDay,
    DayPlan,
    months_in,
    read_months,
)
from beam_jobs.transforms.popularity import (
    Count,
    CountItems,
    CountRows,
    CountSlots,
    CountTimes,
    part_paths,
    take,
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
from tfcausal.stats.day_counts import SECONDS_OF_DAY, DayRows, DayTotals, month_name
from tfcausal.stats.discretisation import (
    DISCRETISATIONS,
    confounder_table,
    discretise,
    item_confounder_table,
)
from tfcausal.stats.popularity import (
    Float64s,
    Int64s,
    entropy,
    normalised_table,
    popularity_table,
)
from tfcausal.stats.propensity import propensity_table
from tfcausal.stats.slots import (
    EQUAL_TIME,
    SLOT_RULES,
    TimeCounts,
    equal_rows_begins,
    equal_time_begins,
    slots_table,
)

DEFAULT_SLOTS = 9
_DAYS = "days"


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
class _Counted:
    """What the training parts hold.

    Attributes:
        observed: [num_items] interactions in the biased part.
        intervened: [num_items] interactions in the intervened part.
        begins: First second of each time slot.
        slots: [num_slots, num_items] interactions in each, or None.
        decayed: [num_items] counts of which older ones weigh less, or None.
        elsewhere: Interactions of an earlier run with items that this vocabulary lacks.
    """

    observed: Int64s
    intervened: Int64s
    begins: tuple[int, ...] = ()
    slots: Int64s | None = None
    decayed: Float64s | None = None
    elsewhere: int = 0


@dataclass(frozen=True)
class _Work:
    """One run of the job.

    Attributes:
        dataset: The data set.
        options: Options of the job.
        pipeline_options: Beam's options.
        folder: The folder that is being written.
    """

    dataset: SplitDataset
    options: PopularityOptions
    pipeline_options: PipelineOptions | None
    folder: Path

    def run(self, *stages: CountRows | CountByDay) -> Report:
        """Runs stages together and returns what they report."""
        run_pipeline(
            self._builder(stages),
            self.pipeline_options,
            without_beam=lambda: chain.from_iterable(
                stage.without_beam() for stage in stages
            ),
            folder=self.folder,
        )
        return take_report(self.folder)

    def _builder(
        self, stages: Sequence[CountRows | CountByDay]
    ) -> Callable[[Any], None]:
        def build(pipeline: Any) -> None:
            reports = [pipeline | type(stage).__name__ >> stage for stage in stages]
            _ = reports | "AllReports" >> beam.Flatten() | WriteReport(self.folder)

        return build

    def paths(self, part: str) -> tuple[Path, ...]:
        """Returns the files of a part."""
        return part_paths(self.dataset, part)

    def count(self, part: str, combine: beam.CombineFn) -> Count:
        """Returns a count of a part's rows, named after it."""
        return Count(part, part, self.paths(part), combine)


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
    parts = dataset.splits.details["parts"]
    target = dataset.folder.popularity
    with staged_folder(target, overwrite=options.overwrite) as folder:
        work = _Work(dataset, options, pipeline_options, folder)
        counts = [
            work.count(part, CountItems(dataset.num_items))
            for part in parts
            if part not in TRAINING_PARTS
        ]
        counts += [] if confounder is None else confounder.counts(dataset)
        counted = (
            _count_by_day(work, counts, earlier)
            if options.counts_by_day
            else _count_at_once(work, counts)
        )
        details = _write_popularity(work, counted)
        if confounder is not None:
            details["confounder"] = _write_confounder(work, counted, confounder)
        rows = {TRAIN: counted.observed, TRAIN_INTERVENED: counted.intervened}
        entropies = {
            part: rows[part] if part in rows else take(folder, part) for part in parts
        }
        details["entropy"] = {
            part: entropy(found) for part, found in sorted(entropies.items())
        }
        totals = {part: int(rows[part].sum()) for part in rows if part in parts}
        totals["items_met"] = int((counted.observed > 0).sum())
        if earlier is not None:
            totals["interactions_of_other_items"] = counted.elsewhere
        return seal(
            folder,
            "popularity",
            options=_promised(options),
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
        file = local_path("item_features", file)
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
    root = local_path("increment", options.increment)
    manifest = read_manifest(root, kind="popularity")
    folder = root / _DAYS
    if not manifest.options.get("by_day"):
        raise InputError(
            f"`{root}` must have counts by day to be added to; it has none. Count "
            "there again with --by_day."
        )
    for name, checksum in manifest.files.items():
        if name.startswith(f"{_DAYS}/") and file_checksum(root / name) != checksum:
            raise InputError(
                f"`{root / name}` must be as its manifest says; it has changed. Count "
                "there again."
            )
    last = pq.read_table(folder / month_name(months_in(folder)[-1]))
    last_day = last[columns.DAY].to_numpy()[-1]
    paths = [
        path
        for part in TRAINING_PARTS
        if dataset.has_part(part)
        for path in part_paths(dataset, part)
    ]
    first_day = np.datetime64(time_bounds(paths)[0] // SECONDS_OF_DAY, "D")
    if first_day <= last_day:
        raise InputError(
            f"`increment` must end before the first day of this data set, {first_day}; "
            f"`{root}` goes to {last_day}, so rows may count twice. Ingest whole days "
            "that follow it."
        )
    inputs["increment"] = manifest.fingerprint
    return folder


def _count_at_once(work: _Work, counts: list[Count]) -> _Counted:
    """Counts the training parts into one array each."""
    num_items = work.dataset.num_items
    begins = _slot_begins(work)
    in_train = CountSlots(num_items, begins) if begins else CountItems(num_items)
    counts = [work.count(TRAIN, in_train), *counts]
    has_intervened = work.dataset.has_part(TRAIN_INTERVENED)
    if has_intervened:
        counts.append(work.count(TRAIN_INTERVENED, CountItems(num_items)))
    work.run(CountRows(counts, work.folder))
    found = take(work.folder, TRAIN)
    intervened = np.zeros(num_items, np.int64)
    if has_intervened:
        intervened = take(work.folder, TRAIN_INTERVENED)
    if not begins:
        return _Counted(found, intervened)
    return _Counted(found.sum(axis=0), intervened, begins, found)


def _slot_begins(work: _Work) -> tuple[int, ...]:
    """Returns the first second of each slot, or none."""
    if work.options.num_slots == 0 or not _has_times(work.dataset):
        return ()
    paths = work.paths(TRAIN)
    first, last = time_bounds(paths)
    num_slots = _num_slots(work.options, last - first + 1)
    if work.options.slot_rule == EQUAL_TIME:
        return equal_time_begins(first, last, num_slots)
    count = Count("times", TRAIN, paths, CountTimes(first, last))
    work.run(CountRows([count], work.folder))
    width = TimeCounts.zeros(first, last).width
    return equal_rows_begins(take(work.folder, "times"), num_slots, first, width)


def _num_slots(options: PopularityOptions, span: int) -> int:
    """Returns the number of slots; unless it is asked for, none where time is short."""
    if options.num_slots is not None:
        return options.num_slots
    return DEFAULT_SLOTS if span >= DEFAULT_SLOTS else 0


def _count_by_day(work: _Work, counts: list[Count], earlier: Path | None) -> _Counted:
    """Counts the training parts by day, and adds the days up in their order."""
    dataset, options = work.dataset, work.options
    folder = work.folder / _DAYS
    folder.mkdir()
    parts = [part for part in TRAINING_PARTS if dataset.has_part(part)]
    plan = DayPlan(
        {part: work.paths(part) for part in parts},
        dataset.folder.items,
        folder,
        earlier,
    )
    report = work.run(CountByDay(plan), CountRows(counts, work.folder))
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
    return _Counted(
        observed,
        totals.intervened,
        tuple(begin * SECONDS_OF_DAY for begin in begins),
        totals.slots if begins else None,
        None if options.half_life is None else totals.decayed,
        report.counts["interactions"] - found,
    )


def _write_popularity(work: _Work, counted: _Counted) -> dict[str, Any]:
    """Writes all tables by item; returns what the manifest tells of them."""
    options, folder, observed = work.options, work.folder, counted.observed
    tables = {
        "popularity": popularity_table(observed, counted.intervened),
        "normalised": normalised_table(observed, options.num_groups, counted.decayed),
        "propensity": propensity_table(
            observed + counted.intervened,
            pq.read_metadata(work.dataset.folder.users).num_rows - 1,
            options.smoothness,
        ),
    }
    details: dict[str, Any] = {}
    if counted.slots is not None:
        tables["popularity_by_slot"] = slots_table(counted.slots, options.trend)
        details["slots"] = {
            "begins": list(counted.begins),
            "rows": counted.slots.sum(axis=1).tolist(),
        }
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
    return details


def _write_confounder(
    work: _Work, counted: _Counted, confounder: Confounder
) -> dict[str, Any]:
    """Writes the bins of the confounder; returns what the manifest tells of them."""
    options, folder = work.options, work.folder
    found = confounder.found(folder, counted.observed)
    bins = discretise(
        found, options.discretisation, options.num_bins, options.edges or ()
    )
    table = confounder_table(bins, found, labelled=confounder.label is not None)
    pq.write_table(table, folder / "confounder.parquet")
    if confounder.of_items is not None:
        items = item_confounder_table(bins, confounder.of_items)
        pq.write_table(items, folder / "item_confounder.parquet")
    return {"bins": len(table), "interactions_without_value": found.missing}


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
