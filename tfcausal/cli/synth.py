"""`tfcausal synth`: a synthetic world whose causes are known."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from tfcausal.data.world import TEST_SETS
from tfcausal.data.world_causes import WorldOptions
from tfcausal.data.world_folder import LOG, write_world
from tfcausal.schema.folders import refuse_existing
from tfcausal.schema.manifest import Manifest


@click.command("synth")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder to make: log/, test_*/, truth/, manifest.json.",
)
@click.option(
    "--interactions",
    type=int,
    default=200_000,
    show_default=True,
    help="Rows of the log, 1,000 to 50,000,000.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Any integer.")
@click.option(
    "--users",
    type=int,
    help="Number of users.  [default: one per 50 interactions, at least 100]",
)
@click.option(
    "--items",
    type=int,
    help="Number of items.  [default: 2,000 at 200,000 interactions, growing with "
    "their square root, at least 400]",
)
@click.option("--overwrite", is_flag=True, help="Replace a finished folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    output: Path,
    interactions: int,
    seed: int,
    users: int | None,
    items: int | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Draw a world in which interest and conformity are known.

    Users pick from slates by interest, conformity to what is popular, and chance;
    popularity grows by feedback. Writes the biased log, three test sets (the log's own
    policy; do(equal exposure); and do(conformity = 0) on top of it), and the truth.
    """
    options = WorldOptions(
        interactions=interactions, seed=seed, users=users, items=items
    )
    if not overwrite:
        refuse_existing(output)
    tests = len(TEST_SETS) * options.test_picks
    total = interactions + tests * min(options.test_users, options.num_users)
    console = Console(stderr=True)
    with Progress(
        console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("Drawing interactions", total=total)
        manifest = write_world(
            output,
            options,
            overwrite=overwrite,
            progress=lambda count: bar.advance(task, count),
        )
    click.echo(_json(output, manifest) if as_json else _summary(output, manifest))


def _json(output: Path, manifest: Manifest) -> str:
    return json.dumps(
        {
            "output": str(output),
            "counts": dict(manifest.counts),
            "popularity": manifest.details["popularity"],
            "fingerprint": manifest.fingerprint,
        },
        indent=2,
    )


def _summary(output: Path, manifest: Manifest) -> str:
    counts, popularity = manifest.counts, manifest.details["popularity"]
    lines = [
        f"users               {counts['users']:>12,}",
        f"items               {counts['items']:>12,}",
        *(f"{name:<20}{counts[name]:>12,}" for name in (LOG, *TEST_SETS)),
        f"Gini of popularity  {popularity['gini']:>12.3f}",
        f"top 10 % of items   {popularity['top_10_percent']:>12.1%} of the log",
        f"written to {output}",
    ]
    return "\n".join(lines)
