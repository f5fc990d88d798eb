"""What workers tell beside their data, counts, checksums, failures; and the last stage.

Beam's metrics may count a retried bundle twice; a report is data like any other, so
that what stands in a manifest is exact on every runner.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from tfcausal.errors import InputError
from tfcausal.schema.manifest import FILE_NAME

REPORTS = "reports"
"""Tag of the output that carries reports."""

_FAILURE = ".failure"
_LISTENERS: list[Callable[[Mapping[str, int]], None]] = []


@dataclass(frozen=True)
class Report:
    """One worker's account of one piece of work.

    Attributes:
        counts: Whatever was counted, by name.
        checksums: SHA-256 of input files, by name.
        failures: Messages of input that could not be read.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)
    failures: tuple[str, ...] = ()


def counted(namespace: str, counts: Mapping[str, int]) -> Any:
    """Adds to Beam's counters and returns the counts as output tagged REPORTS."""
    return beam.pvalue.TaggedOutput(REPORTS, counted_report(namespace, counts))


def counted_report(namespace: str, counts: Mapping[str, int]) -> Report:
    """Adds to Beam's counters and returns the counts as a report."""
    whole = {name: int(value) for name, value in counts.items()}
    for name, value in whole.items():
        Metrics.counter(namespace, name).inc(value)
    for listener in _LISTENERS:
        listener(whole)
    return Report(counts=whole)


@contextmanager
def listening(listener: Callable[[Mapping[str, int]], None]) -> Iterator[None]:
    """Has a function called with the counts of each piece of work of this process.

    That is for showing progress: a piece done twice counts twice, and what other
    processes do is not heard of. Several threads may call at once.
    """
    _LISTENERS.append(listener)
    try:
        yield
    finally:
        _LISTENERS.remove(listener)


def failed(error: InputError) -> Any:
    """Returns an error as output tagged REPORTS, for the last stage to raise."""
    return beam.pvalue.TaggedOutput(REPORTS, Report(failures=(str(error),)))


class MergeReports(beam.CombineFn):
    """Adds reports up, in any grouping."""

    def create_accumulator(self) -> Report:
        """Returns a report of nothing."""
        return Report()

    def add_input(self, total: Report, report: Report) -> Report:
        """Adds one report."""
        return self.merge_accumulators([total, report])

    def merge_accumulators(self, reports: Iterable[Report]) -> Report:
        """Adds several."""
        counts: dict[str, int] = {}
        checksums: dict[str, str] = {}
        failures: set[str] = set()
        for report in reports:
            for name, value in report.counts.items():
                counts[name] = counts.get(name, 0) + value
            checksums.update(report.checksums)
            failures.update(report.failures)
        return Report(counts, checksums, tuple(sorted(failures)))

    def extract_output(self, total: Report) -> Report:
        """Returns the sum."""
        return total


class Finish(beam.PTransform):
    """Merges all reports and finishes the folder: the last stage of a job.

    It is a stage, not the driver's work, since a driver may be gone by then: that of a
    Flex Template ends when the pipeline begins.
    """

    def __init__(
        self, finish: Callable[[Report], object], folder: Path, *, waits: bool
    ) -> None:
        """Keeps what is to be done.

        Args:
            finish: Checks the counts and writes what is left, the manifest last.
            folder: The folder that is being written.
            waits: Whether the driver waits for the end, and so can be told of input
                that does not fit; else the pipeline itself fails.
        """
        super().__init__()
        self._finish, self._folder, self._waits = finish, folder, waits

    def expand(self, reports: beam.PCollection) -> beam.PCollection:
        """Merges and finishes."""
        return (
            reports
            | "MergeReports" >> beam.CombineGlobally(MergeReports()).without_defaults()
            | "Finish" >> beam.Map(self._finish_or_fail)
        )

    def _finish_or_fail(self, report: Report) -> None:
        # A worker may have died between the end of this stage and saying so.
        if (self._folder / FILE_NAME).exists():
            return
        try:
            finish_with(self._finish, report)
        except InputError as error:
            if not self._waits:
                raise
            (self._folder / _FAILURE).write_text(str(error), encoding="utf-8")


def finish_with(finish: Callable[[Report], object], report: Report) -> None:
    """Finishes a folder from the sum of all reports.

    Raises:
        InputError: If they tell of input that could not be read, or `finish` does.
    """
    if report.failures:
        first, *others = report.failures
        more = f" (And {len(others)} more such.)" if others else ""
        raise InputError(first + more)
    finish(report)


def raise_failure(folder: Path) -> None:
    """Raises the InputError that a pipeline's last stage met, if it did."""
    path = folder / _FAILURE
    if path.is_file():
        message = path.read_text(encoding="utf-8")
        path.unlink()
        raise InputError(message)
