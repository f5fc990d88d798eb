"""The page's data are the model's own answers, at every position of the weights."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tests.reports.pages import read_data, shown
from tfcausal.data.interactions import CheckedDataset, read_part, read_popularity
from tfcausal.errors import InputError
from tfcausal.reports.html import write_page
from tfcausal.reports.model_page import model_page
from tfcausal.reports.titles import TitleFile
from tfcausal.serving.client import load
from tfcausal.stats.popularity import popularity_groups

STEPS = np.arange(0, 2.25, 0.25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A folder with the page of two users."""
    folder = tmp_path_factory.mktemp("pages")
    write_page(model_page(model, ["u5", "u80"], k=8), folder / "page.html")
    return folder


def test_every_position_is_what_the_model_answers(folder: Path, model: Path) -> None:
    data = read_data(folder / "page.html")
    assert data["weights"] == STEPS.tolist()
    recommender = load(model)
    for person, user in enumerate(("u5", "u80")):
        for interest, conformity in product(STEPS, repeat=2):
            weights = {"interest": interest, "conformity": conformity}
            found = shown(data, person, weights)
            expected = recommender.recommend(user, 8, weights)
            assert [one.item_id for one in found] == [one.item_id for one in expected]
            for ours, theirs in zip(found, expected, strict=True):
                assert ours.score == pytest.approx(theirs.score, rel=1e-5, abs=1e-5)
                assert ours.causes == pytest.approx(theirs.causes, rel=1e-5, abs=1e-5)


def test_equal_scores_go_to_the_first_items(
    folder: Path, dataset: CheckedDataset
) -> None:
    rows = read_part(dataset.folder, ["train", "train_intervened"])
    met = set(rows.items[rows.users == 5].tolist())
    rest = [f"i{item}" for item in range(1, dataset.num_items) if item not in met]
    data = read_data(folder / "page.html")
    found = shown(data, 0, {"interest": 0.0, "conformity": 0.0})
    assert [one.item_id for one in found] == rest[:8]
    assert {one.score for one in found} == {0.0}


def test_what_was_met_and_how_popular_it_is(
    folder: Path, dataset: CheckedDataset
) -> None:
    data = read_data(folder / "page.html")
    popularity = read_popularity(dataset)
    groups = popularity_groups(popularity, 3)
    for item in data["items"]:
        row = int(item["item_id"][1:])
        assert item["popularity"] == popularity[row]
        assert item["group"] == groups[row]
        assert item["title"] == ""
    rows = read_part(dataset.folder, ["train", "train_intervened"])
    met = [data["items"][place] for place in data["people"][0]["met"]]
    assert {item["item_id"] for item in met} == {
        f"i{item}" for item in rows.items[rows.users == 5]
    }
    counts = [item["popularity"] for item in met]
    assert counts == sorted(counts, reverse=True)


def test_profiles_of_all_items_and_all_interactions(
    folder: Path, dataset: CheckedDataset
) -> None:
    data = read_data(folder / "page.html")
    popularity = read_popularity(dataset)[1:]
    groups = popularity_groups(read_popularity(dataset), 3)[1:]
    assert data["groups"] == ["head", "middle", "tail"]
    catalogue, interactions = data["catalogue"], data["interactions"]
    assert catalogue["popularity"] == pytest.approx(popularity.mean())
    assert catalogue["shares"] == pytest.approx(
        [(groups == group).mean() for group in range(3)]
    )
    # An interaction's item is drawn by its popularity.
    total = popularity.sum()
    assert interactions["popularity"] == pytest.approx((popularity**2).sum() / total)
    assert interactions["shares"] == pytest.approx(
        [popularity[groups == group].sum() / total for group in range(3)]
    )


def test_nobody_named_is_some_users_evenly(model: Path) -> None:
    page = model_page(model, k=1)
    # u1 has nothing to be known by, and is in no part; 118 others are.
    assert [one.name for one in page.people] == ["u2", "u26", "u50", "u74", "u97"]
    assert {one.kind for one in page.people} == {"user"}
    assert (page.model, page.version, page.method) == ("dice", "1", "dice")
    assert not page.calibrated


def test_a_history_is_one_more_person(history_model: Path) -> None:
    history = ["i9", "never seen", "i4", "i9"]
    page = model_page(history_model, ["u5", "u5"], history, k=6)
    assert [(one.kind, one.name) for one in page.people] == [
        ("user", "u5"),
        ("history", ""),
    ]
    met = [page.items[place] for place in page.people[1].met]
    assert [item.item_id for item in met] == history
    assert (met[1].popularity, met[1].group) == (None, None)
    assert met[0].popularity is not None
    data = json.loads(json.dumps(page.to_json()))
    recommender = load(history_model)
    for weight in STEPS:
        weights = {"preference": float(weight)}
        expected = recommender.recommend_history(history, 6, weights)
        found = shown(data, 1, weights)
        assert [one.item_id for one in found] == [one.item_id for one in expected]
        assert [one.score for one in found] == pytest.approx(
            [one.score for one in expected], rel=1e-5, abs=1e-5
        )
    alone = model_page(history_model, history=history, k=6)
    assert [one.kind for one in alone.people] == ["history"]


def test_titles_are_shown(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    lines = [f"i{item},Film {item}" for item in range(1, 80) if item % 2]
    path.write_text("\n".join(["item_id,title", *lines]))
    page = model_page(model, ["u5"], titles=TitleFile(path, "item_id", "title"))
    for item in page.items:
        number = int(item.item_id[1:])
        assert item.title == (f"Film {number}" if number % 2 else "")


def test_refuses(model: Path, history_model: Path, tmp_path: Path) -> None:
    for k in (0, 101):
        with pytest.raises(InputError, match="`k` must be 1 to 100 on a page"):
            model_page(model, k=k)
    for user in ("nobody", "", "u1"):
        with pytest.raises(InputError, match="`--user` must be one the model was"):
            model_page(model, ["u5", user])
    with pytest.raises(InputError, match="whose users are histories"):
        model_page(model, history=["i1"])
    with pytest.raises(InputError, match="`--history` must have an item"):
        model_page(history_model, history=["never seen", ""])
    with pytest.raises(InputError, match="must be an exported model"):
        model_page(tmp_path)
