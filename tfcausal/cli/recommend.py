"""`tfcausal recommend`: a user's list from an exported model, cause by cause."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import click

from tfcausal.cli.asker_options import history_option, require_one, user_option
from tfcausal.cli.weights import parse_weights, weight_option
from tfcausal.errors import InputError

if TYPE_CHECKING:
    from tfcausal.serving.client import Recommendation

_POOL = 4


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
    "--allow", multiple=True, metavar="ITEM", help="List these items alone; repeatable."
)
@click.option(
    "--do",
    default="",
    metavar="NAME",
    help="Weights by name, such as interest_only; `tfcausal models` and the model card "
    "list a model's.",
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
    type=int,
    help="With --diversity: candidates, as a multiple of the list.  "
    f"[default: {_POOL}]",
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
    allow: tuple[str, ...],
    do: str,
    include_seen: bool,
    diversity: float | None,
    concept: str | None,
    dataset: Path | None,
    pool: int | None,
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
    from tfcausal.schema.exported import find_version
    from tfcausal.serving.client import load

    require_one(user, history)
    parsed = parse_weights(weights)
    differing = _Differing.of_options(diversity, concept, dataset, pool)
    version = find_version(model)
    loaded = load(version, index=index)
    _say_unknown(version, "--exclude", exclude)
    _say_unknown(version, "--allow", allow)
    asked: str | list[str]
    if user is None:
        kind, asked, name = "history", list(history), ", ".join(history)
        known = loaded.knows_history(history)
        recommend = partial(loaded.recommend_history, history)
    else:
        kind, asked, name = "user", user, user
        known = loaded.knows_user(user)
        recommend = partial(loaded.recommend, user)
    candidates = k if differing is None else differing.pool * k
    found = recommend(
        candidates,
        parsed,
        exclude,
        allow=allow,
        exclude_seen=not include_seen,
        do=do,
    )
    if differing is not None:
        found = differing.shortened(found, k)
    if as_json:
        result = {
            "model": str(version),
            kind: asked,
            f"known_{kind}": known,
            "weights": parsed,
            "do": do,
            "applied_weights": loaded.applied_weights(parsed, do),
            "items": [item._asdict() for item in found],
        }
        click.echo(json.dumps(result))
        return
    applied = [f"{cause}={weight:g}" for cause, weight in parsed.items()]
    title = " ".join([f"{kind} {name}", *([do] if do else []), *applied])
    _print(found, title if known else f"{title}, unknown: by popularity")


def _say_unknown(version: Path, flag: str, items: tuple[str, ...]) -> None:
    """Says which ids a model does not know: a request passes over them."""
    from tfcausal.schema.exported import ids_file
    from tfcausal.serving.index_files import read_ids

    if items:
        known = set(read_ids(ids_file(version, "items")))
        unknown = [item for item in items if item not in known]
        if unknown:
            click.echo(f"{flag}: unknown to the model: {', '.join(unknown)}", err=True)


@dataclass(frozen=True)
class _Differing:
    """How items of a list are to differ.

    Attributes:
        weight: What --diversity says.
        concept: In whose values.
        dataset: Folder of the data set that has the concept.
        pool: Candidates, as a multiple of the list.
    """

    weight: float
    concept: str
    dataset: Path
    pool: int

    @classmethod
    def of_options(
        cls,
        diversity: float | None,
        concept: str | None,
        dataset: Path | None,
        pool: int | None,
    ) -> Self | None:
        """Returns what was asked for, or None for a plain list.

        Raises:
            InputError: If something goes without what belongs to it, or the pool is
                below 1.
        """
        if diversity is None:
            more = {"concept": concept, "dataset": dataset, "pool": pool}
            given = [f"--{name}" for name, value in more.items() if value is not None]
            if given:
                raise InputError(
                    f"`{'`, `'.join(given)}` must go with --diversity, the weight of "
                    "differing; got none. Write --diversity=0.1."
                )
            return None
        if concept is None or dataset is None:
            raise InputError(
                "`--diversity` must come with the concept in which items are to "
                f"differ; got --concept={concept} --dataset={dataset}. Write "
                "--concept=genres --dataset=FOLDER."
            )
        pool = _POOL if pool is None else pool
        if pool < 1:
            raise InputError(f"`--pool` must be at least 1; got {pool}.")
        return cls(diversity, concept, dataset, pool)

    def shortened(
        self, found: "list[Recommendation]", k: int
    ) -> "list[Recommendation]":
        """Returns the k of the candidates that score and differ most."""
        from tfcausal.data.concept_rows import read_concept, values_by_id
        from tfcausal.data.interactions import open_dataset
        from tfcausal.serving.diversity import diversified_list

        dataset = open_dataset(self.dataset)
        ids = [item.item_id for item in found]
        values = values_by_id(dataset, read_concept(dataset, self.concept), ids)
        return diversified_list(found, values, k, self.weight)


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
