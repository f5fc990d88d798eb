"""What tables of several papers share: how rows are tuned, figures without numbers."""

from dataclasses import replace
from typing import Any

from tfcausal.reports.rows import Row

NO_NUMBERS = "The paper draws this without printing a number."
_LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2)
_L2S = (1e-5, 1e-7, 1e-6, 1e-4)


def tuned(learning_rate: float, **more: tuple[Any, ...]) -> dict[str, tuple[Any, ...]]:
    """Returns what all rows are tuned over, with a default step size, and `more`."""
    others = (rate for rate in _LEARNING_RATES if rate != learning_rate)
    return {"learning_rate": (learning_rate, *others), "l2": _L2S, **more}


def unprinted(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Returns rows of a figure, which prints no numbers."""
    return tuple(replace(row, published={}) for row in rows)
