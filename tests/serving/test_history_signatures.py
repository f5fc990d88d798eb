"""Exported models that take histories: for whoever has met an item."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.datasets import write_dataset
from tests.serving.served_histories import (
    MAX_LENGTH,
    SHIFT,
    USERS,
    WEIGHT,
    Served,
    calibration,
    padded,
    train_small,
)
from tfcausal import methods
from tfcausal.data.interactions import (
    CheckedDataset,
    read_popularity,
)
from tfcausal.evaluation.ranking import ItemLists, rank_all
from tfcausal.methods.histories import HistoryMethod
from tfcausal.schema.vectors import CausalVectors
from tfcausal.serving.check_saved_model import DifferenceError, check
from tfcausal.serving.examples import serialized
from tfcausal.serving.export import export
from tfcausal.serving.history_answers import HistoryAnswers
from tfcausal.training.restored import load_model
from tfcausal.training.run import Run

import tensorflow as tf  # isort: skip

VARIANTS: list[tuple[str, dict[str, str]]] = [
    *(
        (name, {})
        for name in methods.names()
        if issubclass(methods.get(name), HistoryMethod)
    ),
    *(("causerec", {"level": level}) for level in ("none", "interest", "hierarchical")),
    ("comirec", {"extraction": "routing"}),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    return write_dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, dataset: CheckedDataset
) -> Mapping[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        name: train_small(dataset, name, folder / name, 4, **more)
        for name, more in (("causerec", {"level": "interest"}), ("comirec", {}))
    }


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory,
    dataset: CheckedDataset,
    runs: Mapping[str, Run],
) -> Mapping[str, Served]:
    """One query, several, and several calibrated; export compared all answers."""
    root = tmp_path_factory.mktemp("models")
    found = {}
    for name, run, chosen in (
        ("one", runs["causerec"], None),
        ("several", runs["comirec"], None),
        ("calibrated", runs["comirec"], calibration(WEIGHT, SHIFT)),
    ):
        version = export(run, name, root, calibration=chosen)
        vectors, factor = run.vectors(), 1.0
        if chosen is not None:
            vectors = chosen.apply(vectors, read_popularity(dataset))
            factor = WEIGHT
        method = load_model(run, dataset)
        assert isinstance(method, HistoryMethod)
        loaded = tf.saved_model.load(str(version))
        found[name] = Served(loaded, method, vectors, factor, dataset)
    return found


@pytest.fixture(params=["one", "several", "calibrated"])
def model(request: pytest.FixtureRequest, served: Mapping[str, Served]) -> Served:
    return served[request.param]


def test_the_models_are_of_one_query_and_of_several(
    served: Mapping[str, Served],
) -> None:
    assert served["one"].vectors.queries.shape[1:] == (1, 8)
    assert served["several"].vectors.queries.shape[1:] == (3, 8)
    assert served["calibrated"].vectors.queries.shape[1:] == (3, 8 + 1)
    assert min(map(len, served["one"].histories.values())) > MAX_LENGTH - 2
    assert max(map(len, served["one"].histories.values())) > MAX_LENGTH


def test_answers_are_those_of_the_method(model: Served) -> None:
    histories = list(model.histories.values())
    queries = np.stack([model.queries(history) for history in histories])
    embedding = model.call("user_embedding_of_history", history=padded(*histories))
    np.testing.assert_allclose(embedding["embedding"], queries, rtol=1e-4, atol=1e-6)
    assert embedding["known_history"].all()
    (block,) = rank_all(
        CausalVectors(queries, model.vectors.candidates, model.vectors.causes),
        np.arange(len(histories), dtype=np.int32),
        ItemLists.empty(len(histories)),
        10,
    )
    found = model.recommend(padded(*histories))
    items = [[f"i{item}" for item in row] for row in block.items.tolist()]
    assert [[item.decode() for item in row] for row in found["item_id"]] == items
    np.testing.assert_allclose(found["score"], block.scores, rtol=1e-4)
    assert found["count"].tolist() == [10] * len(histories)


def test_known_users_get_what_their_histories_get(model: Served) -> None:
    users = [f"u{user}" for user in USERS]
    wishes = model.wishes(len(users))
    by_id = model.call("recommend", user_id=users, **wishes)
    by_history = model.recommend(padded(*model.histories.values()))
    known = by_history.pop("known_history")
    assert by_id.pop("known_user").tolist() == known.tolist() == [True] * len(users)
    assert by_id.keys() == by_history.keys()
    assert by_id.pop("item_id").tolist() == by_history.pop("item_id").tolist()
    for name, values in by_id.items():
        np.testing.assert_allclose(by_history[name], values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "history",
    [
        ["", "i5", "i9", "i2"],
        ["i5", "", "", "i9", "never seen", "i2"],
        ["i5", "i9", "i2", "never seen", *[""] * 9],
        ["never seen"] * MAX_LENGTH + ["i5", "i9", "i2"] + ["?"] * MAX_LENGTH,
    ],
)
def test_pads_and_unknown_ids_change_nothing(
    model: Served, history: Sequence[str]
) -> None:
    plain = ["i5", "i9", "i2"]
    assert np.array_equal(model.embedding(history), model.embedding(plain))
    found, usual = model.recommend([history]), model.recommend([plain])
    for name, values in usual.items():
        assert np.array_equal(found[name], values), name


def test_the_last_known_items_count(model: Served) -> None:
    last = [f"i{item}" for item in (7, 3, 11, 30, 2)]
    usual = model.embedding(last)
    np.testing.assert_allclose(usual[0], model.queries(last), rtol=1e-4, atol=1e-6)
    for history in (
        ["i8", "i1", *last],
        ["i8", *last[:2], "", *last[2:], "never seen", "never seen"],
    ):
        assert np.array_equal(model.embedding(history), usual)
    assert not np.array_equal(model.embedding(["i8", *last[:-1]]), usual)


@pytest.mark.parametrize("history", [[""], ["", "never seen", ""], []])
def test_nothing_known_gets_what_is_popular(model: Served, history: list[str]) -> None:
    changed = {f"{cause}_weight": [2.0, 2.0] for cause in model.vectors.causes}
    found = model.recommend([history, history], **changed)
    assert not found["known_history"].any()
    popular = np.argsort(-model.counts[1:], kind="stable")[:10] + 1
    assert found["item_id"][1].tolist() == [f"i{item}".encode() for item in popular]
    assert found["score"][1].tolist() == model.counts[popular].tolist()
    for cause in model.vectors.causes:
        assert not found[f"score_{cause}"].any()


def test_exclude_seen_masks_all_that_is_given(model: Served) -> None:
    everything = [
        item for row in model.recommend([["i5"]], k=79)["item_id"] for item in row
    ]
    assert len(set(everything)) == 79
    history = [f"i{item}" for item in range(1, 13)]
    excluded = ["i20", "never seen"]
    found = model.recommend(
        [history, ["i5"] * 12, [""] * 12],
        k=79,
        exclude_seen=True,
        exclude_item_id=[excluded, ["", ""], ["", "i21"]],
    )
    shown = [set(row.tolist()) - {b""} for row in found["item_id"]]
    assert [len(items) for items in shown] == found["count"].tolist()
    assert set(everything) - shown[0] == {one.encode() for one in [*history, "i20"]}
    assert set(everything) - shown[1] == {b"i5"}
    assert set(everything) - shown[2] == {b"i21"}
    # The mask alone differs from a list with everything.
    kept = model.recommend([history], k=79)["item_id"][0].tolist()
    listed = found["item_id"][0, : found["count"][0]].tolist()
    assert listed == [item for item in kept if item in shown[0]]


def test_weights_intervene(model: Served) -> None:
    history = ["i5", "i9", "i2"]
    rows = padded(history, history, history)
    found = model.recommend(rows, preference_weight=[1.0, 0.0, 2.0])
    terms = found["score_preference"]
    assert terms[0].any()
    assert not terms[1].any()
    if "popularity" not in model.vectors.causes:
        assert found["item_id"][2].tolist() == found["item_id"][0].tolist()
        np.testing.assert_allclose(terms[2], 2 * terms[0], rtol=1e-5)
        return
    # What is left under do(preference = 0) is the shift along log-popularity.
    shift = model.vectors.candidates[:, -1]
    best = np.sort(shift[1:])[::-1][:10]
    np.testing.assert_allclose(found["score"][1], best, rtol=1e-5)
    np.testing.assert_allclose(found["score_popularity"][1], best, rtol=1e-5)


def test_a_calibrated_model_answers_calibrated(served: Mapping[str, Served]) -> None:
    history = ["i5", "i9", "i2"]
    (trained,) = served["several"].embedding(history)
    (found,) = served["calibrated"].embedding(history)
    np.testing.assert_allclose(found[:, :8], trained * WEIGHT, rtol=1e-5)
    assert (found[:, 8] == 1).all()
    usual = served["several"].recommend([history])
    calibrated = served["calibrated"].recommend([history])
    assert calibrated["item_id"].tolist() != usual["item_id"].tolist()
    np.testing.assert_allclose(
        calibrated["score"],
        calibrated["score_preference"] + calibrated["score_popularity"],
        rtol=1e-5,
    )
    logs = np.log1p(served["calibrated"].counts[1:])
    standard = (logs - logs.mean()) / logs.std()
    places = [int(item[1:]) - 1 for item in calibrated["item_id"][0]]
    np.testing.assert_allclose(
        calibrated["score_popularity"][0], SHIFT * standard[places], rtol=1e-4
    )
    # Without the shift the order is that of the model as trained.
    without = served["calibrated"].recommend([history], popularity_weight=[0.0])
    assert without["item_id"].tolist() == usual["item_id"].tolist()
    np.testing.assert_allclose(without["score"], usual["score"] * WEIGHT, rtol=1e-4)


def rank_of(item: int, scores: npt.NDArray[np.float64]) -> tuple[int, int]:
    """The lowest and the highest rank that rounding may give."""
    others = np.delete(scores, [0, item])
    margin = 1e-5 * np.abs(scores).max()
    return (
        1 + int((others > scores[item] + margin).sum()),
        1 + int((others > scores[item] - margin).sum()),
    )


def test_explains_by_encoding_again(model: Served) -> None:
    histories = [
        ["i5", "i9", "i2"],
        ["i5", "", "never seen", "i9"],
        ["i4", "i8", "i15", "i16", "i23", "i42", "i51"],
        ["i6", "i6"],
        ["i7"],
        ["never seen", ""],
    ]
    asked = [30, 9, 1, 6, 44, 12]
    found = model.call(
        "explain_history",
        history=padded(*histories),
        item_id=[f"i{item}" for item in asked],
    )
    assert found["known_history"].tolist() == [True] * 5 + [False]
    width = max(map(len, histories))
    for row, item in enumerate(asked):
        given = padded(*histories)[row]
        known = [one for one in given if one[:1] == "i"]
        scores = model.scores(known)
        assert found["score"][row] == pytest.approx(scores[item], rel=1e-4, abs=1e-6)
        least, most = rank_of(item, scores)
        assert least <= found["rank"][row] <= most
        for place in range(width):
            rest = [*given[:place], *given[place + 1 :]]
            rest = [one for one in rest if one[:1] == "i"]
            scores = model.scores(rest)
            assert found["score_without"][row, place] == pytest.approx(
                scores[item], rel=1e-4, abs=1e-6
            )
            least, most = rank_of(item, scores)
            assert least <= found["rank_without"][row, place] <= most
            assert found["known_without"][row, place] == bool(rest)
    # A place with nothing known, or one that is too long ago, changes nothing.
    for row, places in ((1, [1, 2, 4, 5, 6]), (2, [0, 1]), (5, range(width))):
        for place in places:
            assert found["score_without"][row, place] == pytest.approx(
                found["score"][row], rel=1e-6
            )
            assert found["rank_without"][row, place] == found["rank"][row]
    # The other places of the same rows do.
    assert abs(found["score_without"][2, 2:] - found["score"][2]).min() > 1e-6
    assert found["score_without"][4, 0] == model.counts[44]


def test_explains_known_users_as_ever(model: Served) -> None:
    items = [f"i{item}" for item in (1, 20, 40, 79)]
    by_id = model.call("explain", user_id=[f"u{user}" for user in USERS], item_id=items)
    histories = padded(*model.histories.values())
    found = model.call("explain_history", history=histories, item_id=items)
    np.testing.assert_allclose(found["score"], by_id["score"], rtol=1e-4, atol=1e-6)


def test_ranks_are_the_places_of_the_list(model: Served) -> None:
    history = ["i5", "i9", "i2"]
    found = model.recommend([history], k=79)
    assert len(set(found["score"][0].tolist())) == 79
    explained = model.call(
        "explain_history", history=[history] * 79, item_id=found["item_id"][0]
    )
    assert explained["rank"].tolist() == list(range(1, 80))
    shorter = model.recommend([history[1:]], k=79)["item_id"][0].tolist()
    assert explained["rank_without"][:, 0].tolist() == [
        shorter.index(item) + 1 for item in found["item_id"][0]
    ]


def test_examples_of_histories_ask_what_named_inputs_do(model: Served) -> None:
    histories = [["i3", "i9", ""], ["i7", "", ""], ["", "", ""]]
    cause = next(iter(model.vectors.causes))
    examples = [
        serialized({"history": ["i3", "i9"]}),
        serialized({"history": ["i7"], "allow_item_id": ["i7", "i8"]}),
        serialized({f"{cause}_weight": 0.5}),
    ]
    found = model.call("recommend_of_history_examples", examples=examples)
    named = model.recommend(
        histories,
        exclude_seen=True,
        allow_item_id=[["", ""], ["i7", "i8"], ["", ""]],
        **{f"{cause}_weight": [1.0, 1.0, 0.5]},
    )
    assert found["count"].tolist() == named["count"].tolist()
    assert found["count"][1] == 1
    for name, values in named.items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("name", ["recommend_of_history", "explain_history"])
def test_nobody_and_histories_without_places(model: Served, name: str) -> None:
    def answers(history: Any) -> dict[str, Any]:
        rows = len(history)
        if name == "explain_history":
            return model.call(name, history=history, item_id=["i3"] * rows)
        nothing = np.zeros((rows, 0), bytes)
        return model.recommend(
            history,
            exclude_item_id=nothing,
            allow_item_id=nothing,
            exclude_seen=True,
        )

    for width in (0, 3):
        found = answers(np.zeros((0, width), bytes))
        assert all(len(values) == 0 for values in found.values())
    found = answers(np.zeros((2, 0), bytes))
    assert found["known_history"].tolist() == [False, False]
    if name == "explain_history":
        assert found["score"].tolist() == [model.counts[3]] * 2
        assert found["score_without"].shape == found["rank_without"].shape == (2, 0)
        assert (
            found["rank"].tolist() == [1 + (model.counts > model.counts[3]).sum()] * 2
        )
    else:
        assert found["score"][0, 0] == model.counts.max()


def test_embeds_nobody(model: Served) -> None:
    for shape in ((0, 0), (0, 4), (2, 0)):
        found = model.call("user_embedding_of_history", history=np.zeros(shape, bytes))
        queries, dim = model.vectors.queries.shape[1:]
        assert found["embedding"].shape == (shape[0], queries, dim)
        assert np.isfinite(found["embedding"]).all()
        assert found["known_history"].tolist() == [False] * shape[0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"preference_weight": [1.0, np.nan]}, "`preference_weight` must be finite"),
        ({"preference_weight": [1.0, np.inf]}, "`preference_weight` must be finite"),
        ({"preference_weight": [1.0, 3e38]}, "Scores must stay finite"),
        ({"preference_weight": [1.0]}, "`preference_weight` must have a row for each "),
        ({"exclude_item_id": [[""]] * 3}, "must have a row for each history; rows:"),
        ({"k": 0}, "`k` must be at least 1"),
        ({"k": -3}, "`k` must be at least 1"),
    ],
)
def test_refuses_wishes(model: Served, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model.recommend([["i1", "i2"], ["i3", ""]], **changed)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["i1"], "`item_id` must have a row for each history; rows:"),
        (["i1", "never seen"], "`item_id` must be in the catalogue; unknown:"),
        (["i1", ""], "`item_id` must be in the catalogue; unknown:"),
    ],
)
def test_refuses_explanations(model: Served, items: list[str], message: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model.call("explain_history", history=[["i1"], ["i2"]], item_id=items)


@pytest.mark.parametrize(
    ("place", "name", "step"),
    [
        (0, "embedding", 0.01),
        (4, "score", 0.01),
        (5, "score_without", 0.01),
        (4, "rank", 1),
        (5, "rank_without", 1),
        (3, "known_history", 1),
        (5, "known_without", 1),
    ],
)
def test_answers_that_differ_are_found(
    model: Served, place: int, name: str, step: float
) -> None:
    case = model.cases()[place]
    check(model.loaded, case)
    values = np.asarray(case["expected"][name], np.float64)
    values.flat[-1] = abs(values.flat[-1] - step)
    wrong = {**case, "expected": {**case["expected"], name: values.tolist()}}
    with pytest.raises(DifferenceError, match=rf"^{name} is "):
        check(model.loaded, wrong)


def test_a_failed_verification_leaves_nothing(
    tmp_path: Path, runs: Mapping[str, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    true_cases = HistoryAnswers.cases

    def wrong_cases(*arguments: Any, **options: Any) -> Any:
        cases = true_cases(*arguments, **options)
        cases[-1]["expected"]["rank_without"][-1][0] += 1
        return cases

    monkeypatch.setattr(HistoryAnswers, "cases", wrong_cases)
    with pytest.raises(RuntimeError, match="explain_history: rank_without is"):
        export(runs["comirec"], "comirec", tmp_path)
    assert list((tmp_path / "comirec").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 9])
@pytest.mark.parametrize(("name", "changes"), VARIANTS)
def test_every_method_of_histories_is_exported(
    tmp_path: Path,
    dataset: CheckedDataset,
    name: str,
    changes: dict[str, str],
    length: int,
) -> None:
    more = {**changes, "max_length": length}
    run = train_small(dataset, name, tmp_path / "run", 1, **more)
    version = export(run, name, tmp_path, calibration=calibration(0.5, -0.5))
    signatures = tf.saved_model.load(str(version)).signatures
    nobody = tf.zeros([0, 3], tf.string)
    found = signatures["user_embedding_of_history"](history=nobody)
    assert found["embedding"].shape[0] == 0
    found = signatures["explain_history"](
        history=nobody, item_id=tf.zeros([0], tf.string)
    )
    assert found["score_without"].shape == (0, 3)
