"""The client: lists and explanations as the vectors have them, index or not."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.serving.served_histories import train_small
from tfcausal.data.interactions import CheckedDataset, read_part
from tfcausal.errors import InputError
from tfcausal.evaluation.pairs import pair_scores
from tfcausal.evaluation.ranking import ItemLists, rank_all
from tfcausal.schema.manifest import read_manifest
from tfcausal.serving.client import LeftOut, Recommender, load
from tfcausal.serving.export import export
from tfcausal.serving.index import build_index
from tfcausal.training.run import Run

import tensorflow as tf  # isort: skip

USER = 5


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, exported: Path) -> Path:
    version = tmp_path_factory.mktemp("models") / "dice" / "1"
    shutil.copytree(exported, version)
    return version


@pytest.fixture(scope="module", params=[False, True], ids=["model", "index"])
def recommender(request: pytest.FixtureRequest, model: Path) -> Recommender:
    if request.param:
        pytest.importorskip("scann")
        build_index(model, overwrite=True)
    return load(model, index=request.param)


@pytest.fixture(scope="module")
def history_model(
    tmp_path_factory: pytest.TempPathFactory, dataset: CheckedDataset
) -> Path:
    """A model of several queries whose users are histories."""
    folder = tmp_path_factory.mktemp("histories")
    run = train_small(dataset, "comirec", folder / "run", 1)
    return export(run, "comirec", folder)


@pytest.fixture(scope="module", params=[False, True], ids=["model", "index"])
def reader(request: pytest.FixtureRequest, history_model: Path) -> Recommender:
    if request.param:
        pytest.importorskip("scann")
        build_index(history_model, overwrite=True)
    return load(history_model, index=request.param)


def seen_by(dataset: CheckedDataset, user: int) -> set[str]:
    rows = read_part(dataset.folder, ["train", "train_intervened"])
    return {f"i{item}" for item in rows.items[rows.users == user]}


@pytest.mark.parametrize("weights", [{}, {"conformity": 0.0}, {"interest": -2.0}])
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_lists_are_those_of_full_ranking(
    recommender: Recommender,
    run: Run,
    dataset: CheckedDataset,
    weights: dict[str, float],
    exclude_seen: bool,
) -> None:
    vectors = run.vectors().weighted(weights)
    seen = read_part(dataset.folder, ["train", "train_intervened"])
    masked = (
        ItemLists.from_interactions(seen, dataset.num_users)
        if exclude_seen
        else ItemLists.empty(dataset.num_users)
    )
    (block,) = rank_all(vectors, np.asarray([USER], np.int32), masked, 20)
    found = recommender.recommend(f"u{USER}", 20, weights, exclude_seen=exclude_seen)
    assert [item for item, _, _ in found] == [f"i{item}" for item in block.items[0]]
    users = np.full(20, USER)
    scores, terms = pair_scores(vectors, users, block.items[0])
    np.testing.assert_allclose([one.score for one in found], scores, rtol=1e-4)
    for cause, expected in terms.items():
        shown = [one.causes[cause] for one in found]
        np.testing.assert_allclose(shown, expected, rtol=1e-3, atol=1e-4)


def test_exclusion(recommender: Recommender, dataset: CheckedDataset) -> None:
    usual = [item for item, _, _ in recommender.recommend(f"u{USER}", 70)]
    assert not set(usual) & seen_by(dataset, USER)
    rest = recommender.recommend(f"u{USER}", 70, exclude=[*usual[:9], "no such item"])
    assert [item for item, _, _ in rest] == usual[9:]
    assert recommender.recommend(f"u{USER}", 5, exclude=usual) == []


def test_lists_of_many_weightings(recommender: Recommender) -> None:
    weightings = [{}, {"conformity": 0}, {"interest": np.float64(-2)}]
    asker = recommender.user(f"u{USER}")
    assert recommender.knows(asker)
    for found, weights in zip(
        recommender.lists(asker, 9, weightings), weightings, strict=True
    ):
        alone = recommender.recommend(f"u{USER}", 9, weights)
        assert [one.item_id for one in found] == [one.item_id for one in alone]
        np.testing.assert_allclose(
            [one.score for one in found], [one.score for one in alone], rtol=1e-4
        )
    for wrong, message in (([{"x": 1.0}], "Unknown cause"), ([{}], "at least 1")):
        with pytest.raises(InputError, match=message):
            recommender.lists(asker, len(wrong[0]), wrong)


def test_terms_of_all_queries(recommender: Recommender, run: Run) -> None:
    items = ["i7", "i3", "i60"]
    found = recommender.terms(recommender.user(f"u{USER}"), items)
    vectors = run.vectors()
    assert list(found) == list(vectors.causes)
    for cause, part in vectors.causes.items():
        expected = (
            vectors.queries[USER][:, part] @ vectors.candidates[[7, 3, 60], part].T
        )
        np.testing.assert_allclose(found[cause], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="unknown: no such item"):
        recommender.terms(recommender.user(f"u{USER}"), ["no such item"])


def test_an_unknown_user_gets_what_is_popular(recommender: Recommender) -> None:
    assert not recommender.knows_user("nobody")
    found = recommender.recommend("nobody", 5)
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] >= 1
    assert {value for one in found for value in one.causes.values()} == {0.0}


def test_explains(recommender: Recommender) -> None:
    first = recommender.recommend(f"u{USER}", 1)[0]
    explained = recommender.explain(f"u{USER}", first.item_id)
    assert explained.score == pytest.approx(first.score, rel=1e-4)
    assert sum(explained.causes.values()) == pytest.approx(explained.score, rel=1e-4)
    assert list(explained.causes) == ["interest", "conformity"]


def test_refuses(recommender: Recommender) -> None:
    with pytest.raises(InputError, match="Did you mean `conformity`"):
        recommender.recommend("u1", 5, {"conformty": 0})
    for k in (0, -1):
        with pytest.raises(InputError, match="`k` must be at least 1"):
            recommender.recommend("u1", k)
    for weight in (float("nan"), float("inf"), 1e39):
        with pytest.raises(InputError, match="must be finite"):
            recommender.recommend("u1", 5, {"interest": weight})
    with pytest.raises(InputError, match="finite"):
        recommender.recommend("u1", 5, {"interest": 3e38})
    with pytest.raises(InputError, match="`user` must be one"):
        recommender.explain("nobody", "i1")
    with pytest.raises(InputError, match="unknown: no such item"):
        recommender.explain("u1", "no such item")


def test_takes_the_last_version(tmp_path: Path, model: Path) -> None:
    for version in ("2", "10"):
        shutil.copytree(model, tmp_path / version)
    (tmp_path / "10" / "saved_model.pb").unlink()
    with pytest.raises(OSError, match=r"10"):
        load(tmp_path)
    shutil.rmtree(tmp_path / "10")
    assert load(tmp_path).knows_user("u1")


def test_refuses_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be an exported model"):
        load(tmp_path)
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(InputError, match="must hold a finished result of kind export"):
        load(tmp_path)


def test_lists_what_came_into_the_index(tmp_path: Path, model: Path) -> None:
    pytest.importorskip("scann")
    version = shutil.copytree(model, tmp_path / "1")
    build_index(version, overwrite=True)
    recommender = load(version, index=True)
    assert recommender.index is not None
    first, second = recommender.recommend("u5", 2)
    best = 2 * recommender.index.snapshot().vectors([first.item_id])
    recommender.index.upsert(["new item"], best)
    recommender.index.delete([first.item_id])
    listed = recommender.recommend("u5", 2)
    assert [one.item_id for one in listed] == ["new item", second.item_id]
    assert listed[0].score == pytest.approx(2 * first.score, rel=1e-4)
    terms = {cause: 2 * term for cause, term in first.causes.items()}
    assert listed[0].causes == pytest.approx(terms, rel=1e-4)


def test_refuses_the_index_of_another_export(tmp_path: Path, model: Path) -> None:
    pytest.importorskip("scann")
    version = shutil.copytree(model, tmp_path / "1")
    with pytest.raises(InputError, match="must have an index to search through"):
        load(version, index=True)
    folder = build_index(version)
    path = folder / "manifest.json"
    fingerprint = read_manifest(version, kind="export").fingerprint
    path.write_text(path.read_text().replace(fingerprint, "0" * 64))
    with pytest.raises(InputError, match=r"inputs\.export must be"):
        load(version, index=True)


HISTORY = ["i5", "never seen", "i9", "i2"]


@pytest.mark.parametrize("weights", [{}, {"preference": -2.0}])
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_histories_get_what_the_signature_answers(
    reader: Recommender,
    history_model: Path,
    weights: dict[str, float],
    exclude_seen: bool,
) -> None:
    found = reader.recommend_history(
        HISTORY, 20, weights, ["i7", "?"], exclude_seen=exclude_seen
    )
    answer = tf.saved_model.load(str(history_model)).signatures["recommend_of_history"](
        history=tf.constant([HISTORY]),
        k=tf.constant(20),
        do=tf.constant([""]),
        preference_weight=tf.constant([weights.get("preference", 1.0)]),
        exclude_item_id=tf.constant([["i7"]]),
        allow_item_id=tf.constant([[""]]),
        exclude_seen=tf.constant(exclude_seen),
    )
    assert [one.item_id.encode() for one in found] == answer["item_id"][
        0
    ].numpy().tolist()
    scores = answer["score"][0].numpy()
    np.testing.assert_allclose([one.score for one in found], scores, rtol=1e-4)
    terms = [one.causes["preference"] for one in found]
    np.testing.assert_allclose(terms, scores, rtol=1e-4)


def test_the_items_of_a_history_are_left_out(reader: Recommender) -> None:
    listed = {one.item_id for one in reader.recommend_history(HISTORY, 100)}
    assert listed == {f"i{item}" for item in range(1, 80)} - set(HISTORY)
    found = reader.recommend_history(HISTORY, 100, exclude_seen=False)
    assert len({one.item_id for one in found}) == 79
    assert reader.recommend_history(HISTORY, 5, exclude=listed) == []


@pytest.mark.parametrize("history", [[], [""], ["never seen", "?"]])
def test_histories_of_nothing_known_get_what_is_popular(
    reader: Recommender, history: list[str]
) -> None:
    assert not reader.knows_history(history)
    assert reader.knows_history([*history, "i1"])
    found = reader.recommend_history(history, 5)
    assert found == reader.recommend("nobody", 5)
    with pytest.raises(InputError, match="`history` must have an item that the model"):
        reader.explain_history(history, "i1")


def test_explains_a_history(reader: Recommender) -> None:
    found = reader.explain_history(HISTORY, "i30")
    scores = {
        one.item_id: one.score
        for one in reader.recommend_history(HISTORY, 100, exclude_seen=False)
    }
    assert found.item_id == "i30"
    assert found.score == pytest.approx(scores["i30"], rel=1e-4)
    assert found.rank == 1 + list(scores).index("i30")
    assert [place.item_id for place in found.history] == HISTORY
    for number, place in enumerate(found.history):
        rest = [*HISTORY[:number], *HISTORY[number + 1 :]]
        again = reader.explain_history(rest, "i30")
        assert place.score_without == pytest.approx(again.score, rel=1e-5)
        assert place.rank_without == again.rank
    unknown = found.history[HISTORY.index("never seen")]
    assert unknown.score_without == pytest.approx(found.score, rel=1e-6)


def test_without_its_only_item_a_history_has_no_score(reader: Recommender) -> None:
    by_popularity = [one.item_id for one in reader.recommend("nobody", 79)]
    best = by_popularity[0]
    assert reader.explain_history(["i5"], best).history == [LeftOut("i5", None, 1)]
    (place, stranger) = reader.explain_history(["i5", "?"], best).history
    assert place == LeftOut("i5", None, 1)
    assert stranger.score_without is not None


def test_refuses_what_histories_may_not_ask(reader: Recommender) -> None:
    with pytest.raises(InputError, match="unknown: no such item"):
        reader.explain_history(["i1"], "no such item")
    with pytest.raises(InputError, match="`k` must be at least 1"):
        reader.recommend_history(["i1"], 0)
    with pytest.raises(InputError, match="Did you mean `preference`"):
        reader.recommend_history(["i1"], 5, {"preferences": 0})
    with pytest.raises(InputError, match="must be finite"):
        reader.recommend_history(["i1"], 5, {"preference": float("nan")})


def test_refuses_histories_where_users_are_ids(recommender: Recommender) -> None:
    for ask in (
        lambda: recommender.recommend_history(["i1"]),
        lambda: recommender.explain_history(["i1"], "i2"),
        lambda: recommender.knows_history(["i1"]),
    ):
        with pytest.raises(InputError, match="whose users are histories; the users of"):
            ask()


def test_who_is_unknown_gets_nothing_that_was_deleted(
    tmp_path: Path, model: Path
) -> None:
    pytest.importorskip("scann")
    version = shutil.copytree(model, tmp_path / "1")
    build_index(version)
    recommender = load(version, index=True)
    assert recommender.index is not None
    usual = [one.item_id for one in recommender.recommend("nobody", 5)]
    recommender.index.delete(usual[:2])
    rest = [one.item_id for one in recommender.recommend("nobody", 3)]
    assert rest == usual[2:]
