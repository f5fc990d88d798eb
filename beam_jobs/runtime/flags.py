"""A job's flags, made from its dataclass of options; misspelt ones are refused."""

import argparse
import contextlib
import dataclasses
import io
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NoReturn

from apache_beam.options.pipeline_options import PipelineOptions

from tfcausal.errors import InputError, unknown_name
from tfcausal.schema.options import field_meanings, field_types, parse_value


class JobFlags(PipelineOptions):
    """Base of the jobs' own flags, one for each field of `options_class`.

    Beam collects the flags of all direct subclasses of PipelineOptions and refuses two
    of the same name; below this class jobs may share names such as `--dataset`.
    """

    options_class: ClassVar[type[Any]]


def add_flags(parser: argparse.ArgumentParser, options_class: type[Any]) -> None:
    """Adds a flag for each field of a dataclass.

    Args:
        parser: Takes the flags.
        options_class: A dataclass whose docstring explains its Attributes.
    """
    kinds, meanings = field_types(options_class), field_meanings(options_class)
    for field in dataclasses.fields(options_class):
        name, kind = f"--{field.name}", kinds[field.name]
        meaning = meanings.get(field.name, "").replace("%", "%%")
        if kind is bool:
            # A template's parameters all have values; on a command line none is usual.
            parser.add_argument(
                name,
                type=_reader(field.name, kind),
                nargs="?",
                const=True,
                default=False,
                metavar="true|false",
                help=meaning,
            )
            continue
        required = field.default is dataclasses.MISSING
        is_tuple = typing.get_origin(_without_none(kind)) is tuple
        given = "" if required else f" (default: {_shown(field.default)})"
        parser.add_argument(
            name,
            action=_Extend if is_tuple else "store",
            type=_reader(field.name, kind),
            required=required,
            default=None if required else field.default,
            metavar=_metavar(kind),
            help=meaning + given,
        )


class _Extend(argparse.Action):
    """Adds what a flag is given again to what it was given before."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Keeps all values so far; the default is none of them."""
        before = getattr(namespace, self.dest)
        given = () if before is self.default else before
        setattr(namespace, self.dest, None if values is None else (*given, *values))


def _reader(name: str, kind: Any) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return parse_value(name, text, kind)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(str(part) for part in default)
    return "none" if default is None else str(default)


def _metavar(kind: Any) -> str:
    kind = _without_none(kind)
    choices = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return "|".join(choices)
    if typing.get_origin(kind) is tuple:
        return f"{choices[0].__name__.upper()},..."
    return str(kind.__name__).upper()


def _without_none(kind: Any) -> Any:
    """Returns T of T | None."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return typing.get_args(kind)[0]
    return kind


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message.rstrip('.')}. See `{self.prog} --help`.")


def parse_flags(
    flags: type[JobFlags], argv: Sequence[str], *, name: str, summary: str
) -> tuple[Any, PipelineOptions, bool]:
    """Reads a job's command line.

    Args:
        flags: The job's flags.
        argv: Arguments without the program's name.
        name: The job's module, such as "split".
        summary: What it does, for --help.
    Returns:
        The job's options, Beam's options, and whether JSON is wanted.
    Raises:
        InputError: If a flag is unknown to the job and to Beam, is missing, or has a
            value that does not fit.
    """
    parser = _Parser(
        prog=f"python -m beam_jobs.{name}",
        description=summary,
        epilog="Beam's own options, such as --runner, are passed on to Beam. Without "
        "--runner the job runs in this process; --runner=local does the same work "
        "without Beam. Exit code: 0 done, 2 wrong input or "
        "options, 1 a bug.",
        allow_abbrev=False,
    )
    add_flags(parser, flags.options_class)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    beam_parser = _beam_parser()
    _refuse_unknown(argv, parser, beam_parser)
    known, beam_flags = parser.parse_known_args(argv)
    _check_beam_flags(beam_flags, beam_parser)
    values = vars(known)
    as_json = bool(values.pop("json"))
    options = flags.options_class(**values)
    return options, PipelineOptions(beam_flags), as_json


def _beam_parser() -> argparse.ArgumentParser:
    """Returns a parser of all options of all of Beam's option classes."""
    parsers: list[argparse.ArgumentParser] = []
    PipelineOptions([]).get_all_options(add_extra_args_fn=parsers.append)
    return parsers[0]


def _refuse_unknown(argv: Sequence[str], *parsers: argparse.ArgumentParser) -> None:
    # Before the job's flags are parsed: a misspelt flag is often why one is missing.
    known = {
        option
        for parser in parsers
        for action in parser._actions
        for option in action.option_strings
    }
    for argument in argv:
        flag = argument.split("=", 1)[0]
        if flag.startswith("--") and flag not in known:
            advice = str(unknown_name("flag", flag, known)).split(" Known: ")[0]
            raise InputError(f"{advice} See --help.")


def _check_beam_flags(flags: Sequence[str], parser: argparse.ArgumentParser) -> None:
    noise = io.StringIO()
    try:
        with contextlib.redirect_stderr(noise):
            _, left = parser.parse_known_args(flags)
    except SystemExit as error:
        reason = noise.getvalue().strip().rsplit("error: ", 1)[-1]
        raise InputError(f"{reason}. It is one of Beam's options.") from error
    if left:
        raise InputError(f"Every argument must be a flag; got `{left[0]}`. See --help.")
