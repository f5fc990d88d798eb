"""Search in blocks against a sort of all scores."""

import numpy as np
import pytest
import tensorflow as tf

from tfcausal.evaluation.ranking import TILE, tiled
from tfcausal.serving import exact_search
from tfcausal.serving.exact_search import Limits, search

NUM_ITEMS, BATCH = 1000, 5
RNG = np.random.default_rng(3)
# Few values, so that many scores are equal.
CANDIDATES = RNG.integers(-2, 3, (NUM_ITEMS, 3)).astype(np.float32)
QUERIES = RNG.integers(-2, 3, (BATCH, 2, 3)).astype(np.float32)
HIDDEN = np.stack([RNG.integers(0, BATCH, 900), RNG.integers(0, NUM_ITEMS, 900)], 1)
ALLOWED = np.stack([RNG.integers(0, 3, 90), RNG.integers(0, NUM_ITEMS, 90)], 1)
NOTHING = np.zeros((0, 2), np.int64)


def found(
    hidden: np.ndarray, allowed: np.ndarray, limited: list[bool], k: int
) -> tuple[np.ndarray, np.ndarray]:
    tiles, never = tiled(CANDIDATES)
    candidates = tf.Variable(tiles)
    limits = Limits(
        tf.constant(hidden), tf.constant(limited), lambda: tf.constant(allowed)
    )

    @tf.function
    def in_graph(queries: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return search(queries, candidates, tf.constant(never), limits, k)

    scores, rows = in_graph(tf.constant(QUERIES), tf.constant(k))
    return scores.numpy(), rows.numpy()


def expected(
    hidden: np.ndarray, allowed: np.ndarray, limited: list[bool], k: int
) -> list[list[tuple[float, int]]]:
    lists = []
    for row in range(BATCH):
        may = set(range(1, NUM_ITEMS)) - set(hidden[hidden[:, 0] == row, 1].tolist())
        if limited[row]:
            may &= set(allowed[allowed[:, 0] == row, 1].tolist())
        scores = (QUERIES[row] @ CANDIDATES.T).max(axis=0)
        order = sorted(may, key=lambda one: (-scores[one], one))[:k]
        lists.append([(float(scores[one]), one) for one in order])
    return lists


@pytest.mark.parametrize("rows_of_block", [TILE, 3 * TILE, 100 * TILE])
@pytest.mark.parametrize("k", [1, 7, 3 * TILE + 1, NUM_ITEMS - 1])
@pytest.mark.parametrize(
    "limited",
    [[False] * BATCH, [True, False, True, True, False], [True] * BATCH],
    ids=["nobody", "some", "everybody"],
)
def test_blocks_give_the_order_of_all_scores(
    monkeypatch: pytest.MonkeyPatch, rows_of_block: int, k: int, limited: list[bool]
) -> None:
    monkeypatch.setattr(exact_search, "_BLOCK_SCORES", rows_of_block * BATCH * 2)
    monkeypatch.setattr(exact_search, "_LEAST_ROWS", TILE)
    allowed = ALLOWED if any(limited) else NOTHING
    scores, rows = found(HIDDEN, allowed, limited, k)
    assert scores.shape == rows.shape == (BATCH, k)
    for row, wanted in enumerate(expected(HIDDEN, allowed, limited, k)):
        listed = scores[row] > -np.inf
        pairs = zip(
            scores[row, listed].tolist(), rows[row, listed].tolist(), strict=True
        )
        assert list(pairs) == wanted
        assert not listed[len(wanted) :].any()


def test_a_row_that_nothing_is_allowed_in_is_empty() -> None:
    scores, _ = found(NOTHING, NOTHING, [True] * BATCH, 3)
    assert np.isneginf(scores).all()
