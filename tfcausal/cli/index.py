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
@click.option(
    "--frozen",
    is_flag=True,
    help="Write it as a SavedModel NAME-scann too, for servers with ScaNN's operation; "
    "an index that is there already is taken as it is, unless --overwrite is given.",
)
@click.option("--overwrite", is_flag=True, help="Replace the index that is there.")
@click.option(
    "--ignore_memory",
    is_flag=True,
    help="Go on where the memory that building takes is not free.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    model: Path,
    floor: float,
    k: int,
    frozen: bool,
    overwrite: bool,
    ignore_memory: bool,
    as_json: bool,
) -> None:
    """Index a model's items with ScaNN, for catalogues too large to score in full.

    Recall is measured with users' own vectors, as they are and with each cause at
    weight 0, 0.25, 0.5 and 2; one index serves them all.
    """
    from tfcausal.errors import InputError
    from tfcausal.schema.exported import find_version
    from tfcausal.schema.folders import refuse_existing
    from tfcausal.schema.manifest import read_manifest
    from tfcausal.serving.versions import frozen_folder, index_folder

    # What is wrong is said before TensorFlow is loaded.
    version = find_version(model)
    if not 0 <= floor <= 1:
        raise InputError(f"`floor` must be from 0 to 1; got {floor}.")
    if k < 1:
        raise InputError(f"`k` must be at least 1; got {k}.")
    folder = index_folder(version)
    if not (frozen or overwrite):
        refuse_existing(folder)

    from tfcausal.serving.frozen_index import build_frozen_index, require_free
    from tfcausal.serving.index import build_index, forecast
    from tfcausal.serving.index_files import require_as_built

    if frozen:
        require_free(frozen_folder(version.resolve()), overwrite=overwrite)
    if overwrite or not (frozen and folder.exists()):
        click.echo(forecast(version), err=True)
        build_index(
            version, floor=floor, k=k, overwrite=overwrite, ignore_memory=ignore_memory
        )
    manifest = read_manifest(folder, kind="index")
    require_as_built(folder, manifest)
    least = min(manifest.details["recall"].values())
    if least < floor:
        raise InputError(
            f"`{folder}` must have a recall of {floor:g} at least; it has {least:.4f}. "
            "Pass --overwrite to build it again."
        )
    result = {
        "index": str(folder),
        "items": manifest.counts["items"],
        "k": manifest.options["k"],
        "recall": manifest.details["recall"],
    }
    if frozen:
        result["frozen"] = str(build_frozen_index(version, overwrite=overwrite))
    if as_json:
        click.echo(json.dumps(result, sort_keys=True))
        return
    _print(folder, manifest.options["k"], manifest.details["recall"])
    if frozen:
        click.echo(f"{result['frozen']}: verified in a fresh process.")


def _print(folder: Path, k: int, recall: dict[str, float]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("queries", title=f"{folder}")
    table.add_column(f"recall@{k}", justify="right")
    for name, value in recall.items():
        table.add_row(name, f"{value:.4f}")
    Console().print(table)
