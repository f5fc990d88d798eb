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
from tfcausal.evaluation.ranking import ItemLists
from tfcausal.methods.base import in_blocks
from tfcausal.methods.histories import HistoryMethod
from tfcausal.schema.protocol import EvaluationProtocol
from tfcausal.schema.vectors import Float32s
from tfcausal.stats import mixing
from tfcausal.stats.negatives import Int32s, Int64s
from tfcausal.stats.selection import Bools
from tfcausal.stats.sequences import PAD

WHERE, WHAT = "noise places", "noise items"
NOISE, CONCEPT_AUC = "noise", "concept_auc"
_BLOCK_ROWS = 8_192


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
    users, places = _cells(histories)
    drawn = mixing.uniforms(mixing.keys(mixing.stream(seed, WHAT), users, places))
    items = (drawn * (num_items - 1)).astype(np.int32) + 1
    return np.where(noise_places(histories, share, seed=seed), items, histories)


def noise_places(histories: Int32s, share: float, *, seed: int = 0) -> Bools:
    """Returns where `with_noise` puts a random click, [num_users, max_length] bool."""
    exists = histories != PAD
    order = mixing.keys(mixing.stream(seed, WHERE), *_cells(histories))
    order[~exists] = np.iinfo(np.uint64).max
    ranks = order.argsort(axis=1).argsort(axis=1)
    counts = np.floor(share * exists.sum(axis=1) + 0.5)
    replaced: Bools = exists & (ranks < counts[:, None])
    return replaced


def _cells(histories: Int32s) -> tuple[Int64s, Int64s]:
    """Returns each row's number, [num_users, 1], and each place's, [1, max_length]."""
    return np.arange(len(histories))[:, None], np.arange(histories.shape[1])[None]


def concept_auc(
    vectors: Float32s, histories: Int32s, noise: Bools, targets: ItemLists
) -> float | None:
    """Tells how well the scores of a history's items find the random clicks in it.

    Scores are those by which CauseRec tells what is indispensable: the inner product of
    an item with what is met next.

    Formula: mean over rows and targets of P(score of an own item > score of a random
    one), ties counting half: 0.5 for chance, 1 where every random click is below.
    Reference: Zhang et al. (CauseRec), SIGIR 2021, Eq. 5, for the scores.

    Args:
        vectors: [num_items, dim] float32.
        histories: [num_users, max_length] int32, noise included.
        noise: [num_users, max_length] bool, the random clicks.
        targets: Items of each user that are met next.
    Returns:
        The mean; None where no history with a target has both.
    """
    users = np.repeat(np.arange(len(histories)), targets.lengths)
    own = (histories != PAD) & ~noise
    total, rows = 0.0, 0
    for first in range(0, len(users), _BLOCK_ROWS):
        block = users[first : first + _BLOCK_ROWS]
        met = vectors[targets.items[first : first + _BLOCK_ROWS]]
        scores = np.einsum("nld,nd->nl", vectors[histories[block]], met)
        pairs = own[block, :, None] & noise[block, None, :]
        above = np.sign(scores[:, :, None] - scores[:, None, :]) * pairs
        counts = pairs.sum(axis=(1, 2))
        both = counts > 0
        total += float((0.5 + 0.5 * above.sum(axis=(1, 2))[both] / counts[both]).sum())
        rows += int(both.sum())
    return total / rows if rows else None


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
        For each share `noise`, the metrics of `evaluate` and, where there is any noise,
        `concept_auc`.
    """
    histories = method.window.read_histories(method.options.max_length)
    vectors = method.vectors()
    curve = []
    for share in shares:
        noisy = with_noise(histories, share, dataset.num_items, seed=seed)
        table = tf.constant(noisy)

        def queries_of(users: tf.Tensor, table: tf.Tensor = table) -> tf.Tensor:
            return method.queries_of(tf.gather(table, users))

        queries = in_blocks(queries_of, len(histories))
        found = evaluate(replace(vectors, queries=queries), against, protocol)
        point = {NOISE: float(share), **found.metrics}
        places = noise_places(histories, share, seed=seed)
        auc = concept_auc(vectors.candidates, noisy, places, against.positives)
        curve.append(point if auc is None else {**point, CONCEPT_AUC: auc})
    return curve
