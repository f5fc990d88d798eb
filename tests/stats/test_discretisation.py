"""Bins of a confounding feature, their shares and IPW, against plain Python."""

import math
from collections import Counter

import numpy as np
import pytest

from tfcausal.errors import InputError
from tfcausal.stats.discretisation import (
    Discretisation,
    ValueCounts,
    confounder_table,
    discretise,
    item_confounder_table,
)


def rows(seed: int = 0, size: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Returns values with ties and gaps, and labels."""
    generator = np.random.default_rng(seed)
    values = np.round(generator.gamma(2.0, 10.0, size))
    values[generator.random(size) < 0.1] = np.nan
    return values, generator.integers(0, 2, size)


def of_rows(values: np.ndarray, labels: np.ndarray) -> ValueCounts:
    return ValueCounts.of(values, np.ones(len(values), np.int64), labels)


@pytest.mark.parametrize("cuts", [[], [1], [100, 100, 250]])
def test_counts_in_any_grouping(cuts: list[int]) -> None:
    values, labels = rows()
    total = ValueCounts.nothing()
    for block in zip(np.split(values, cuts), np.split(labels, cuts), strict=True):
        total = of_rows(*block).merge(total)
    present = ~np.isnan(values)
    expected = Counter(values[present].tolist())
    assert dict(zip(total.values.tolist(), total.counts.tolist(), strict=True)) == (
        expected
    )
    assert total.positives.sum() == labels[present].sum()
    assert total.missing == int((~present).sum())
    again = ValueCounts.from_records(total.to_records())
    assert again.to_records().tobytes() == total.to_records().tobytes()


def test_rows_of_items_count_as_often_as_they_were_met() -> None:
    values = np.asarray([5.0, 3.0, 5.0, np.nan, 8.0])
    found = ValueCounts.of(values, np.asarray([2, 1, 3, 4, 0]))
    assert found.values.tolist() == [3.0, 5.0]
    assert found.counts.tolist() == [1, 5]
    assert found.missing == 4


@pytest.mark.parametrize("rule", ["equal_width", "quantile", "edges", "values"])
def test_each_row_is_in_the_bin_that_the_table_says(rule: Discretisation) -> None:
    values, labels = rows()
    found = of_rows(values, labels)
    edges = (5.0, 20.0, 21.0) if rule == "edges" else ()
    bins = discretise(found, rule, 6, edges)
    table = confounder_table(bins, found, labelled=True).to_pydict()
    num_bins = len(table["bin"])
    members: dict[int, list[int]] = {number: [] for number in range(num_bins)}
    for value, label, number in zip(values, labels, bins.assign(values), strict=True):
        if math.isnan(value):
            assert number == -1
            continue
        members[int(number)].append(int(label))
        assert table["lower"][number] <= value <= table["upper"][number]
        if number < num_bins - 1 and rule != "values":
            assert value < table["upper"][number]
    assert table["count"] == [len(labels) for labels in members.values()]
    total = sum(table["count"])
    assert table["probability"] == [count / total for count in table["count"]]
    rates = [
        sum(labels) / len(labels) if labels else None for labels in members.values()
    ]
    most = max(rate for rate in rates if rate is not None)
    least = min(rate for rate in rates if rate is not None)
    for number, rate in enumerate(rates):
        if rate is None:
            assert math.isnan(table["label_rate"][number])
            expected = 1.0, 1.0
        else:
            assert table["label_rate"][number] == rate
            expected = math.sqrt(rate / most), math.sqrt((1 - rate) / (1 - least))
        assert table["propensity_positive"][number] == pytest.approx(expected[0])
        assert table["propensity_negative"][number] == pytest.approx(expected[1])
    if rule == "equal_width":
        width = (np.nanmax(values) - np.nanmin(values)) / 6
        assert np.diff(bins.lower) == pytest.approx([width] * 5)
    if rule == "values":
        assert table["lower"] == sorted(set(values[~np.isnan(values)].tolist()))
    if rule == "edges":
        assert table["lower"] == [-math.inf, 5.0, 20.0, 21.0]


def test_quantiles_part_the_rows_evenly() -> None:
    values = np.arange(60.0)
    found = of_rows(values, np.zeros(60, np.int64))
    bins = discretise(found, "quantile", 6)
    assert bins.inner.tolist() == [10.0, 20.0, 30.0, 40.0, 50.0]


@pytest.mark.parametrize(
    "counts", [[1, 98, 1], [99, 1], [1, 99], [5, 4, 3, 2, 1, 9, 9], [2, 2, 2]]
)
@pytest.mark.parametrize("num_bins", [2, 3, 4, 9])
def test_rows_of_one_value_stay_together(counts: list[int], num_bins: int) -> None:
    values = np.arange(len(counts), dtype=np.float64)
    found = ValueCounts.of(values, np.asarray(counts))
    expected = set()
    for step in range(1, num_bins):
        target = sum(counts) * step / num_bins
        expected.add(
            min(
                range(1, len(counts)),
                key=lambda cut: (abs(sum(counts[:cut]) - target), cut),
            )
        )
    assert discretise(found, "quantile", num_bins).inner.tolist() == sorted(expected)


def test_a_value_outside_the_training_rows_is_in_an_outer_bin() -> None:
    found = of_rows(np.asarray([1.0, 2.0, 9.0]), np.zeros(3, np.int64))
    bins = discretise(found, "equal_width", 2)
    table = item_confounder_table(bins, np.asarray([4.0, -7.0, 100.0, np.nan]))
    assert table["bin"].to_pylist() == [-1, 0, 1, -1]
    assert np.isnan(table["value"].to_numpy()).tolist() == [True, False, False, True]


def test_refusals() -> None:
    one = of_rows(np.asarray([1.0, 1.0]), np.asarray([1, 1]))
    with pytest.raises(InputError, match=r"at least two values.*got 1"):
        discretise(one, "equal_width", 3)
    bins = discretise(one, "edges", 2, (0.0,))
    with pytest.raises(InputError, match="`label` must be 1 in some"):
        confounder_table(bins, one, labelled=True)
    with pytest.raises(InputError, match="a value in some training row"):
        confounder_table(bins, ValueCounts.nothing(), labelled=False)
    with pytest.raises(InputError, match="`length` must be finite"):
        of_rows(np.asarray([np.inf]), np.asarray([1])).require_usable("length")


def test_too_many_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ValueCounts, "MAX_VALUES", 5)
    half = of_rows(np.arange(4.0), np.zeros(4, np.int64))
    half.require_usable("length")
    both = half.merge(of_rows(np.arange(3.0, 9.0), np.zeros(6, np.int64)))
    assert len(both.values) == 6
    with pytest.raises(InputError, match="`length` must have at most 5 different"):
        both.require_usable("length")
