"""What a job's command does around its run: exit codes, one-line errors, tables."""

import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.runtime.flags import JobFlags, parse_flags
from beam_jobs.runtime.pipeline import Submitted
from beam_jobs.runtime.report import listening
from tfcausal.errors import InputError
from tfcausal.schema.manifest import Manifest

EXIT_OK = 0
EXIT_USER_ERROR = 2
_SHOWN_COUNTS = 2
_OPTIONAL = ("tensorflow", "scann")
"""What only some jobs need, and workers' images may lack."""


@dataclass(frozen=True)
class Job:
    """One job as a command.

    Attributes:
        name: Its module, such as "split".
        summary: What it does, for --help.
        flags: Its flags.
        run: The Python call, from options and Beam's options to a manifest.
    """

    name: str
    summary: str
    flags: type[JobFlags]
    run: Callable[[Any, PipelineOptions | None], Manifest]

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Runs the command.

        Args:
            argv: Arguments without the program's name; None for the process's own.
        Returns:
            0 if all is well or handed over, 2 after a user's error told in one line
            on stderr.
        """
        try:
            options, pipeline_options, as_json = parse_flags(
                self.flags,
                sys.argv[1:] if argv is None else argv,
                name=self.name,
                summary=self.summary,
            )
            with _progress(self.name):
                manifest = self.run(options, pipeline_options)
        except Submitted as submitted:
            print(f"{self.name}: {submitted}", file=sys.stderr)
            return EXIT_OK
        except (InputError, OSError) as error:
            print(f"{self.name}: {' '.join(str(error).split())}", file=sys.stderr)
            return EXIT_USER_ERROR
        except ImportError as error:
            missing = getattr(error.__cause__ or error, "name", None) or ""
            if missing.partition(".")[0] not in _OPTIONAL:
                raise
            print(
                f"{self.name}: this needs {missing}, which is not installed. Run pip "
                "install tensorflow 'scann[tf]', or build the workers' image with "
                "--build-arg WITH='tensorflow scann'.",
                file=sys.stderr,
            )
            return EXIT_USER_ERROR
        _print_result(manifest, as_json=as_json)
        return EXIT_OK


@contextmanager
def _progress(name: str) -> Iterator[None]:
    """Shows on a terminal's stderr what is counted so far, and how long it took."""
    # Here and below rich stays out of Beam's workers, which import this module's room.
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(name, total=None)
        totals: Counter[str] = Counter()
        pieces = itertools.count(1)

        def show(counts: Mapping[str, int]) -> None:
            totals.update(counts)
            largest = totals.most_common(_SHOWN_COUNTS)
            found = (f"{key} {value:,}" for key, value in largest)
            text = ", ".join((name, f"pieces {next(pieces)}", *found))
            progress.update(task, description=text)

        with listening(show):
            yield


def _print_result(manifest: Manifest, *, as_json: bool) -> None:
    if as_json:
        result = {
            "kind": manifest.kind,
            "fingerprint": manifest.fingerprint,
            "counts": dict(manifest.counts),
            "details": dict(manifest.details),
            "options": dict(manifest.options),
        }
        print(json.dumps(result, indent=2, sort_keys=True))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{manifest.kind} {manifest.fingerprint[:12]}")
    table.add_column("count of")
    table.add_column("number", justify="right")
    for name, value in manifest.counts.items():
        table.add_row(name, f"{value:,}")
    Console().print(table)
