"""The score of an epoch, for training to choose the best by."""

from collections.abc import Callable

import numpy as np

from tfcausal.data.interactions import (
    CheckedDataset,
    Interactions,
    read_part,
    read_popularity,
)
from tfcausal.errors import unknown_name
from tfcausal.evaluation.evaluator import EvaluationSet, evaluate
from tfcausal.evaluation.users import sample_users
from tfcausal.schema.dataset import VALIDATION
from tfcausal.schema.protocol import EvaluationProtocol, protocol
from tfcausal.schema.vectors import CausalVectors


def evaluation_set(
    dataset: CheckedDataset, evaluated: str | Interactions, chosen: EvaluationProtocol
) -> EvaluationSet:
    """Sets a part of the split, or other rows, against what the protocol masks.

    Args:
        dataset: The data set.
        evaluated: Name of the part, or rows in the data set's indices.
        chosen: The protocol.
    Raises:
        InputError: If the part does not exist, or popularity is missing or of another
            split.
    """
    masked = dataset.parts(chosen.mask)
    return EvaluationSet.from_interactions(
        read_part(dataset.folder, [evaluated])
        if isinstance(evaluated, str)
        else evaluated,
        read_part(dataset.folder, masked) if masked else None,
        read_popularity(dataset),
        dataset.num_users,
    )


def validator(
    dataset: CheckedDataset,
    *,
    monitor: str,
    part: str = VALIDATION,
    chosen: EvaluationProtocol | None = None,
    num_users: int = 10_000,
) -> Callable[[CausalVectors], dict[str, float]]:
    """Returns a function that scores vectors on validation.

    Args:
        dataset: The data set.
        monitor: The metric that will be asked for.
        part: The part of the split.
        chosen: The protocol; None for `dice`.
        num_users: At most so many users are ranked for, always the same.
    Raises:
        InputError: If the part or the monitored metric does not exist.
    """
    chosen = chosen or protocol("dice")
    known = {f"{name}@{k}" for name in ("recall", "hr", "ndcg") for k in chosen.ks}
    if monitor not in known:
        raise unknown_name("monitor", monitor, known)
    against = evaluation_set(dataset, part, chosen)
    with_positives = (
        np.flatnonzero(against.positives.lengths[1:] > 0).astype(np.int32) + 1
    )
    users = sample_users(with_positives, num_users, "validation users")

    def validate(vectors: CausalVectors) -> dict[str, float]:
        return dict(evaluate(vectors, against, chosen, users=users).metrics)

    return validate
