"""Options of the commands that look at a finished run."""

from pathlib import Path

import click

from tfcausal.schema.protocol import protocol_names

run_option = click.option(
    "--run", required=True, type=click.Path(path_type=Path), help="A finished run."
)
dataset_option = click.option(
    "--dataset",
    "dataset_folder",
    type=click.Path(path_type=Path),
    help="The run's data set, where it has moved since the training.",
)
protocol_option = click.option(
    "--protocol",
    "protocol_name",
    default="dice",
    show_default=True,
    help=f"How lists are made and averaged: {', '.join(protocol_names())} "
    "(dcr has no evaluator yet).",
)
ks_option = click.option(
    "--k",
    "ks",
    type=int,
    multiple=True,
    help="A cut-off; may be given again.  [default: as the protocol has them]",
)
