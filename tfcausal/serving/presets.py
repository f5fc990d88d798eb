"""Weights of causes that requests ask for by name, found when a model is exported.

as_trained           the model as it left training
best_on_validation   what `tfcausal calibrate` chose for a metric
interest_only        do(every other cause = 0)
popularity_neutral   lists as popular in the mean as what users choose by themselves

A model has those that its causes can express. All are relative to the export: weight 1
is the vectors that were exported.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tfcausal.data.interactions import CheckedDataset
from tfcausal.errors import InputError
from tfcausal.evaluation.calibration import PULLS, Calibration, calibrate, reaches
from tfcausal.evaluation.evaluator import EvaluationSet, evaluate
from tfcausal.evaluation.users import sample_users
from tfcausal.evaluation.validation import evaluation_set
from tfcausal.schema.dataset import VALIDATION
from tfcausal.schema.protocol import EvaluationProtocol, protocol
from tfcausal.schema.vectors import POPULARITY_CAUSE, CausalVectors

Presets = Mapping[str, Mapping[str, float]]
"""Name to the weight of every cause."""

AS_TRAINED, BEST, INTEREST, NEUTRAL = (
    "as_trained",
    "best_on_validation",
    "interest_only",
    "popularity_neutral",
)
_INTEREST_CAUSE = "interest"
_NUM_USERS = 1000
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Neutral:
    """How the preset `popularity_neutral` was found.

    Attributes:
        weights: Cause to weight.
        target: The mean popularity that lists should have.
        reached: What they have on validation with these weights.
        k: Length of the lists.
        num_users: Validation users that were ranked for.
    """

    weights: Mapping[str, float]
    target: float
    reached: float
    k: int
    num_users: int


def known_presets(
    vectors: CausalVectors, calibration: Calibration | None
) -> dict[str, dict[str, float]]:
    """Returns the presets that need no search.

    Args:
        vectors: What is exported, calibrated or as trained.
        calibration: What was applied to them; None for vectors as trained.
    """
    ones = dict.fromkeys(vectors.causes, 1.0)
    found = {}
    if calibration is None:
        found[AS_TRAINED] = ones
    else:
        if calibration.target is None:
            found[BEST] = ones
        # A cause that was calibrated away cannot be brought back, nor can norms.
        if all(calibration.weights.values()) and not calibration.norm_power:
            undone = {cause: 1 / one for cause, one in calibration.weights.items()}
            found[AS_TRAINED] = {POPULARITY_CAUSE: 0.0} | undone
    if _INTEREST_CAUSE in vectors.causes and len(vectors.causes) > 1:
        found[INTEREST] = dict.fromkeys(vectors.causes, 0.0) | {_INTEREST_CAUSE: 1.0}
    return found


def popularity_neutral(
    vectors: CausalVectors, dataset: CheckedDataset, k: int, target: float | None
) -> Neutral | None:
    """Finds the weight at which lists are as popular as what users choose themselves.

    One cause moves: conformity, or popularity where the vectors have no conformity or
    its weights from 0 to 2 do not reach the target.

    Args:
        vectors: What is exported.
        dataset: What the run was trained on, with a validation part.
        k: Length of the lists.
        target: The mean popularity that lists should have, in interactions of the train
            window; None for the mean over validation users of what they chose there.
    Returns:
        The weights; None if no target was asked for and the model has no such cause, or
        its weights do not reach what users choose.
    Raises:
        InputError: If a target was asked for and cannot be reached.
    """
    if target is None and not any(cause in vectors.causes for cause in PULLS):
        _log.warning("No preset %s: no cause of this model pulls along it.", NEUTRAL)
        return None
    try:
        return _reach(vectors, dataset, k, target)
    except _OutOfReachError as error:
        if target is not None:
            raise
        _log.warning(
            "No preset %s: users choose a mean popularity of %.4g on validation, and "
            "lists have %s. Pass --neutral_popularity=NUMBER within to have one.",
            NEUTRAL,
            error.target,
            error.ranges,
        )
        return None


class _OutOfReachError(InputError):
    """No weight gives lists of the target popularity."""

    def __init__(self, target: float, ranges: str) -> None:
        super().__init__(
            f"`neutral_popularity` must be what lists can have, {ranges}; got "
            f"{target:.6g}. Choose another."
        )
        self.target = target
        self.ranges = ranges


def _reach(
    vectors: CausalVectors, dataset: CheckedDataset, k: int, target: float | None
) -> Neutral:
    if not any(cause in vectors.causes for cause in PULLS):
        raise InputError(
            f"`neutral_popularity` must have one of {', '.join(PULLS)} to weigh; got a "
            f"model with {', '.join(vectors.causes)}. Run `tfcausal calibrate`, and "
            "export with --calibrated, which adds popularity."
        )
    chosen = replace(protocol("dice"), ks=(k,))
    against = evaluation_set(dataset, VALIDATION, chosen)
    if target is None:
        users = np.flatnonzero(against.positives.lengths).astype(np.int32)
        owners, items = against.positives.of(users)
        totals = np.bincount(owners, weights=against.popularity[items])
        target = float((totals / against.positives.lengths[users]).mean())
    reached = {
        cause: [
            _mean_popularity(vectors.weighted({cause: weight}), against, chosen)
            for weight in (0.0, 2.0)
        ]
        for cause in PULLS
        if cause in vectors.causes
    }
    if not any(reaches(cause, ends, target) for cause, ends in reached.items()):
        raise _OutOfReachError(
            target,
            " or ".join(
                f"{low:.6g} to {high:.6g} at weights of {cause} from 0 to 2"
                for cause, (low, high) in reached.items()
            ),
        )
    found = calibrate(
        vectors,
        against,
        chosen,
        metric=f"recall@{k}",
        target_popularity=target,
        num_users=_NUM_USERS,
    )
    return Neutral(found.weights, target, found.value, k, found.num_users)


def _mean_popularity(
    vectors: CausalVectors, against: EvaluationSet, chosen: EvaluationProtocol
) -> float:
    """Returns that of the lists of the validation users who are sampled."""
    counted = np.flatnonzero(against.positives.lengths).astype(np.int32)
    users = sample_users(counted, _NUM_USERS, "validation users")
    metrics = evaluate(vectors, against, chosen, users=users).metrics
    return metrics[f"popularity@{chosen.ks[0]}"]
