"""`tfcausal disentangle`: whether a run's causes were told apart."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tfcausal.cli.run_options import dataset_option, run_option

if TYPE_CHECKING:
    from tfcausal.evaluation.disentanglement import Disentanglement


@click.command("disentangle")
@run_option
@click.option(
    "--world",
    type=click.Path(path_type=Path),
    help="The synthetic world behind the data set, to compare with its true causes.",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    help="A PNG to draw items into, by cause and popularity (the extra `plots`).",
)
@dataset_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    run: Path,
    world: Path | None,
    picture: Path | None,
    dataset_folder: Path | None,
    as_json: bool,
) -> None:
    """Measure what each cause knows of popularity and of the other causes.

    docs/evaluation.md says what each figure means.
    """
    from tfcausal.data.interactions import read_part, read_popularity
    from tfcausal.data.world_truth import read_truth
    from tfcausal.evaluation.disentanglement import disentangle, world_correlations
    from tfcausal.evaluation.ranking import ItemLists
    from tfcausal.schema.dataset import TRAINING_PARTS
    from tfcausal.training.run import load_run

    finished = load_run(run)
    dataset = finished.open_dataset(dataset_folder)
    vectors, popularity = finished.vectors(), read_popularity(dataset)
    truth = {}
    if world is not None:
        truth = world_correlations(vectors, dataset, read_truth(world))
    if picture is not None:
        from tfcausal.reports.pictures import save_item_map

        save_item_map(vectors, popularity, picture)
    rows = read_part(dataset.folder, dataset.parts(TRAINING_PARTS))
    seen = ItemLists.from_interactions(rows, dataset.num_users)
    found = disentangle(vectors, seen, popularity)
    if as_json:
        content = {"run": str(run), **found.to_json()}
        if world is not None:
            content |= {"world": str(world), "truth": truth}
        if picture is not None:
            content["picture"] = str(picture)
        click.echo(json.dumps(content, sort_keys=True))
        return
    _print(str(run), found, truth)
    if picture is not None:
        click.echo(f"written to {picture}")


def _print(
    name: str, found: "Disentanglement", truth: Mapping[str, Mapping[str, float]]
) -> None:
    click.echo(f"{name}: {found.num_items:,} items, {found.num_users:,} users")
    tables = {
        "What item vectors know of popularity": found.popularity,
        "Distance correlation of causes, item vectors": found.items,
        "Distance correlation of causes, user vectors": found.users,
        "Overlap with the most popular items": {
            learned: {name.removeprefix("iou_itempop"): iou for name, iou in at.items()}
            for learned, at in found.iou_itempop.items()
        },
        "Spearman's rho with the true causes": truth,
    }
    for title, rows in tables.items():
        # A single cause has no other to be compared with; a world may not be given.
        if rows:
            _print_table(title, rows)


def _print_table(title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", title=title)
    figures = list(dict.fromkeys(name for values in rows.values() for name in values))
    for figure in figures:
        table.add_column(figure, justify="right")
    for row, values in rows.items():
        cells = [f"{values[name]:.4f}" if name in values else "-" for name in figures]
        table.add_row(row, *cells)
    Console().print(table)
