"""Weights by name: what a model has, and that the neutral one reaches its target."""

import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from tests.runs import random_vectors
from tfcausal.data.interactions import CheckedDataset, read_popularity
from tfcausal.errors import InputError
from tfcausal.evaluation.calibration import Calibration
from tfcausal.evaluation.evaluator import evaluate
from tfcausal.evaluation.validation import evaluation_set
from tfcausal.schema.protocol import protocol
from tfcausal.schema.vectors import CausalVectors
from tfcausal.serving.presets import known_presets, popularity_neutral


@pytest.fixture(scope="module")
def vectors(dataset: CheckedDataset) -> CausalVectors:
    """Conformity is popularity, alike for every user."""
    made = random_vectors(dataset.num_users, dataset.num_items)
    part = made.causes["conformity"]
    made.queries[:, :, part] = 1.0
    made.candidates[:, part] = np.log1p(read_popularity(dataset))[:, None]
    return made


def calibration(
    vectors: CausalVectors, weights: dict[str, float], **changed: object
) -> Calibration:
    made = Calibration(
        weights=weights,
        shift=0.5,
        metric="recall@20",
        target=None,
        as_trained={},
        calibrated={"recall@20": 0.5},
        part="validation",
        protocol="dice",
        protocol_hash="",
        num_users=1,
    )
    return replace(made, **changed)


def shown(
    vectors: CausalVectors, weights: Mapping[str, float], dataset: CheckedDataset
) -> float:
    """The mean popularity of lists of ten on validation."""
    chosen = replace(protocol("dice"), ks=(10,))
    against = evaluation_set(dataset, "validation", chosen)
    changed = vectors.weighted(weights)
    return evaluate(changed, against, chosen).metrics["popularity@10"]


def test_as_trained_has_interest_only(vectors: CausalVectors) -> None:
    assert known_presets(vectors, None) == {
        "as_trained": {"interest": 1.0, "conformity": 1.0},
        "interest_only": {"interest": 1.0, "conformity": 0.0},
    }
    single = random_vectors(5, 5, causes={"preference": 4})
    assert list(known_presets(single, None)) == ["as_trained"]


def test_a_calibration_can_be_undone(
    dataset: CheckedDataset, vectors: CausalVectors
) -> None:
    chosen = calibration(vectors, {"interest": 1.0, "conformity": 0.25})
    popularity = read_popularity(dataset)
    changed = chosen.apply(vectors, popularity)
    presets = known_presets(changed, chosen)
    assert presets["best_on_validation"] == dict.fromkeys(changed.causes, 1.0)
    undone = changed.weighted(presets["as_trained"])
    scores = vectors.queries[:, 0] @ vectors.candidates.T
    again = undone.queries[:, 0] @ undone.candidates.T
    np.testing.assert_allclose(again, scores, rtol=1e-4, atol=1e-4)
    assert presets["interest_only"] == {
        "interest": 1.0,
        "conformity": 0.0,
        "popularity": 0.0,
    }


def test_what_was_calibrated_away_has_no_name(
    dataset: CheckedDataset, vectors: CausalVectors
) -> None:
    chosen = calibration(vectors, {"interest": 1.0, "conformity": 0.0}, target=3.0)
    changed = chosen.apply(vectors, read_popularity(dataset))
    assert list(known_presets(changed, chosen)) == ["interest_only"]


def test_norms_that_were_divided_out_do_not_come_back(
    dataset: CheckedDataset, vectors: CausalVectors
) -> None:
    weights = {"interest": 1.0, "conformity": 0.5}
    for norm_power, named in ((0.5, False), (0.0, True), (None, True)):
        chosen = calibration(vectors, weights, norm_power=norm_power)
        changed = chosen.apply(vectors, read_popularity(dataset))
        assert ("as_trained" in known_presets(changed, chosen)) == named


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_neutral_reaches_what_is_asked(
    dataset: CheckedDataset, vectors: CausalVectors, share: float
) -> None:
    ends = [shown(vectors, {"conformity": weight}, dataset) for weight in (0.0, 2.0)]
    target = ends[0] + share * (ends[1] - ends[0])
    found = popularity_neutral(vectors, dataset, 10, target)
    assert found is not None
    reached = shown(vectors, found.weights, dataset)
    assert reached == pytest.approx(target, rel=0.05)
    assert found.reached == pytest.approx(reached, rel=1e-6)
    assert found.weights["interest"] == 1.0
    assert 0 < found.weights["conformity"] < 2


@pytest.mark.parametrize("shift", [-1.0, 1.0])
def test_neutral_reaches_it_where_the_shift_takes_popularity_out(
    dataset: CheckedDataset, shift: float
) -> None:
    single = random_vectors(
        dataset.num_users, dataset.num_items, causes={"preference": 4}
    )
    shifted = single.shifted(read_popularity(dataset), shift)
    ends = [shown(shifted, {"popularity": weight}, dataset) for weight in (0.0, 2.0)]
    assert (ends[0] < ends[1]) == (shift > 0)
    found = popularity_neutral(shifted, dataset, 10, sum(ends) / 2)
    assert found is not None
    assert 0 < found.weights["popularity"] < 2
    assert found.reached == pytest.approx(sum(ends) / 2, rel=0.05)


def test_neutral_aims_at_what_users_choose(
    dataset: CheckedDataset, vectors: CausalVectors
) -> None:
    against = evaluation_set(dataset, "validation", protocol("dice"))
    popularity = read_popularity(dataset)
    of_users = [
        popularity[against.positives.of(np.asarray([user]))[1]].mean()
        for user in np.flatnonzero(against.positives.lengths)
    ]
    found = popularity_neutral(vectors, dataset, 10, None)
    assert found is not None
    assert found.target == pytest.approx(np.mean(of_users))
    assert found.reached == pytest.approx(found.target, rel=0.05)


def test_neutral_that_cannot_be(
    dataset: CheckedDataset, vectors: CausalVectors, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(
        InputError, match=r"can have, \S+ to \S+ at weights of conformity"
    ):
        popularity_neutral(vectors, dataset, 10, 1e9)
    single = random_vectors(
        dataset.num_users, dataset.num_items, causes={"preference": 4}
    )
    with pytest.raises(InputError, match="must have one of conformity, popularity"):
        popularity_neutral(single, dataset, 10, 5.0)
    with caplog.at_level(logging.WARNING):
        assert popularity_neutral(single, dataset, 10, None) is None
    assert "No preset popularity_neutral" in caplog.text


def test_a_shift_serves_where_there_is_no_conformity(dataset: CheckedDataset) -> None:
    single = random_vectors(
        dataset.num_users, dataset.num_items, causes={"preference": 4}
    )
    shifted = single.shifted(read_popularity(dataset), 1.0)
    chosen = replace(protocol("dice"), ks=(10,))
    against = evaluation_set(dataset, "validation", chosen)
    shown = evaluate(shifted, against, chosen).metrics
    found = popularity_neutral(shifted, dataset, 10, shown["popularity@10"])
    assert found is not None
    assert found.weights["popularity"] == pytest.approx(1.0, abs=0.3)
