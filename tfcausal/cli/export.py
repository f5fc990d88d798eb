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
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    run: Path,
    name: str | None,
    root: Path,
    k: int,
    calibrated: bool | None,
    as_json: bool,
) -> None:
    """Write ROOT/NAME/VERSION, a SavedModel that loads without this library.

    The version is the next free number. It appears only after a fresh process has
    loaded it and every signature has answered as the run's vectors do.
    """
    from tfcausal.errors import InputError
    from tfcausal.evaluation.calibration import load_calibration
    from tfcausal.schema.manifest import read_manifest
    from tfcausal.serving.export import export
    from tfcausal.serving.warmup import WARMUP_FILE
    from tfcausal.training.run import load_run

    finished = load_run(run)
    if calibrated is None and finished.calibration_path.is_file():
        raise InputError(
            f"`{run}` has a calibration, so that an export must say which vectors it "
            "takes. Pass --calibrated or --as_trained."
        )
    version = export(
        finished,
        name or finished.method,
        root,
        k=k,
        calibration=load_calibration(finished) if calibrated else None,
    )
    if as_json:
        manifest = read_manifest(version, kind="export")
        result = {
            "model": str(version),
            "counts": manifest.counts,
            "causes": manifest.details["causes"],
            "calibrated": "calibration" in manifest.details,
            "warmup": (version / WARMUP_FILE).is_file(),
            "fingerprint": manifest.fingerprint,
        }
        click.echo(json.dumps(result, sort_keys=True))
        return
    kind = "calibrated, " if calibrated else ""
    click.echo(f"{version}: {kind}verified in a fresh process.")
