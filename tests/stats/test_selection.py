"""Exact selection by counting, against sorting."""

import numpy as np
import pytest

from tfcausal.stats.selection import Keys, Targets, Threshold, thresholds


def select(
    keys: np.ndarray, ranks: list[int], num_blocks: int, levels: int
) -> list[Threshold]:
    rows = np.arange(len(keys))
    blocks = [Keys(keys[part], rows[part]) for part in np.array_split(rows, num_blocks)]
    targets = Targets.of_ranks(ranks)
    for _ in range(levels):
        counts = sum(targets.count(block.keys) for block in blocks)
        targets = targets.narrowed(np.asarray(counts))
    left = [block.at(targets.matching(block.keys)) for block in blocks]
    return thresholds(left[::-1], targets)


def populations() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(11)
    words = generator.integers(0, 2**64, 3_000, dtype=np.uint64)
    return {
        "uniform": words,
        "exponential": generator.exponential(size=3_000).view(np.uint64),
        "few values": words % np.uint64(5),
        "all equal": np.full(3_000, 7, np.uint64),
        "close": words % np.uint64(1 << 20) + np.uint64(1 << 40),
    }


@pytest.mark.parametrize("name", list(populations()))
@pytest.mark.parametrize(("num_blocks", "levels"), [(1, 1), (7, 1), (1, 0), (7, 2)])
def test_selects_what_sorting_selects(name: str, num_blocks: int, levels: int) -> None:
    keys = populations()[name]
    rows = np.arange(len(keys))
    order = np.lexsort((rows, keys))
    ranks = [0, 1, 2, 1_234, 1_235, 2_999, 3_000]
    found = select(keys, ranks, num_blocks, levels)
    for rank, threshold in zip(ranks, found, strict=True):
        chosen = threshold.among(Keys(keys, rows))
        assert np.array_equal(np.flatnonzero(chosen), np.sort(order[:rank]))
