"""What workers tell the driver beside their data: counts, checksums, failures.

Beam's metrics may count a retried bundle twice; a report is data like any other, so
that what stands in a manifest is exact on every runner.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from tfcausal.errors import InputError

REPORTS = "reports"
"""Tag of the output that carries reports."""

_FILE_NAME = ".report.json"


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
    return Report(counts=whole)


def failed(error: InputError) -> Any:
    """Returns an error as output tagged REPORTS, for the driver to raise."""
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


class WriteReport(beam.PTransform):
    """Merges all reports into one file of the staged folder."""

    def __init__(self, folder: Path) -> None:
        """Keeps the folder that is being written."""
        super().__init__()
        self._path = folder / _FILE_NAME

    def expand(self, reports: beam.PCollection) -> beam.PCollection:
        """Merges and writes."""
        return (
            reports
            | "MergeReports" >> beam.CombineGlobally(MergeReports()).without_defaults()
            | "WriteReportFile" >> beam.Map(_write, self._path)
        )


def write_report(reports: Iterable[Report], folder: Path) -> None:
    """Merges reports into the file that `take_report` reads, without Beam."""
    _write(MergeReports().merge_accumulators(reports), folder / _FILE_NAME)


def _write(report: Report, path: Path) -> None:
    path.write_text(json.dumps(asdict(report)), encoding="utf-8")


def take_report(folder: Path) -> Report:
    """Reads the report of a pipeline that has ended, and removes it.

    Raises:
        InputError: If it tells of input that could not be read.
    """
    path = folder / _FILE_NAME
    content = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    if content["failures"]:
        first, *others = content["failures"]
        more = f" (And {len(others)} more such.)" if others else ""
        raise InputError(first + more)
    return Report(content["counts"], content["checksums"])
