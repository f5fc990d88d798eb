"""`tfcausal explain`: why a user would get an item."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tfcausal.cli.asker_options import history_option, require_one, user_option

if TYPE_CHECKING:
    from tfcausal.serving.client import HistoryExplanation


@click.command("explain")
@click.option(
    "--model",
    required=True,
    type=click.Path(path_type=Path),
    help="An exported model, whose last version counts, or one version of it.",
)
@user_option
@history_option
@click.option("--item", required=True, help="The item's id.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    model: Path, user: str | None, history: tuple[str, ...], item: str, as_json: bool
) -> None:
    """Split the score of an item for a user into its causes; they add up to it.

    With --history, of a model whose users are histories: what the item's score and rank
    would be without each item of the history in turn.
    """
    from tfcausal.serving.client import load

    require_one(user, history)
    loaded = load(model)
    if user is None:
        without = loaded.explain_history(history, item)
        if as_json:
            places = [place._asdict() for place in without.history]
            click.echo(json.dumps({**without._asdict(), "history": places}))
            return
        _print_history(without)
        return
    found = loaded.explain(user, item)
    if as_json:
        click.echo(json.dumps({"user": user, **found._asdict()}))
        return
    _print(f"user {user}, item {item}", found.score, found.causes)


def _print(title: str, score: float, causes: dict[str, float]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("cause", title=Text(title))
    table.add_column("term", justify="right")
    for cause, term in causes.items():
        table.add_row(Text(cause), f"{term:.4f}")
    table.add_section()
    table.add_row("score", f"{score:.4f}")
    Console().print(table)


def _print_history(found: "HistoryExplanation") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("without", title=Text(f"item {found.item_id} after a history"))
    for column in ("score", "change", "rank"):
        table.add_column(column, justify="right")
    for item, score, rank in found.history:
        # Nothing known is left: the rank is by popularity, which is no score.
        shown = (
            ("-", "-")
            if score is None
            else (f"{score:.4f}", f"{score - found.score:+.4f}")
        )
        table.add_row(Text(item), *shown, str(rank))
    table.add_section()
    table.add_row("nothing", f"{found.score:.4f}", "", str(found.rank))
    Console().print(table)
