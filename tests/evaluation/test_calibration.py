"""Calibration: planted weights are found, metrics are those of the weighted scores."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.datasets import write_dataset
from tests.evaluation.cases import Case, random_case
from tests.runs import random_vectors, write_run
from tfcausal.errors import InputError
from tfcausal.evaluation.calibration import (
    Calibration,
    calibrate,
    load_calibration,
    save_calibration,
)
from tfcausal.evaluation.evaluator import evaluate
from tfcausal.schema.protocol import protocol
from tfcausal.schema.vectors import CausalVectors

DICE = protocol("dice")
NUM_USERS, NUM_ITEMS = 60, 200


def counts(num_items: int = NUM_ITEMS) -> np.ndarray:
    """A long tail in no order of the index; the unknown item has none."""
    ranks = np.random.default_rng(9).permutation(num_items - 1)
    return np.r_[0, 1 + 4_000 // (1 + ranks)]


def deviations(popularity: np.ndarray) -> np.ndarray:
    logs = np.asarray([np.log(1 + count) for count in popularity])
    found = (logs - logs[1:].mean()) / np.sqrt(
        ((logs[1:] - logs[1:].mean()) ** 2).mean()
    )
    found[0] = 0
    return found


def summed(
    vectors: CausalVectors, weights: Mapping[str, float], shift: float = 0.0
) -> np.ndarray:
    """[num_users, num_items] float64: the score as a weighted sum over causes."""
    scores = [
        weights[cause]
        * np.einsum(
            "ud,id->ui",
            vectors.queries[:, 0, part].astype(np.float64),
            vectors.candidates[:, part].astype(np.float64),
        )
        for cause, part in vectors.causes.items()
    ]
    return sum(scores) + shift * deviations(counts(len(vectors.candidates)))


def best(scores: np.ndarray, k: int) -> list[set[int]]:
    """The k best known items of each user; the unknown user has none."""
    order = np.argsort(-scores[:, 1:], axis=1, kind="stable")[:, :k] + 1
    return [set(), *({int(item) for item in row} for row in order[1:])]


def case_of(vectors: CausalVectors, wanted: list[set[int]]) -> Case:
    positives = dict(enumerate(wanted))
    popularity = counts(len(vectors.candidates))
    return Case(vectors, positives, {}, popularity, len(vectors.queries))


def planted(weights: Mapping[str, float], shift: float = 0.0, k: int = 20) -> Case:
    """Everybody wants the k best items of these weights."""
    causes = dict.fromkeys(weights, 4)
    vectors = random_vectors(NUM_USERS, NUM_ITEMS, causes=causes)
    return case_of(vectors, best(summed(vectors, weights, shift), k))


def recall(found: list[set[int]], wanted: Mapping[int, set[int]]) -> float:
    users = [user for user, items in wanted.items() if items]
    return sum(len(found[u] & wanted[u]) / len(wanted[u]) for u in users) / len(users)


def test_shift_by_hand() -> None:
    # log(1 + count) = 0, log 2, 2 log 2: mean log 2, deviation log 2 * sqrt(2 / 3), so
    # that z = -1.2247, 0, 1.2247; times -2.
    vectors = random_vectors(3, 4, num_queries=2)
    shifted = vectors.shifted(np.asarray([50, 0, 1, 3]), -2.0)
    assert list(shifted.causes) == ["interest", "conformity", "popularity"]
    np.testing.assert_allclose(
        shifted.candidates[:, 8], [0, 2.4494897, 0, -2.4494897], atol=1e-6
    )
    assert (shifted.queries[:, :, 8] == 1).all()
    assert np.array_equal(shifted.queries[:, :, :8], vectors.queries)
    assert np.array_equal(shifted.candidates[:, :8], vectors.candidates)
    alike = vectors.shifted(np.asarray([0, 7, 7, 7]), 5.0)
    assert not alike.candidates[:, 8].any()


def test_shift_refuses() -> None:
    vectors = random_vectors(3, 4)
    popularity = np.asarray([0, 1, 2, 3])
    with pytest.raises(InputError, match="must not have a cause `popularity` already"):
        vectors.shifted(popularity, 1.0).shifted(popularity, 1.0)
    for wrong in (popularity[1:], -popularity, np.zeros(0, np.int64)):
        with pytest.raises(InputError, match="must be a count >= 0 for each of 4"):
            vectors.shifted(wrong, 1.0)
    for weight in (float("nan"), float("inf"), -3.4e38):
        with pytest.raises(InputError, match="of `popularity` must be finite"):
            vectors.shifted(popularity, weight)


def test_noise_gets_no_weight() -> None:
    # Interest lists exactly the wanted twenty items; conformity is noise, so large
    # that a thirty-second of it still outweighs interest.
    rng = np.random.default_rng(0)
    tastes = np.eye(10, dtype=np.float32)
    vectors = CausalVectors(
        np.concatenate(
            [tastes[np.arange(60) % 10], rng.normal(size=(60, 3)) * 100], axis=1
        ).astype(np.float32)[:, None],
        np.concatenate(
            [tastes[np.arange(201) % 10], rng.normal(size=(201, 3))], axis=1
        ).astype(np.float32),
        {"interest": slice(0, 10), "conformity": slice(10, 13)},
    )
    wanted = [
        {item for item in range(1, 201) if user and item % 10 == user % 10}
        for user in range(60)
    ]
    case = case_of(vectors, wanted)
    found = calibrate(vectors, case.against, DICE)
    assert found.weights == {"interest": 1.0, "conformity": 0.0}
    assert found.shift == 0.0
    assert found.value == 1.0
    assert found.as_trained["recall@20"] < 0.5


@pytest.mark.parametrize("weight", [0.0, 0.75, 1.0, 1.625])
def test_planted_weight_is_found(weight: float) -> None:
    case = planted({"interest": 1.0, "conformity": weight})
    found = calibrate(case.vectors, case.against, DICE)
    assert found.weights == {"interest": 1.0, "conformity": weight}
    assert (found.shift, found.value) == (0.0, 1.0)
    assert (found.metric, found.target, found.part) == ("recall@20", None, "validation")
    assert (found.protocol, found.protocol_hash) == ("dice", DICE.hash)
    assert found.num_users == NUM_USERS - 1


@pytest.mark.parametrize("shift", [-1.0, 2.0, 0.125])
def test_one_cause_gets_the_shift(shift: float) -> None:
    # Four normal coordinates spread a user's scores by 2, the unit of the grid.
    case = planted({"preference": 1.0}, shift)
    found = calibrate(case.vectors, case.against, DICE)
    assert found.weights == {"preference": 1.0}
    assert found.shift == shift
    assert found.value == 1.0
    before = recall(best(summed(case.vectors, {"preference": 1.0}), 20), case.positives)
    assert found.as_trained["recall@20"] == pytest.approx(before, abs=1e-12)
    assert before < 1


def test_several_causes_and_the_shift_by_hand() -> None:
    truth = {"interest": 1.0, "conformity": 0.25, "exposure": 1.75}
    case = planted(truth, -0.5, k=12)
    found = calibrate(case.vectors, case.against, DICE, metric="ndcg@20")
    assert found.value > found.as_trained["ndcg@20"] + 0.1
    assert found.weights["conformity"] < 0.6
    assert found.weights["exposure"] > 1.3
    assert found.shift < 0
    by_hand = best(summed(case.vectors, found.weights, found.shift), 20)
    applied = found.apply(case.vectors, case.popularity)
    metrics = evaluate(applied, case.against, DICE).metrics
    assert metrics == found.calibrated
    expected = recall(by_hand, case.positives)
    assert metrics["recall@20"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("weight", "norm_power"), [(1.0, 0.75), (0.5, 0.0), (1.0, 1.0)]
)
def test_planted_power_of_norms_is_found(weight: float, norm_power: float) -> None:
    weights = {"interest": 1.0, "conformity": weight}
    vectors = random_vectors(NUM_USERS, NUM_ITEMS, causes=dict.fromkeys(weights, 4))
    part = vectors.causes["interest"]
    # Long vectors are long by nothing that anybody wants.
    lengths = np.exp(np.random.default_rng(4).normal(size=(NUM_ITEMS, 1)))
    vectors.candidates[:, part] *= lengths.astype(np.float32)
    shortened = np.array(vectors.candidates, np.float64)
    norms = np.linalg.norm(shortened[:, part], axis=1, keepdims=True)
    mean = norms[1:].mean()
    shortened[:, part] /= (norms / mean) ** norm_power
    wanted = CausalVectors(
        vectors.queries, shortened.astype(np.float32), vectors.causes
    )
    case = case_of(vectors, best(summed(wanted, weights), 20))
    found = calibrate(case.vectors, case.against, DICE, norms=True)
    expected = {"interest": pytest.approx(mean**norm_power), "conformity": weight}
    assert (found.norm_power, found.weights) == (norm_power, expected)
    assert found.value == 1.0
    assert found.knobs() == {**expected, "shift": 0.0, "norm_power": norm_power}
    applied = found.apply(case.vectors, case.popularity)
    assert evaluate(applied, case.against, DICE).metrics == found.calibrated
    without = calibrate(case.vectors, case.against, DICE)
    assert without.norm_power is None
    assert "norm_power" not in without.knobs()
    assert (without.value < 1.0) == bool(norm_power)


def test_the_score_stays_the_sum_over_causes() -> None:
    case = random_case(5, num_queries=3)
    found = calibrate(case.vectors, case.against, DICE)
    applied = found.apply(case.vectors, case.popularity)
    assert list(applied.causes) == ["interest", "conformity", "popularity"]
    without = applied.weighted({"popularity": 0.0})
    weighted = case.vectors.weighted(found.weights)
    metrics = evaluate(without, case.against, DICE).metrics
    assert metrics == evaluate(weighted, case.against, DICE).metrics


def test_ties_keep_what_was_trained() -> None:
    vectors = random_vectors(12, 15)
    case = case_of(vectors, [set(), *([{1, 2, 14}] * 11)])
    found = calibrate(vectors, case.against, DICE)
    # All fourteen items are in every list.
    assert found.weights == {"interest": 1.0, "conformity": 1.0}
    assert (found.shift, found.value) == (0.0, 1.0)
    assert found.as_trained == found.calibrated


def test_a_larger_scale_changes_the_shift_alone() -> None:
    case = planted({"interest": 1.0, "conformity": 0.5}, -0.75)
    large = CausalVectors(
        case.vectors.queries * np.float32(8),
        case.vectors.candidates,
        case.vectors.causes,
    )
    found = calibrate(case.vectors, case.against, DICE)
    again = calibrate(large, case.against, DICE)
    assert again.weights == found.weights
    assert again.shift == 8 * found.shift != 0
    assert again.calibrated == found.calibrated


def test_a_cause_of_that_name_is_weighed_in_place_of_the_shift() -> None:
    case = planted({"interest": 1.0, "popularity": 0.5})
    found = calibrate(case.vectors, case.against, DICE)
    assert found.weights == {"interest": 1.0, "popularity": 0.5}
    assert (found.shift, found.value) == (0.0, 1.0)
    applied = found.apply(case.vectors, case.popularity)
    assert applied.causes == case.vectors.causes


def with_conformity_by_popularity() -> Case:
    """Interest at random; conformity is log-popularity, as much for everybody."""
    vectors = random_vectors(NUM_USERS, NUM_ITEMS, causes={"interest": 4})
    queries = np.ones((NUM_USERS, 1, 1), np.float32)
    pull = deviations(counts()).astype(np.float32)[:, None]
    vectors = CausalVectors(
        np.concatenate([vectors.queries, queries], axis=2),
        np.concatenate([vectors.candidates, pull], axis=1),
        {"interest": slice(0, 4), "conformity": slice(4, 5)},
    )
    return case_of(vectors, [set(), *([{1, 2}] * (NUM_USERS - 1))])


def mean_popularity(case: Case, weight: float, shift: float = 0.0) -> float:
    weights = {"interest": 1.0, "conformity": weight}
    lists = best(summed(case.vectors, weights, shift), 20)[1:]
    return float(np.mean([case.popularity[item] for row in lists for item in row]))


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_target_popularity_is_met_by_conformity(share: float) -> None:
    case = with_conformity_by_popularity()
    ends = mean_popularity(case, 0.0), mean_popularity(case, 2.0)
    target = ends[0] + share * (ends[1] - ends[0])
    found = calibrate(case.vectors, case.against, DICE, target_popularity=target)
    assert (found.metric, found.target) == ("popularity@20", target)
    assert found.value == pytest.approx(target, rel=0.01)
    weight = found.weights["conformity"]
    assert found.value == pytest.approx(mean_popularity(case, weight), abs=1e-9)
    assert 0 < weight < 2
    assert found.shift == 0.0
    assert mean_popularity(case, weight - 0.2) < target
    assert mean_popularity(case, weight + 0.2) > target


def test_target_popularity_beyond_conformity_is_met_by_the_shift() -> None:
    case = with_conformity_by_popularity()
    target = 0.5 * mean_popularity(case, 0.0)
    found = calibrate(case.vectors, case.against, DICE, target_popularity=target)
    assert found.weights == {"interest": 1.0, "conformity": 1.0}
    assert found.shift < 0
    assert found.value == pytest.approx(target, rel=0.02)
    assert found.value == pytest.approx(
        mean_popularity(case, 1.0, found.shift), abs=1e-9
    )


def test_target_popularity_out_of_reach_is_refused() -> None:
    case = with_conformity_by_popularity()
    # Nobody's list can hold more than the twenty most popular items.
    most = float(np.sort(case.popularity)[-20:].mean())
    for target in (most * 1.01, 0.5, float("nan")):
        with pytest.raises(InputError, match="`target_popularity` must lie between"):
            calibrate(case.vectors, case.against, DICE, target_popularity=target)
    target = 0.99 * most
    found = calibrate(case.vectors, case.against, DICE, target_popularity=target)
    assert found.value == pytest.approx(target, rel=0.01)


def test_trials_are_told_and_made_once() -> None:
    case = planted({"interest": 1.0, "conformity": 0.5})
    told: list[tuple[tuple[float, ...], float]] = []
    found = calibrate(
        case.vectors,
        case.against,
        DICE,
        report=lambda values, value: told.append((tuple(values.values()), value)),
    )
    tried = [values for values, _ in told]
    assert tried[0] == (1.0, 0.0)
    assert len(set(tried)) == len(tried)
    assert max(value for _, value in told) == found.value


def test_a_sample_of_users_is_always_the_same() -> None:
    case = random_case(2)
    some = calibrate(case.vectors, case.against, DICE, num_users=9)
    assert some == calibrate(case.vectors, case.against, DICE, num_users=9)
    assert some.num_users == 9
    everybody = replace(DICE, users="all")
    found = calibrate(case.vectors, case.against, everybody)
    applied = found.apply(case.vectors, case.popularity)
    expected = evaluate(applied, case.against, everybody)
    assert found.calibrated == pytest.approx(expected.metrics, abs=1e-12)
    assert found.num_users == expected.num_users == case.num_users - 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part": "test"}, "`split` must not be a test part; got test"),
        ({"part": "test_popular_30"}, "must not be a test part; got test_popular_30"),
        ({"part": "train"}, "must not be a part that was trained on"),
        ({"metric": "recal@20"}, "Did you mean `recall@20`"),
        ({"metric": "recall@10"}, "at one of these cut-offs: 20, 50; got recall@10"),
        ({"metric": "popularity@20"}, "Unknown metric"),
        (
            {"norms": True, "target_popularity": 5.0},
            "`norms` cannot go with `target_popularity`",
        ),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    case = random_case(0)
    with pytest.raises(InputError, match=message):
        calibrate(case.vectors, case.against, DICE, **options)


def test_nobody_to_rank_for_is_refused() -> None:
    case = random_case(0)
    nobody = Case(case.vectors, {}, {}, case.popularity, case.num_users)
    with pytest.raises(InputError, match="must have a user with a positive"):
        calibrate(case.vectors, nobody.against, DICE)


def test_it_is_kept_with_its_run_alone(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset")
    vectors = random_vectors(dataset.num_users, dataset.num_items)
    run = write_run(tmp_path / "run", dataset, vectors)
    with pytest.raises(InputError, match="must be there; it is not"):
        load_calibration(run)
    metrics = {"recall@20": 0.5}
    kept = Calibration(
        weights={"interest": 1.0, "conformity": 0.25},
        shift=-0.5,
        metric="recall@20",
        target=None,
        as_trained={"recall@20": 0.25},
        calibrated=metrics,
        part="validation",
        protocol="dice",
        protocol_hash=DICE.hash,
        num_users=7,
    )
    save_calibration(run, kept)
    assert load_calibration(run) == kept
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "calibration.json",
        "manifest.json",
        "metrics.json",
        "run.json",
        "vectors",
    ]
    save_calibration(run, replace(kept, shift=1.0, norm_power=0.5))
    assert load_calibration(run) == replace(kept, shift=1.0, norm_power=0.5)

    other = random_vectors(dataset.num_users, dataset.num_items, seed=1)
    again = write_run(tmp_path / "again", dataset, other)
    again.calibration_path.write_bytes(run.calibration_path.read_bytes())
    with pytest.raises(InputError, match="must be of this run"):
        load_calibration(again)
    content = json.loads(run.calibration_path.read_text())
    for spoilt in (
        "[",
        "[]",
        json.dumps(content | {"shift": "much"}),
        json.dumps(content | {"norm_power": "much"}),
        json.dumps({name: content[name] for name in content if name != "weights"}),
        json.dumps(content | {"more": 1}),
    ):
        run.calibration_path.write_text(spoilt)
        with pytest.raises(InputError, match="must be a calibration in JSON"):
            load_calibration(run)
