"""Inverse propensity weights against the formulas, item by item."""

import statistics

import numpy as np
import pytest

from tfcausal.stats.propensity import propensity_table


@pytest.mark.parametrize("smoothness", [None, 0.5, 2.0])
def test_formulas(smoothness: float | None) -> None:
    counts = np.random.default_rng(0).integers(0, 50, 30)
    counts[0] = 0
    table = propensity_table(counts, 80, smoothness).to_pydict()
    known = [max(count, 1) for count in counts[1:].tolist()]
    weights = [max(known) / count for count in known]
    median = statistics.median(weights)
    clipped = [min(max(weight, 1.0), median) for weight in weights]
    normalised = [weight / max(clipped) for weight in clipped]
    assert table["propensity"][1:] == pytest.approx(
        [(count + 1) / 81 for count in counts[1:].tolist()]
    )
    assert table["ips"][1:] == pytest.approx(weights)
    assert table["ips_c"][1:] == pytest.approx(clipped)
    assert table["ips_cn"][1:] == pytest.approx(normalised)
    if smoothness is None:
        assert "ips_cnsr" not in table
    else:
        powers = [weight**smoothness for weight in normalised]
        assert table["ips_cnsr"][1:] == pytest.approx(
            [power / max(powers) for power in powers]
        )
    assert {column[0] for column in table.values()} == {0}
