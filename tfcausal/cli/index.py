"""`tfcausal index`: a ScaNN index beside an exported model."""

import json
from pathlib import Path

import click


@click.command("index")
@click.option(
    "--model",
    required=True,
    type=click.Path(path_type=Path),
    help="An exported model, whose last version counts, or one version of it.",
)
@click.option(
    "--floor",
    default=0.95,
    show_default=True,
    help="Recall against exact search below which no index is kept.",
)
@click.option("--k", default=100, show_default=True, help="Places recall is taken at.")
@click.option("--overwrite", is_flag=True, help="Replace the index that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(model: Path, floor: float, k: int, overwrite: bool, as_json: bool) -> None:
    """Index a model's items with ScaNN, for catalogues too large to score in full.

    Recall is measured with users' own vectors, as they are and with each cause at
    weight 0 and 2; one index serves them all.
    """
    from tfcausal.schema.exported import find_version
    from tfcausal.schema.manifest import read_manifest
    from tfcausal.serving.index import build_index

    folder = build_index(find_version(model), floor=floor, k=k, overwrite=overwrite)
    manifest = read_manifest(folder, kind="index")
    recall = manifest.details["recall"]
    if as_json:
        result = {"index": str(folder), "items": manifest.counts["items"], "k": k}
        click.echo(json.dumps(result | {"recall": recall}, sort_keys=True))
        return
    _print(folder, k, recall)


def _print(folder: Path, k: int, recall: dict[str, float]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("queries", title=f"{folder}")
    table.add_column(f"recall@{k}", justify="right")
    for name, value in recall.items():
        table.add_row(name, f"{value:.4f}")
    Console().print(table)
