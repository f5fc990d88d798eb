"""`tfcausal report`: an exported model as a page whose weights can be moved."""

import json
from pathlib import Path

import click

from tfcausal.errors import InputError


@click.command("report")
@click.option(
    "--model",
    required=True,
    type=click.Path(path_type=Path),
    help="An exported model, whose last version counts, or one version of it.",
)
@click.option(
    "--user",
    "users",
    multiple=True,
    metavar="ID",
    help="A user; repeatable.  [default: some users, evenly over all]",
)
@click.option(
    "--history",
    multiple=True,
    metavar="ITEM",
    help="An item that one more person has met, of a model whose users are histories; "
    "repeatable, the latest last.",
)
@click.option("--k", default=10, show_default=True, help="Length of the lists.")
@click.option(
    "--items",
    type=click.Path(path_type=Path),
    help="A CSV or Parquet file with titles of items.",
)
@click.option("--item_column", help="With --items: the ids.  [default: item_id]")
@click.option("--title_column", help="With --items: the titles.  [default: title]")
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="The page, such as report.html; replaced where it is there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    model: Path,
    users: tuple[str, ...],
    history: tuple[str, ...],
    k: int,
    items: Path | None,
    item_column: str | None,
    title_column: str | None,
    output: Path,
    as_json: bool,
) -> None:
    """Write an HTML page of users' lists, their scores by cause, and sliders.

    Each cause's weight has a slider; the page holds what the model itself answers at
    every combination of their positions, and loads nothing. docs/serving.md says what
    stands on it.
    """
    if items is None and (item_column or title_column):
        raise InputError(
            "`--item_column` and `--title_column` must go with --items; got none."
        )

    from tfcausal.reports.html import require_html, write_page
    from tfcausal.reports.model_page import model_page
    from tfcausal.reports.titles import TitleFile

    require_html(output)
    titles = None
    if items is not None:
        titles = TitleFile(items, item_column or "item_id", title_column or "title")
    page = model_page(model, users, history, k=k, titles=titles)
    write_page(page, output)
    if as_json:
        result = {
            "report": str(output),
            "model": page.model,
            "version": page.version,
            "users": [one.name for one in page.people if one.kind == "user"],
            "history": list(history),
            "causes": page.causes,
            "weights": page.weights,
            "items": len(page.items),
            "bytes": output.stat().st_size,
        }
        click.echo(json.dumps(result, sort_keys=True))
        return
    combinations = len(page.weights) ** len(page.causes)
    click.echo(
        f"{output}: {len(page.people)} lists at {combinations} combinations of "
        f"weights, {output.stat().st_size / 1000:,.0f} kB."
    )
