"""`tfcausal models`: what is exported, and which versions TensorFlow Serving loads."""

import json
from pathlib import Path

import click


@click.command("models")
@click.option(
    "--root",
    default="saved_models",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of all exported models.",
)
@click.option(
    "--label",
    "changes",
    multiple=True,
    metavar="MODEL:LABEL=VERSION",
    help="Give a version a label that clients ask for, such as dice:stable=3, and "
    "write models.config; dice:stable= takes it off; repeatable.",
)
@click.option(
    "--write", is_flag=True, help="Write models.config with labels as before."
)
@click.option(
    "--base_path",
    help="Where the server finds ROOT, for --label and --write.  [default: as the file "
    "says, /models in a new one]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    root: Path,
    changes: tuple[str, ...],
    write: bool,
    base_path: str | None,
    as_json: bool,
) -> None:
    """List exported models with their versions, causes, presets and labels.

    --label and --write write ROOT/models.config for tensorflow_model_server: all
    models, the last version of each and every one with a label.
    """
    from tfcausal.errors import InputError
    from tfcausal.schema.manifest import read_manifest
    from tfcausal.serving.models_config import (
        change_labels,
        exported_models,
        read_labels,
    )

    config = None
    if base_path is not None and not (changes or write):
        raise InputError(
            "`--base_path` must come with --write or --label; got neither. Add --write."
        )
    if changes or write:
        config = change_labels(root, list(changes), base_path)
    labels = read_labels(root)
    rows = []
    for name, versions in exported_models(root).items():
        for version in versions:
            manifest = read_manifest(root / name / str(version), kind="export")
            of_model = labels.get(name, {})
            rows.append(
                {
                    "model": name,
                    "version": version,
                    "method": manifest.options["method"],
                    "causes": list(manifest.details["causes"]),
                    "presets": list(manifest.details["presets"]),
                    "labels": sorted(
                        label for label, one in of_model.items() if one == version
                    ),
                }
            )
    if as_json:
        found = {"models": rows, "config": None if config is None else str(config)}
        click.echo(json.dumps(found))
        return
    _print(rows, root)
    if config is not None:
        click.echo(f"written to {config}")


def _print(rows: list[dict[str, object]], root: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = ("model", "version", "method", "causes", "presets", "labels")
    table = Table(*columns, title=Text(f"{root}"))
    for row in rows:
        cells = [
            ", ".join(value) if isinstance(value, list) else str(value)
            for value in row.values()
        ]
        table.add_row(*map(Text, cells))
    Console().print(table)
