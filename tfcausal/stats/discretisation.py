"""A confounding feature cut into bins: their shares P(a), and weights against them.

Reference: He et al., Addressing Confounding Feature Issue for Causal Recommendation
(DCR), TOIS 2023, Eq. 4 for P(a), and the authors' code for the baseline IPW.
Deviations: the authors take the rates of IPW from all rows, test rows among them; ours
are of training rows. They do not say how they cut video length into six bins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tfcausal.errors import InputError
from tfcausal.schema import columns
from tfcausal.schema.columns import (
    NO_BIN,
    UNKNOWN_INDEX,
    confounder_schema,
    item_confounder_schema,
)
from tfcausal.stats.popularity import Float64s, Int32s, Int64s

Discretisation = Literal["equal_width", "quantile", "edges", "values"]
DISCRETISATIONS: tuple[Discretisation, ...] = (
    "equal_width",
    "quantile",
    "edges",
    "values",
)


@dataclass(frozen=True)
class ValueCounts:
    """Rows by the value of a feature; adds up in any grouping.

    Attributes:
        values: [n] float64, distinct and ascending.
        counts: [n] int64 rows that have the value.
        positives: [n] int64 rows of those whose label is 1.
        missing: Rows without a value.
    """

    MAX_VALUES: ClassVar[int] = 1 << 22

    values: Float64s
    counts: Int64s
    positives: Int64s
    missing: int = 0

    @classmethod
    def nothing(cls) -> "ValueCounts":
        """Counts nothing yet."""
        none = np.empty(0, np.int64)
        return cls(np.empty(0, np.float64), none, none)

    @classmethod
    def of(
        cls, values: Float64s, counts: Int64s, positives: Int64s | None = None
    ) -> "ValueCounts":
        """Adds up the rows of equal values.

        Args:
            values: [n] float64 in any order; NaN where there is no value.
            counts: [n] rows that each entry stands for.
            positives: [n] rows of those whose label is 1, or None without labels.
        """
        present = ~np.isnan(values) & (counts > 0)
        distinct, place = np.unique(values[present], return_inverse=True)
        rows = _sums(place, counts[present], len(distinct))
        labelled = (
            np.zeros_like(rows)
            if positives is None
            else _sums(place, positives[present], len(distinct))
        )
        # One too many is kept, for `require_usable` to find.
        kept = slice(cls.MAX_VALUES + 1)
        missing = int(counts[np.isnan(values)].sum())
        return cls(distinct[kept], rows[kept], labelled[kept], missing)

    @classmethod
    def from_records(cls, records: npt.NDArray[np.void]) -> "ValueCounts":
        """Reads what `to_records` made."""
        return cls.of(records["value"], records["count"], records["positives"])

    def to_records(self) -> npt.NDArray[np.void]:
        """Returns records of value, count, positives; the last, NaN, is what lacks."""
        kinds = [("value", np.float64), ("count", np.int64), ("positives", np.int64)]
        records = np.zeros(len(self.values) + 1, kinds)
        records["value"] = np.append(self.values, np.nan)
        records["count"] = np.append(self.counts, self.missing)
        records["positives"][:-1] = self.positives
        return records

    def require_usable(self, name: str) -> None:
        """Raises InputError unless values are finite, and not too many.

        Args:
            name: The feature, for the message.
        """
        if not np.isfinite(self.values).all():
            raise InputError(
                f"Values of `{name}` must be finite or missing; found infinity. Mend "
                "the column, or give it no value there."
            )
        if len(self.values) > self.MAX_VALUES:
            raise InputError(
                f"`{name}` must have at most {self.MAX_VALUES} different values; got "
                "more. Round the column."
            )

    def merge(self, other: "ValueCounts") -> "ValueCounts":
        """Returns the sum of both."""
        joined = ValueCounts.of(
            np.concatenate([self.values, other.values]),
            np.concatenate([self.counts, other.counts]),
            np.concatenate([self.positives, other.positives]),
        )
        return ValueCounts(
            joined.values,
            joined.counts,
            joined.positives,
            self.missing + other.missing,
        )


@dataclass(frozen=True)
class Bins:
    """Bins of a feature: bin k has the values from inner[k - 1] to before inner[k].

    Attributes:
        inner: [num_bins - 1] float64, increasing; the first and the last bin are open.
        lower: [num_bins] float64, where each bin begins.
        upper: [num_bins] float64, where each bin ends.
    """

    inner: Float64s
    lower: Float64s
    upper: Float64s

    def assign(self, values: Float64s) -> Int32s:
        """Returns the bin of each value.

        Args:
            values: [n] float64; NaN where there is no value.
        Returns:
            [n] int32, NO_BIN where there is no value.
        """
        found = np.searchsorted(self.inner, values, "right")
        return np.where(np.isnan(values), NO_BIN, found).astype(np.int32)


def discretise(
    found: ValueCounts,
    rule: Discretisation,
    num_bins: int,
    edges: Sequence[float] = (),
) -> Bins:
    """Cuts the values of a feature into bins.

    Args:
        found: The values of the training rows.
        rule: equal_width (between the least and the greatest value), quantile (borders
            where the rows come nearest to equal shares; rows of one value are never
            parted, so that there may be fewer bins), edges (as given) or values (a bin
            for each value).
        num_bins: Number of bins, for equal_width and quantile.
        edges: The value at which each bin but the first begins, for edges.
    Raises:
        InputError: If there is no value, or all are equal.
    """
    values = found.values
    if len(values) < 2 and rule != "edges":
        raise InputError(
            "A confounder must have at least two values in the training rows; got "
            f"{len(values)}. Choose another column."
        )
    if rule == "edges":
        inner = np.asarray(edges, np.float64)
        return Bins(inner, np.append(-np.inf, inner), np.append(inner, np.inf))
    if rule == "values":
        return Bins(values[1:], values, values)
    if rule == "equal_width":
        steps = np.arange(1, num_bins) / num_bins
        # Convex sums cannot overflow, and lie within the span.
        inner = np.unique(values[0] * (1.0 - steps) + values[-1] * steps)
    else:
        inner = values[_evenly_parted(found.counts, num_bins)]
    return Bins(inner, np.append(values[0], inner), np.append(inner, values[-1]))


def _evenly_parted(counts: Int64s, num_bins: int) -> Int64s:
    """Returns the places before which to cut, nearest to equal sums; fewer if equal."""
    # Times num_bins, so that all is in whole numbers.
    before = num_bins * np.cumsum(counts)[:-1]
    wanted = np.arange(1, num_bins) * counts.sum()
    after = np.clip(np.searchsorted(before, wanted), 1, max(1, len(before) - 1))
    lower = after - 1
    upper = np.minimum(after, len(before) - 1)
    nearer = np.where(wanted - before[lower] <= before[upper] - wanted, lower, upper)
    return np.unique(nearer) + 1


def confounder_table(bins: Bins, found: ValueCounts, *, labelled: bool) -> pa.Table:
    """Makes the table of the bins of a confounder.

    Symbols: r_a -> label_rate; q+_a, q-_a -> propensity_positive, propensity_negative
    Formula: P(a) = rows of a / rows; q+_a = sqrt(r_a / max r);
        q-_a = sqrt((1 - r_a) / max (1 - r))

    Args:
        bins: The bins.
        found: The values of the training rows.
        labelled: Whether the rows have labels.
    Returns:
        A table of `columns.confounder_schema`. A bin without rows has the rate NaN and
        propensities of 1, for no row of training will ask for them.
    Raises:
        InputError: If no row has a value, or all labels are equal.
    """
    total = int(found.counts.sum())
    if not total:
        raise InputError(
            "A confounder must have a value in some training row; found none. Choose "
            "another column."
        )
    place = bins.assign(found.values)
    counts, positives = (
        _sums(place, part, len(bins.lower)) for part in (found.counts, found.positives)
    )
    content: dict[str, npt.NDArray[np.generic]] = {
        columns.BIN: np.arange(len(counts), dtype=np.int32),
        columns.LOWER: bins.lower,
        columns.UPPER: bins.upper,
        columns.COUNT: counts,
        columns.PROBABILITY: counts / total,
    }
    if labelled:
        if not 0 < positives.sum() < total:
            raise InputError(
                "`label` must be 1 in some training rows and 0 in others; all have "
                f"{int(positives.sum() > 0)}. Choose another column."
            )
        met = counts > 0
        rate = np.full(len(counts), np.nan)
        rate[met] = positives[met] / counts[met]
        content[columns.LABEL_RATE] = rate
        for name, share in (
            (columns.PROPENSITY_POSITIVE, rate[met]),
            (columns.PROPENSITY_NEGATIVE, 1.0 - rate[met]),
        ):
            content[name] = np.ones(len(counts))
            content[name][met] = np.sqrt(share / share.max())
    return pa.table(content, schema=confounder_schema(labelled=labelled))


def item_confounder_table(bins: Bins, values: Float64s) -> pa.Table:
    """Makes the table of each item's bin.

    Args:
        bins: The bins.
        values: [num_items] float64; NaN where an item has none.
    Returns:
        A table of `columns.item_confounder_schema`.
    """
    known = values.copy()
    known[UNKNOWN_INDEX] = np.nan
    return pa.table(
        {
            columns.ITEM: np.arange(len(values), dtype=np.int32),
            columns.VALUE: known,
            columns.BIN: bins.assign(known),
        },
        schema=item_confounder_schema(),
    )


def _sums(place: npt.NDArray[np.integer], counts: Int64s, num_bins: int) -> Int64s:
    total = np.zeros(num_bins, np.int64)
    np.add.at(total, place, counts)
    return total
