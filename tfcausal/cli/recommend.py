"""`tfcausal recommend`: a user's list from an exported model, cause by cause."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tfcausal.cli.asker_options import history_option, require_one, user_option
from tfcausal.cli.weights import parse_weights, weight_option
from tfcausal.errors import InputError

if TYPE_CHECKING:
    from tfcausal.serving.client import Recommendation


@click.command("recommend")
@click.option(
    "--model",
    required=True,
    type=click.Path(path_type=Path),
    help="An exported model, whose last version counts, or one version of it.",
)
@user_option
@history_option
@click.option("--k", default=10, show_default=True, help="Length of the list.")
@weight_option
@click.option(
    "--exclude", multiple=True, metavar="ITEM", help="Leave an item out; repeatable."
)
@click.option(
    "--include_seen", is_flag=True, help="Keep what was seen, or stands in the history."
)
@click.option(
    "--diversity",
    type=float,
    help="Let items differ in --concept: added to an item's score for each item of the "
    "list that it shares no value with.",
)
@click.option("--concept", help="With --diversity: such as genres.")
@click.option(
    "--dataset",
    type=click.Path(path_type=Path),
    help="With --diversity: the data set whose concepts beam_jobs.item_concepts wrote.",
)
@click.option(
    "--pool",
    default=4,
    show_default=True,
    help="With --diversity: candidates, as a multiple of the list.",
)
@click.option("--index", is_flag=True, help="Search through the ScaNN index.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    model: Path,
    user: str | None,
    history: tuple[str, ...],
    k: int,
    weights: tuple[str, ...],
    exclude: tuple[str, ...],
    include_seen: bool,
    diversity: float | None,
    concept: str | None,
    dataset: Path | None,
    pool: int,
    index: bool,
    as_json: bool,
) -> None:
    """Recommend items to a user, and show what each cause adds to the score.

    An unknown user gets the most popular items, scored by popularity. --weight
    intervenes: conformity=0 asks what the user would get without conformity.
    --history asks for whoever has met these items, of a model whose users are
    histories; unknown items are passed over. --diversity lets the items of the list
    differ in a concept (ComiRec's controllable aggregation).
    """
    from tfcausal.serving.client import load

    require_one(user, history)
    parsed = parse_weights(weights)
    loaded = load(model, index=index)
    asked: str | list[str]
    if user is None:
        kind, asked, name = "history", list(history), ", ".join(history)
        known = loaded.knows_history(history)
        recommend = partial(loaded.recommend_history, history)
    else:
        kind, asked, name = "user", user, user
        known = loaded.knows_user(user)
        recommend = partial(loaded.recommend, user)
    if diversity is None:
        if concept is not None or dataset is not None:
            raise InputError(
                "`--concept` and `--dataset` must go with --diversity, the weight of "
                "differing; got none. Write --diversity=0.1."
            )
        found = recommend(k, parsed, exclude, exclude_seen=not include_seen)
    else:
        concept, dataset = _differing(concept, dataset, pool)
        found = recommend(pool * k, parsed, exclude, exclude_seen=not include_seen)
        found = _diversified(found, k, diversity, concept, dataset)
    if as_json:
        result = {
            kind: asked,
            f"known_{kind}": known,
            "weights": parsed,
            "items": [item._asdict() for item in found],
        }
        click.echo(json.dumps(result))
        return
    applied = [f"{cause}={weight:g}" for cause, weight in parsed.items()]
    title = " ".join([f"{kind} {name}", *applied])
    _print(found, title if known else f"{title}, unknown: by popularity")


def _differing(
    concept: str | None, dataset: Path | None, pool: int
) -> tuple[str, Path]:
    """Checks what --diversity needs.

    Raises:
        InputError: If something is not given, or the pool is below 1.
    """
    if concept is None or dataset is None:
        raise InputError(
            "`--diversity` must come with the concept in which items are to differ; "
            f"got --concept={concept} --dataset={dataset}. Write --concept=genres "
            "--dataset=FOLDER."
        )
    if pool < 1:
        raise InputError(f"`--pool` must be at least 1; got {pool}.")
    return concept, dataset


def _diversified(
    found: "list[Recommendation]", k: int, weight: float, concept: str, folder: Path
) -> "list[Recommendation]":
    from tfcausal.data.concept_rows import read_concept, values_by_id
    from tfcausal.data.interactions import open_dataset
    from tfcausal.serving.diversity import diversified_list

    dataset = open_dataset(folder)
    ids = [item.item_id for item in found]
    values = values_by_id(dataset, read_concept(dataset, concept), ids)
    return diversified_list(found, values, k, weight)


def _print(found: "list[Recommendation]", title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("item", title=Text(title))
    for column in ("score", *(found[0].causes if found else ())):
        table.add_column(Text(column), justify="right")
    for item in found:
        values = (item.score, *item.causes.values())
        table.add_row(Text(item.item_id), *(f"{value:.4f}" for value in values))
    Console().print(table)
