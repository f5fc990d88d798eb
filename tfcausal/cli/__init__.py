"""The command line: `tfcausal VERB`, one file a verb.

Exit status: 0 all went well; 2 the user's input is wrong, said in one line; 1 a bug,
with its traceback.
"""

import importlib
import os
import sys

import click

from tfcausal.errors import InputError
from tfcausal.version import __version__

VERBS = (
    "synth",
    "train",
    "evaluate",
    "calibrate",
    "diagnose",
    "disentangle",
    "robustness",
    "diversity",
    "export",
    "models",
    "index",
    "recommend",
    "explain",
    "report",
    "reproduce",
    "doctor",
)


class _Verbs(click.Group):
    """Loads a verb's file when it is asked for, so that --help needs no TensorFlow."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"tfcausal.cli.{cmd_name}")
        command: click.Command = module.command
        return command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tfcausal")
def commands() -> None:
    """Causal recommendation: train, evaluate, explain, intervene, serve."""


def main(arguments: list[str] | None = None) -> None:
    """Runs one command line and exits with its status."""
    # TensorFlow's notes at its start read like failures; set it to 0 to see them.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        status = commands.main(args=arguments, standalone_mode=False)
    except InputError as error:
        click.echo(f"tfcausal: {error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        click.echo(f"tfcausal: {error.format_message()}", err=True)
        sys.exit(2)
    except click.Abort:
        click.echo("tfcausal: stopped.", err=True)
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)
