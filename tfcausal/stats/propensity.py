"""How likely an item was to be met, and the weights that make up for it.

Reference: the IPS baselines of Zheng et al., DICE, WWW 2021, as the
authors' src/data.py computes them (IPSBlendPairFactorizationDataset); the propensity of
Wei et al., MACR, KDD 2021, as its authors' code computes it.
"""

import numpy as np
import pyarrow as pa

from tfcausal.schema import columns
from tfcausal.schema.columns import UNKNOWN_INDEX, propensity_schema
from tfcausal.stats.exponential import powers
from tfcausal.stats.popularity import Float64s, Int64s


def propensity_table(
    counts: Int64s, num_users: int, smoothness: float | None = None
) -> pa.Table:
    """Makes the table of propensities and of inverse propensity weights.

    Symbols: pop -> counts, at least 1; n -> number of users; s -> smoothness
    Formula:
        propensity = (count + 1) / (n + 1)             MACR's, the chance of being met
        ips        = max(pop) / pop
        ips_c      = min(ips, median of ips)           the median is over items
        ips_cn     = ips_c / max(ips_c)
        ips_cnsr   = ips_cn ^ s / max(ips_cn ^ s)

    Args:
        counts: [num_items] interactions of each item in all training parts.
        num_users: Number of users, without the unknown one.
        smoothness: Exponent of the last form, > 0; below 1 it evens the weights out.
            None for no such column.
    Returns:
        A table of `columns.propensity_schema`; the unknown item has only zeros.
    """
    known = np.maximum(counts[UNKNOWN_INDEX + 1 :], 1)
    plain = known.max() / known
    clipped = np.minimum(plain, np.median(plain))
    normalised = clipped / clipped.max()
    forms = {
        columns.PROPENSITY: (counts[UNKNOWN_INDEX + 1 :] + 1) / (num_users + 1),
        columns.IPS: plain,
        columns.IPS_C: clipped,
        columns.IPS_CN: normalised,
    }
    if smoothness is not None:
        smoothed = powers(normalised, smoothness)
        forms[columns.IPS_CNSR] = smoothed / smoothed.max()
    item = {columns.ITEM: np.arange(len(counts), dtype=np.int32)}
    return pa.table(
        item | {name: _of_all(values) for name, values in forms.items()},
        schema=propensity_schema(smoothed=smoothness is not None),
    )


def _of_all(values: Float64s) -> Float64s:
    return np.concatenate([np.zeros(UNKNOWN_INDEX + 1), values])
