"""DCCL's contrasts as a layer: which coordinates are whose."""

import numpy as np
import pytest

from tfcausal.errors import InputError
from tfcausal.layers.contrast import PopularityContrast
from tfcausal.samplers.in_batch import InBatch

import tensorflow as tf  # isort: skip

POPULARITY = np.asarray([0, 5, 3, 1])


@pytest.mark.parametrize(("interest_dim", "first"), [(None, 3), (3, 3), (4, 4)])
def test_interest_has_the_first_coordinates(
    interest_dim: int | None, first: int
) -> None:
    contrast = PopularityContrast(POPULARITY, interest_dim=interest_dim)
    batch = InBatch.of(tf.constant([1, 2, 3]), tf.constant([1, 2, 3]))
    vectors = tf.random.stateless_normal([3, 6], seed=[0, 1])
    for cause, others in ((0, slice(first, 6)), (1, slice(0, first))):
        with tf.GradientTape() as tape:
            tape.watch(vectors)
            loss = contrast(vectors, vectors, batch)[cause]
        gradient = tape.gradient(loss, vectors).numpy()
        assert np.abs(gradient[:, others]).max() == 0.0
        assert np.abs(gradient).max() > 1e-4


def test_both_causes_need_a_coordinate() -> None:
    with pytest.raises(InputError, match=r"`interest_dim` must be >= 1; got 0"):
        PopularityContrast(POPULARITY, interest_dim=0)
    contrast = PopularityContrast(POPULARITY, interest_dim=6)
    batch = InBatch.of(tf.constant([1, 2]), tf.constant([1, 2]))
    with pytest.raises(InputError, match="got 6 of vectors with 6"):
        contrast(tf.zeros([2, 6]), tf.zeros([2, 6]), batch)
