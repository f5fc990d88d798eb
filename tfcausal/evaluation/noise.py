"""Robustness: what is left of a method's lists when histories hold random clicks.

Reference: Zhang et al., CauseRec, SIGIR 2021, section 1: users' histories hold noise,
and a method should trust what is indispensable in them.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf

from tfcausal.data.interactions import CheckedDataset
from tfcausal.errors import InputError
from tfcausal.evaluation.evaluator import EvaluationSet, evaluate
from tfcausal.methods.base import in_blocks
from tfcausal.methods.histories import HistoryMethod
from tfcausal.schema.protocol import EvaluationProtocol
from tfcausal.stats import mixing
from tfcausal.stats.negatives import Int32s
from tfcausal.stats.sequences import PAD

WHERE, WHAT = "noise places", "noise items"


def with_noise(
    histories: Int32s, share: float, num_items: int, *, seed: int = 0
) -> Int32s:
    """Replaces a share of each history by clicks on items drawn uniformly.

    Of n items it is the nearest whole number to share * n, halves rounded up, at places
    drawn at random. More noise keeps what less has replaced.

    Args:
        histories: [num_users, max_length] int32, `PAD` where there is none.
        share: Share of the items, from 0 to 1.
        num_items: Rows of the item vocabulary, the unknown one included.
        seed: Seed of places and items.
    Returns:
        [num_users, max_length] int32, a new array.
    Raises:
        InputError: If the share is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise InputError(f"`share` must be from 0 to 1; got {share}.")
    exists = histories != PAD
    users = np.arange(len(histories))[:, None]
    places = np.arange(histories.shape[1])[None]
    order = mixing.keys(mixing.stream(seed, WHERE), users, places)
    order[~exists] = np.iinfo(np.uint64).max
    ranks = order.argsort(axis=1).argsort(axis=1)
    counts = np.floor(share * exists.sum(axis=1) + 0.5)
    replaced = exists & (ranks < counts[:, None])
    drawn = mixing.uniforms(mixing.keys(mixing.stream(seed, WHAT), users, places))
    items = (drawn * (num_items - 1)).astype(np.int32) + 1
    return np.where(replaced, items, histories)


def noise_curve(
    method: HistoryMethod,
    dataset: CheckedDataset,
    against: EvaluationSet,
    protocol: EvaluationProtocol,
    *,
    shares: Sequence[float],
    seed: int = 0,
) -> list[dict[str, float]]:
    """Returns the metrics at each share of noise in the histories.

    Args:
        method: A trained model, as `load_model` gives it.
        dataset: What it was trained on.
        against: The evaluated and the masked items.
        protocol: How lists are made and averaged.
        shares: Shares of each history to replace, from 0 to 1.
        seed: Seed of the noise.
    Returns:
        For each share `noise` and the metrics of `evaluate`.
    """
    histories = method.window.read_histories(method.options.max_length)
    vectors = method.vectors()
    curve = []
    for share in shares:
        noisy = tf.constant(with_noise(histories, share, dataset.num_items, seed=seed))

        def queries_of(users: tf.Tensor, noisy: tf.Tensor = noisy) -> tf.Tensor:
            return method.queries_of(tf.gather(noisy, users))

        queries = in_blocks(queries_of, len(histories))
        found = evaluate(replace(vectors, queries=queries), against, protocol)
        curve.append({"noise": float(share), **found.metrics})
    return curve
