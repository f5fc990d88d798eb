"""A million rows' triplets, each checked against PNSM's definition."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from beam_jobs.popularity import PopularityOptions
from beam_jobs.popularity import run as popularity
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from beam_jobs.triplets import TripletOptions, run
from tfcausal.data.interactions import open_dataset, read_part, read_popularity
from tfcausal.data.training_rows import TripletShards
from tfcausal.schema.dataset import TRAINING_PARTS
from tfcausal.stats.negatives import CASE_LESS_POPULAR, CASE_MORE_POPULAR

pytestmark = pytest.mark.slow

MARGIN, DECAY, MIN_POOL, WIDTH = 40.0, 0.9, 40, 4
LOOKED_AT_ONE_BY_ONE = 3_000


def test_every_triplet_of_a_million_rows(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    size = 1_400_000
    items = (6_000 * generator.random(size) ** 3).astype(np.int64)
    table = pa.table({"user_id": generator.integers(0, 9_000, size), "item_id": items})
    pq.write_table(table, tmp_path / "raw.parquet")
    dataset = tmp_path / "dataset"
    ingest(IngestOptions(str(tmp_path / "raw.parquet"), "parquet", dataset))
    split(SplitOptions(dataset, "intervened"))
    popularity(PopularityOptions(dataset))
    run(TripletOptions(dataset, epochs=2, margin=MARGIN, min_pool=MIN_POOL))

    opened = open_dataset(dataset)
    counts = read_popularity(opened)
    rows = read_part(opened.folder, opened.parts(TRAINING_PARTS))
    pairs = np.sort(rows.users.astype(np.int64) << 32 | rows.items)
    met = {
        user: set(rows.items[rows.users == user].tolist())
        for user in generator.choice(rows.users, 40).tolist()
    }
    for epoch in range(2):
        blocks = list(TripletShards(opened, num_epochs=2).blocks(epoch))
        users, positives, negatives, case, support = (
            np.concatenate([block[name] for block in blocks])
            for name in ("users", "positives", "negatives", "case", "support")
        )
        assert len(users) > 700_000
        drawn = np.sort(users.astype(np.int64) << 32 | positives)
        assert np.array_equal(drawn, pairs)
        assert (support > 0).all()
        assert (np.diff(np.sort(negatives, axis=1), axis=1) > 0).all()

        wide = users[:, None].astype(np.int64) << 32 | negatives
        near = np.minimum(np.searchsorted(pairs, wide), len(pairs) - 1)
        assert not (pairs[near] == wide).any()

        gap = counts[negatives] - counts[positives][:, None]
        assert np.array_equal(case == CASE_MORE_POPULAR, gap > 0)
        assert np.array_equal(case == CASE_LESS_POPULAR, gap < 0)

        # Nothing lies between the pools unless both were too small to draw from.
        up = gap > MARGIN * DECAY**epoch
        down = counts[negatives] < counts[positives][:, None] / 2
        between = ~(up | down).all(axis=1)
        mixed = up.any(axis=1) & down.any(axis=1)
        looked_at = 0
        known = np.flatnonzero(np.isin(users, list(met)))[:LOOKED_AT_ONE_BY_ONE]
        for row in known.tolist():
            positive = int(counts[positives[row]])
            unmet = np.ones(len(counts), bool)
            unmet[[0, *met[int(users[row])]]] = False
            num_up = int(unmet[counts > positive + MARGIN * DECAY**epoch].sum())
            num_down = int(unmet[counts < positive / 2].sum())
            both = num_up >= MIN_POOL and num_down >= MIN_POOL
            if both:
                expected = 2 * np.where(up[row], num_up, num_down)
                assert not between[row]
                assert np.array_equal(support[row], expected)
            elif max(num_up, num_down) >= MIN_POOL:
                assert not mixed[row]
                assert not between[row]
                assert (support[row] == (num_up if up[row, 0] else num_down)).all()
            looked_at += both
        assert looked_at > LOOKED_AT_ONE_BY_ONE / 4
        shares = up[mixed].mean()
        assert abs(shares - 0.5) < 0.01
