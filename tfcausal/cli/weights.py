"""`--weight cause=w`: interventions on the command line."""

from collections.abc import Iterable, Mapping
from typing import Any

import click

from tfcausal.errors import InputError

weight_option = click.option(
    "--weight",
    "weights",
    multiple=True,
    metavar="CAUSE=W",
    help="Scale a cause in the score, such as conformity=0; may be given again.",
)


def parse_weights(texts: Iterable[str]) -> dict[str, float]:
    """Reads `cause=w` texts; whether the causes exist is for the model to say.

    Raises:
        InputError: If a text has another form, or a cause stands twice.
    """
    weights: dict[str, float] = {}
    for text in texts:
        cause, _, value = text.rpartition("=")
        try:
            weight = float(value)
        except ValueError:
            cause = ""
        if not cause:
            raise InputError(
                f"`--weight` must be cause=number; got {text}. Write it as "
                "--weight conformity=0."
            )
        if cause in weights:
            raise InputError(f"`--weight {cause}` must be given once; got it twice.")
        weights[cause] = weight
    return weights


def in_words(weights: Mapping[str, float]) -> str:
    """Returns weights as `interest=1, conformity=0.5`."""
    return ", ".join(f"{cause}={weight:.4g}" for cause, weight in weights.items())


def calibration_in_words(calibration: Mapping[str, Any]) -> str:
    """Returns what a calibration in JSON does to a score, for the titles of tables."""
    applied = {**calibration["weights"], "shift": calibration["shift"]}
    if calibration.get("norm_power") is not None:
        applied["norm_power"] = calibration["norm_power"]
    return f"calibrated ({in_words(applied)})"
