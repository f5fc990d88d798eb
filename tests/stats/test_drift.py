"""Drift against scipy and a plain dictionary of counts."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import spearmanr

from tfcausal.stats import drift
from tfcausal.stats.hashing import shards_of

Counts = dict[str, int]


def drawn(seed: int, first: int, last: int) -> Counts:
    generator = np.random.default_rng(seed)
    return {f"id{n}": int(generator.zipf(1.6)) for n in range(first, last)}


def table(counts: Counts, num_shards: int, shard: int) -> pa.Table:
    ids = pa.array(sorted(counts))
    numbers = np.asarray([counts[name] for name in sorted(counts)], np.int64)
    chosen = shards_of(ids, num_shards) == shard
    return drift.counts_table(ids.filter(pa.array(chosen)), numbers[chosen])


def compare(
    before: Counts, after: Counts, num_shards: int, top: int = 7
) -> tuple[dict[str, float | int | None], pa.Table]:
    joined = [
        drift.JoinedCounts.of(
            table(before, num_shards, shard), table(after, num_shards, shard)
        )
        for shard in range(num_shards)
    ]
    totals = drift.Totals.of([drift.ShardTotals.of(counts) for counts in joined])
    terms = [drift.shift_terms(counts, totals) for counts in joined]
    figures = drift.summary(
        totals,
        [float(term.sum()) for term in terms],
        [drift.rank_products(counts, totals) for counts in joined],
    )
    largest = [
        drift.largest_shifts(counts, term, top)
        for counts, term in zip(joined, terms, strict=True)
    ]
    return figures, drift.merge_shifts(largest, top)


@pytest.mark.parametrize("num_shards", [1, 5])
def test_figures_are_those_of_scipy(num_shards: int) -> None:
    before, after = drawn(0, 0, 300), drawn(1, 120, 360)
    figures, largest = compare(before, after, num_shards)
    everything = sorted({*before, *after})
    shares = [
        np.asarray([counts.get(name, 0) for name in everything], np.float64)
        for counts in (before, after)
    ]
    expected = jensenshannon(shares[0], shares[1], base=2)
    assert figures["jensen_shannon_distance"] == pytest.approx(expected, rel=1e-12)
    both = sorted(before.keys() & after.keys())
    ranks = spearmanr([before[n] for n in both], [after[n] for n in both]).statistic
    assert figures["rank_correlation"] == pytest.approx(ranks, rel=1e-12)
    assert (figures["ids_new"], figures["ids_vanished"]) == (60, 120)
    new = sum(after[name] for name in after.keys() - before.keys())
    assert figures["share_of_interactions_new"] == new / sum(after.values())

    p, q = (share / share.sum() for share in shares)
    mean = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = sum(np.where(s > 0, s * np.log2(s / mean), 0) for s in (p, q)) / 2
    order = np.argsort(-terms, kind="stable")[:7]
    assert sorted(largest["id"].to_pylist()) == sorted(everything[n] for n in order)
    assert largest["shift"].to_numpy() == pytest.approx(terms[order], rel=1e-9)
    assert largest["before"].to_pylist() == [
        before.get(name, 0) for name in largest["id"].to_pylist()
    ]


def test_nothing_moved_and_nothing_shared() -> None:
    same, _ = compare(drawn(0, 0, 50), drawn(0, 0, 50), 3)
    assert same["jensen_shannon_distance"] == pytest.approx(0, abs=1e-7)
    assert same["rank_correlation"] == pytest.approx(1)
    other, _ = compare(drawn(0, 0, 50), drawn(1, 50, 90), 3)
    assert other["jensen_shannon_distance"] == pytest.approx(1)
    assert other["rank_correlation"] is None
    assert other["share_of_interactions_vanished"] == 1
