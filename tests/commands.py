"""The command line as a test calls it, in this process."""

from click.testing import CliRunner

from tfcausal.cli import commands


def output(*arguments: object) -> str:
    """Returns what `tfcausal ARGUMENTS` prints, once it has ended well."""
    texts = [str(argument) for argument in arguments]
    result = CliRunner().invoke(commands, texts, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout
