"""Pairwise losses against slow float64 numpy, and their laws."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfcausal.losses.pairwise import bpr, masked_bpr, mean_over


def test_bpr_by_hand() -> None:
    # softplus(0 - 0) = ln 2; softplus(-1 - 1) = ln(1 + e^-2)
    losses = bpr(tf.constant([0.0, 1.0]), tf.constant([0.0, -1.0])).numpy()
    assert losses == pytest.approx([math.log(2), math.log(1 + math.exp(-2))], rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_masked_bpr_is_the_sum_over_the_case_by_all_pairs(seed: int) -> None:
    generator = np.random.default_rng(seed)
    positive = generator.normal(0, 3, (8, 1))
    negative = generator.normal(0, 3, (8, 5))
    mask = generator.random((8, 5)) < 0.4
    counted = generator.random((8, 5)) < 0.8
    total, pairs = 0.0, 0
    for row in range(8):
        for column in range(5):
            if counted[row, column]:
                pairs += 1
                if mask[row, column]:
                    gap = positive[row, 0] - negative[row, column]
                    total += -math.log(1 / (1 + math.exp(-gap)))
    found = masked_bpr(
        tf.constant(positive, tf.float32),
        tf.constant(negative, tf.float32),
        tf.constant(mask),
        tf.constant(counted),
    )
    assert float(found) == pytest.approx(total / pairs, rel=1e-5)


def test_huge_scores_stay_finite_with_finite_gradient() -> None:
    positive = tf.Variable([1e6, -1e6, 0.0])
    with tf.GradientTape() as tape:
        loss = mean_over(bpr(positive, tf.constant([-1e6, 1e6, 0.0])), [True] * 3)
    gradient = tape.gradient(loss, positive).numpy()
    assert float(loss) == pytest.approx((2e6 + math.log(2)) / 3)
    assert gradient == pytest.approx([0, -1 / 3, -0.5 / 3], abs=1e-6)


def test_nothing_counted_is_zero_without_gradient() -> None:
    scores = tf.Variable([[1.0, 2.0]])
    with tf.GradientTape() as tape:
        loss = mean_over(bpr(scores, 0.0), tf.constant([[False, False]]))
    assert float(loss) == 0
    assert not tape.gradient(loss, scores).numpy().any()


def test_losses_work_in_a_keras_3_script_without_tensorflow() -> None:
    script = """
import sys
import numpy as np
from tfcausal.losses.discrepancy import distance_correlation, negative_l1, negative_l2
from tfcausal.losses.pairwise import bpr, mean_over
x = np.arange(12, dtype="float32").reshape(6, 2) ** 1.5
y = np.cos(x)
values = [mean_over(bpr(x, y), x > y)]
values += [loss(x, y) for loss in (distance_correlation, negative_l1, negative_l2)]
assert "tensorflow" not in sys.modules
print(*(float(value) for value in values))
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    found = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    x = np.arange(12, dtype=np.float64).reshape(6, 2) ** 1.5
    y = np.cos(x)
    pairs = np.log1p(np.exp(y - x))[x > y].mean()
    assert float(found[0]) == pytest.approx(pairs, rel=1e-5)
    assert 0 < float(found[1]) < 1
    assert float(found[2]) == pytest.approx(-np.abs(x - y).mean(), rel=1e-5)
    assert float(found[3]) == pytest.approx(-((x - y) ** 2).mean(), rel=1e-5)
