"""Metrics under every protocol, against the naive one."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation import naive
from tests.evaluation.cases import Case, random_case
from tfcausal.data.interactions import Interactions
from tfcausal.errors import InputError
from tfcausal.evaluation.evaluator import EvaluationSet, evaluate, weight_curve
from tfcausal.schema.protocol import EvaluationProtocol, protocol
from tfcausal.schema.vectors import CausalVectors

PROTOCOLS = {
    "dice": protocol("dice"),
    "dice, all users": replace(protocol("dice"), users="all"),
    "dccl": protocol("dccl"),
    "causerec": protocol("causerec"),
    "ideal of hits": replace(protocol("causerec"), ndcg_ideal="hits"),
    "cadvae": protocol("cadvae"),
    "long lists": replace(protocol("dice"), ks=(1, 3, 100, 400)),
}


def expected_metrics(
    case: Case, vectors: CausalVectors, chosen: EvaluationProtocol
) -> dict[str, float]:
    lists = naive.user_lists(
        vectors, case.masked, range(1, case.num_users), chosen.ks[-1]
    )
    with_positives = [user for user in lists if case.positives[user]]
    found: dict[str, float] = {}
    for k in chosen.ks:
        rows = []
        for user in lists:
            positives = case.positives[user]
            if chosen.average_over == "interactions":
                rows += [naive.accuracy(lists[user], {item}, k) for item in positives]
            elif positives or chosen.users == "all":
                rows.append(
                    naive.accuracy(
                        lists[user],
                        positives,
                        k,
                        recall_denominator=chosen.recall_denominator,
                        ndcg_ideal=chosen.ndcg_ideal,
                    )
                )
        means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        found |= dict(zip([f"recall@{k}", f"hr@{k}", f"ndcg@{k}"], means, strict=True))
        if chosen.legacy_ndcg:
            legacy = [
                naive.legacy_ndcg(lists[user], list(case.positives[user]), k)
                for user in with_positives
            ]
            found[f"legacy_ndcg@{k}"] = sum(legacy) / len(legacy)
        shown = [item for user in with_positives for item in lists[user][:k]]
        catalogue = range(1, len(case.popularity))
        found[f"coverage@{k}"] = len(set(shown)) / len(catalogue)
        found[f"popularity@{k}"] = sum(case.popularity[i] for i in shown) / len(shown)
        shares = [
            sum(
                (case.popularity[other] < case.popularity[item])
                + 0.5 * (case.popularity[other] == case.popularity[item])
                for other in catalogue
                if other != item
            )
            / (len(catalogue) - 1)
            for item in catalogue
        ]
        found[f"popularity_percentile@{k}"] = sum(shares[i - 1] for i in shown) / len(
            shown
        )
        popular = naive.user_lists(
            CausalVectors(
                np.ones((case.num_users, 1, 1), np.float32),
                case.popularity.astype(np.float32)[:, None],
                {"popularity": slice(0, 1)},
            ),
            case.masked,
            with_positives,
            k,
        )
        ious = [naive.iou(lists[user][:k], popular[user]) for user in with_positives]
        found[f"iou_itempop@{k}"] = sum(ious) / len(ious)
    return found


@pytest.mark.parametrize("name", PROTOCOLS)
def test_agrees_with_the_naive_protocol(name: str) -> None:
    chosen = PROTOCOLS[name]
    case = random_case(len(name), num_queries=1 + len(name) % 2)
    if not chosen.mask:
        case = Case(case.vectors, case.positives, {}, case.popularity, case.num_users)
    found = evaluate(case.vectors, case.against, chosen, causes=True)
    assert found.metrics == pytest.approx(
        expected_metrics(case, case.vectors, chosen), abs=1e-12
    )
    assert list(found.causes) == ["interest", "conformity"]
    for cause, metrics in found.causes.items():
        alone = expected_metrics(case, case.vectors.only(cause), chosen)
        assert metrics == pytest.approx(alone, abs=1e-12)
    with_positives = sum(bool(items) for items in case.positives.values())
    counted = case.num_users - 1 if chosen.users == "all" else with_positives
    assert found.num_users == counted
    assert (found.protocol, found.protocol_hash) == (chosen.name, chosen.hash)
    assert json.loads(json.dumps(found.to_json()))["metrics"] == found.metrics


def test_small_by_hand() -> None:
    # Items 1..4 score 4, 3, 2, 1; user 1 has seen 1 and wants 2 and 4.
    # List: 2, 3, 4; at k = 2 one hit at the first place.
    # DCG = 1, ideal = 1 + 1 / log2(3) = 1.6309.
    case = Case(
        CausalVectors(
            np.ones((2, 1, 1), np.float32),
            np.asarray([[9], [4], [3], [2], [1]], np.float32),
            {"preference": slice(0, 1)},
        ),
        {1: {2, 4}},
        {1: {1}},
        np.asarray([0, 7, 5, 3, 1]),
        2,
    )
    metrics = evaluate(
        case.vectors, case.against, replace(protocol("dice"), ks=(2,))
    ).metrics
    assert metrics == pytest.approx(
        {
            "recall@2": 0.5,
            "hr@2": 1.0,
            "ndcg@2": 1 / 1.6309297535714573,
            "coverage@2": 0.5,
            "popularity@2": 4.0,
            # Popularities 5 and 3 are 2/3 and 1/3 of the way.
            "popularity_percentile@2": 0.5,
        }
    )


def test_legacy_ndcg_by_hand() -> None:
    # Items 1..4 score 4, 3, 2, 1; the user meets 4, 3, 1, in this order, and 3 again.
    # At k = 2 the list is 1, 2, and the hit is the third target:
    # 1 / log2(4) = 0.5 over the ideal of one hit; standard 1 over 1 + 1 / log2(3).
    # At k = 3 the list is 1, 2, 3, and the hits are the third and the second target:
    # 0.5 + 1 / log2(3) over 1 + 1 / log2(3).
    vectors = CausalVectors(
        np.ones((2, 1, 1), np.float32),
        np.asarray([[9], [4], [3], [2], [1]], np.float32),
        {"preference": slice(0, 1)},
    )
    items = np.asarray([4, 3, 1, 3], np.int32)
    rows = Interactions(np.ones(4, np.int32), items, None, np.asarray([4]))
    against = EvaluationSet.from_interactions(rows, None, np.ones(5, np.int64), 2)
    metrics = evaluate(vectors, against, replace(protocol("causerec"), ks=(2, 3)))
    assert metrics.metrics["legacy_ndcg@2"] == pytest.approx(0.5)
    assert metrics.metrics["ndcg@2"] == pytest.approx(1 / 1.6309297535714573)
    assert metrics.metrics["legacy_ndcg@3"] == pytest.approx(
        1.1309297535714573 / 1.6309297535714573
    )
    assert metrics.metrics["recall@3"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("seed", range(3))
def test_legacy_ndcg_is_that_of_comirec(seed: int) -> None:
    case = random_case(seed)
    rng = np.random.default_rng(seed)
    # Targets in any order, some of them met again and again.
    targets = {
        user: rng.integers(1, 150, rng.integers(1, 30)).tolist() * int(1 + user % 3)
        for user in range(1, case.num_users, 2)
    }
    for met in targets.values():
        rng.shuffle(met)
    pairs = [(user, item) for user, met in targets.items() for item in met]
    # Users side by side in no order, as shards have them, each user's rows in his.
    pairs.sort(key=lambda pair: pair[0] * 7 % 31)
    users, items = np.asarray(pairs, np.int32).T
    against = EvaluationSet.from_interactions(
        Interactions(users, items, None, np.asarray([len(pairs)])),
        None,
        case.popularity,
        case.num_users,
    )
    chosen = replace(protocol("causerec"), ks=(5, 20, 50, 200))
    found = evaluate(case.vectors, against, chosen).metrics
    lists = naive.user_lists(case.vectors, {}, list(targets), 200)
    for k in chosen.ks:
        expected = [naive.legacy_ndcg(lists[u], targets[u], k) for u in targets]
        assert found[f"legacy_ndcg@{k}"] == pytest.approx(
            sum(expected) / len(expected), abs=1e-12
        )
        standard = [naive.accuracy(lists[u], set(targets[u]), k)[2] for u in targets]
        assert found[f"ndcg@{k}"] == pytest.approx(
            sum(standard) / len(standard), abs=1e-12
        )
    # All targets are in lists of the whole catalogue, so their order is perfect.
    assert found["legacy_ndcg@200"] == pytest.approx(1.0) != found["ndcg@200"]


def test_legacy_ndcg_is_of_its_protocol_alone() -> None:
    case = random_case(1)
    for name in ("dice", "dccl", "cadvae"):
        found = evaluate(case.vectors, case.against, protocol(name)).metrics
        assert not any(metric.startswith("legacy") for metric in found)


def test_chosen_users_are_averaged_over() -> None:
    case = random_case(7)
    some = np.asarray([1, 2, 5, 8], np.int32)  # user 1 has no positive
    only = {user: case.positives[int(user)] for user in some}
    smaller = Case(case.vectors, only, case.masked, case.popularity, case.num_users)
    for users, share in (("with_positives", 1.0), ("all", 3 / 4)):
        chosen = replace(protocol("dice"), users=users)
        found = evaluate(case.vectors, case.against, chosen, users=some).metrics
        expected = evaluate(smaller.vectors, smaller.against, protocol("dice")).metrics
        assert found["recall@20"] == pytest.approx(expected["recall@20"] * share)
        assert found["coverage@20"] == expected["coverage@20"]


def test_weights_intervene_on_causes() -> None:
    case = random_case(3)
    dice = protocol("dice")
    without = evaluate(
        case.vectors, case.against, dice, weights={"conformity": 0.0}, causes=True
    )
    assert without.metrics == without.causes["interest"]
    assert without.weights == {"conformity": 0.0}
    curve = weight_curve(
        case.vectors, case.against, dice, cause="conformity", weights=[0.0, 1.0, -1.0]
    )
    assert [point.pop("weight") for point in curve] == [0.0, 1.0, -1.0]
    plain = evaluate(case.vectors, case.against, dice, causes=True).metrics
    names = {name for name in plain if not name.startswith("iou")}
    assert curve[0] == {name: without.metrics[name] for name in names}
    assert curve[1] == {name: plain[name] for name in names}
    assert curve[2] != curve[1]


def test_refusals() -> None:
    case = random_case(0)
    with pytest.raises(InputError, match="ranks observed items only"):
        evaluate(case.vectors, case.against, protocol("dcr"))
    with pytest.raises(InputError, match="Did you mean `conformity`"):
        evaluate(
            case.vectors, case.against, protocol("dice"), weights={"conformty": 0.0}
        )
    with pytest.raises(InputError, match="must be finite"):
        evaluate(
            case.vectors,
            case.against,
            protocol("dice"),
            weights={"conformity": float("nan")},
        )
    nobody = Case(case.vectors, {}, {}, case.popularity, case.num_users)
    with pytest.raises(InputError, match="must have a user with a positive"):
        evaluate(nobody.vectors, nobody.against, protocol("dice"))
