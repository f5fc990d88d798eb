"""Options of the commands that ask an exported model: for a user, or for a history."""

from collections.abc import Sequence

import click

from tfcausal.errors import InputError

user_option = click.option("--user", help="The user's id.")
history_option = click.option(
    "--history",
    multiple=True,
    metavar="ITEM",
    help="In place of --user: an item that was met; repeatable, the latest last.",
)


def require_one(user: str | None, history: Sequence[str]) -> None:
    """Checks that it is said who asks, and said once.

    Raises:
        InputError: If both are given, or neither.
    """
    if (user is None) == (not history):
        raise InputError(
            "Either `--user` or `--history` must be given; got "
            f"{'both' if history else 'neither'}. Write --user u17, or --history i4 "
            "--history i9 for a model whose users are histories."
        )
