"""`tfcausal export`: a finished run as a SavedModel."""

import json
from pathlib import Path

import click


@click.command("export")
@click.option(
    "--run", required=True, type=click.Path(path_type=Path), help="A finished run."
)
@click.option("--name", help="The model's name.  [default: the run's method]")
@click.option(
    "--root",
    default="saved_models",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of all exported models.",
)
@click.option(
    "--k", default=10, show_default=True, help="Length of serving_default's lists."
)
@click.option(
    "--calibrated/--as_trained",
    default=None,
    help="Whether to apply what `tfcausal calibrate` chose; must be said where the run "
    "has a calibration.  [default: as trained where it has none]",
)
@click.option(
    "--neutral_popularity",
    type=float,
    help="Mean popularity of the lists under the preset popularity_neutral.  [default: "
    "that of what users choose by themselves]",
)
@click.option(
    "--keep",
    type=int,
    help="Versions of the model to keep: older ones are removed once the new one is "
    "there, but for those with a label.  [default: all]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    run: Path,
    name: str | None,
    root: Path,
    k: int,
    calibrated: bool | None,
    neutral_popularity: float | None,
    keep: int | None,
    as_json: bool,
) -> None:
    """Write ROOT/NAME/VERSION, a SavedModel that loads without this library.

    The version is the next free number. It appears only after a fresh process has
    loaded it and every signature has answered as the run's vectors do. A model card and
    golden requests lie in its assets.extra.
    """
    from tfcausal.errors import InputError
    from tfcausal.evaluation.calibration import load_calibration
    from tfcausal.schema.folders import sole_user
    from tfcausal.schema.manifest import read_manifest
    from tfcausal.serving.export import export
    from tfcausal.serving.models_config import read_labels, refresh_config
    from tfcausal.serving.versions import require_keep, retire
    from tfcausal.serving.warmup import WARMUP_FILE
    from tfcausal.training.run import load_run

    finished = load_run(run)
    if calibrated is None and finished.calibration_path.is_file():
        raise InputError(
            f"`{run}` has a calibration, so that an export must say which vectors it "
            "takes. Pass --calibrated or --as_trained."
        )
    name = name or finished.method
    if keep is not None:
        require_keep(keep)
    # What is wrong with the file is said before anything is written.
    read_labels(root)
    version = export(
        finished,
        name,
        root,
        k=k,
        calibration=load_calibration(finished) if calibrated else None,
        neutral_popularity=neutral_popularity,
    )
    # First, so that no server is told to load what is about to go.
    config = refresh_config(root)
    retired = []
    if keep is not None:
        # A label that is moved meanwhile must not point at what is taken away.
        with sole_user(root):
            labels = read_labels(root).get(name, {})
            retired = retire(root / name, keep, labels.values())
    if as_json:
        manifest = read_manifest(version, kind="export")
        result = {
            "model": str(version),
            "counts": manifest.counts,
            "causes": manifest.details["causes"],
            "calibrated": "calibration" in manifest.details,
            "presets": manifest.details["presets"],
            "retired": retired,
            "config": None if config is None else str(config),
            "warmup": (version / WARMUP_FILE).is_file(),
            "fingerprint": manifest.fingerprint,
        }
        click.echo(json.dumps(result, sort_keys=True))
        return
    kind = "calibrated, " if calibrated else ""
    click.echo(f"{version}: {kind}verified in a fresh process.")
    if retired:
        click.echo(f"removed: {', '.join(map(str, retired))}")
    if config is not None:
        click.echo(f"written to {config}")
