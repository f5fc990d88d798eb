"""The tables of the popularity job, from what was counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from beam_jobs.transforms.confounder import Confounder
from tfcausal.stats.discretisation import (
    Discretisation,
    confounder_table,
    discretise,
    item_confounder_table,
)
from tfcausal.stats.popularity import (
    Float64s,
    Int64s,
    normalised_table,
    popularity_table,
)
from tfcausal.stats.propensity import propensity_table
from tfcausal.stats.slots import slots_table


@dataclass(frozen=True)
class Counted:
    """What the training parts hold.

    Attributes:
        observed: [num_items] interactions in the biased part.
        intervened: [num_items] interactions in the intervened part.
        begins: First second of each time slot.
        slots: [num_slots, num_items] interactions in each, or None.
        decayed: [num_items] counts of which older ones weigh less, or None.
        elsewhere: Interactions of an earlier run with items that this vocabulary lacks.
    """

    observed: Int64s
    intervened: Int64s
    begins: tuple[int, ...] = ()
    slots: Int64s | None = None
    decayed: Float64s | None = None
    elsewhere: int = 0


def write_tables(
    folder: Path,
    counted: Counted,
    num_users: int,
    *,
    num_groups: int,
    smoothness: float | None,
    trend: float,
) -> dict[str, Any]:
    """Writes all tables by item.

    Args:
        folder: Takes the files.
        counted: What was counted.
        num_users: Number of users, the unknown one not among them.
        num_groups: As in the job's options; so are the others.
        smoothness: See there.
        trend: See there.
    Returns:
        What the manifest tells of them.
    """
    observed = counted.observed
    tables = {
        "popularity": popularity_table(observed, counted.intervened),
        "normalised": normalised_table(observed, num_groups, counted.decayed),
        "propensity": propensity_table(
            observed + counted.intervened, num_users, smoothness
        ),
    }
    details: dict[str, Any] = {}
    if counted.slots is not None:
        tables["popularity_by_slot"] = slots_table(counted.slots, trend)
        details["slots"] = {
            "begins": list(counted.begins),
            "rows": counted.slots.sum(axis=1).tolist(),
        }
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
    return details


def write_confounder(
    folder: Path,
    counted: Counted,
    confounder: Confounder,
    discretisation: Discretisation,
    num_bins: int,
    edges: Sequence[float],
) -> dict[str, Any]:
    """Writes the bins of a confounder, and the bin of each item where it is one's.

    Args:
        folder: Takes the files.
        counted: What was counted.
        confounder: The confounder.
        discretisation: How its values are cut.
        num_bins: Into how many bins.
        edges: Or where.
    Returns:
        What the manifest tells of them.
    """
    found = confounder.found(folder, counted.observed)
    bins = discretise(found, discretisation, num_bins, edges)
    table = confounder_table(bins, found, labelled=confounder.label is not None)
    pq.write_table(table, folder / "confounder.parquet")
    if confounder.of_items is not None:
        items = item_confounder_table(bins, confounder.of_items)
        pq.write_table(items, folder / "item_confounder.parquet")
    return {"bins": len(table), "interactions_without_value": found.missing}
