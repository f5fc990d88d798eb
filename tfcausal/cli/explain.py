"""`tfcausal explain`: why a user would get an item."""

import json
from pathlib import Path

import click


@click.command("explain")
@click.option(
    "--model",
    required=True,
    type=click.Path(path_type=Path),
    help="An exported model, whose last version counts, or one version of it.",
)
@click.option("--user", required=True, help="The user's id.")
@click.option("--item", required=True, help="The item's id.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(model: Path, user: str, item: str, as_json: bool) -> None:
    """Split the score of an item for a user into its causes; they add up to it."""
    from tfcausal.serving.client import load

    found = load(model).explain(user, item)
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
