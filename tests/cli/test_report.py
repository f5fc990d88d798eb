"""`tfcausal report`: a page of four causes, printed and refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands import output
from tests.datasets import write_dataset
from tests.reports.pages import read_data, shown
from tests.runs import random_vectors, write_run
from tfcausal.errors import InputError
from tfcausal.serving.client import load
from tfcausal.serving.export import export

CAUSES = {"interest": 4, "conformity": 2, "mood": 1, "weather": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    dataset = write_dataset(folder / "dataset")
    vectors = random_vectors(dataset.num_users, dataset.num_items, causes=CAUSES)
    return export(write_run(folder / "run", dataset, vectors), "dice", folder)


def test_many_causes_have_coarser_steps(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("an earlier page")
    asked = ("--model", model, "--user", "u7", "--user", "u3", "--k", 4)
    found: dict[str, Any] = json.loads(
        output("report", *asked, "--output", path, "--json")
    )
    assert found["causes"] == list(CAUSES)
    assert found["weights"] == [0, 0.5, 1, 1.5, 2]
    assert (found["report"], found["users"]) == (str(path), ["u7", "u3"])
    assert found["bytes"] == path.stat().st_size
    data = read_data(path)
    assert (data["k"], data["version"], len(data["items"])) == (4, "1", found["items"])
    recommender = load(model)
    for weights in (
        {},
        {"interest": 0.0, "mood": 2.0},
        {"conformity": 1.5, "weather": 0.5},
        {"interest": 2.0, "conformity": 0.0, "mood": 1.5, "weather": 0.0},
    ):
        expected = recommender.recommend("u3", 4, weights)
        assert [one.item_id for one in shown(data, 1, weights)] == [
            one.item_id for one in expected
        ]


def test_says_what_was_written(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    titles = tmp_path / "films.csv"
    lines = ["film,name", *(f"i{item},Film {item}" for item in range(1, 80))]
    titles.write_text("\n".join(lines))
    named = ("--items", titles, "--item_column", "film", "--title_column", "name")
    text = output("report", "--model", model.parent, "--output", path, "--k", 1, *named)
    assert text.startswith(f"{path}: 5 lists at 625 combinations of weights, ")
    for item in read_data(path)["items"]:
        assert item["title"] == f"Film {item['item_id'][1:]}"


def test_refuses(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    for arguments, message in (
        (["--output", tmp_path / "page.txt"], r"`--output` must end in \.html"),
        (["--output", path, "--title_column", "name"], "must go with --items"),
        (["--output", path, "--items", tmp_path], "`--items` must be a file"),
        (["--output", path, "--user", "nobody"], "`--user` must be one the model"),
        (["--output", path, "--history", "i1"], "whose users are histories"),
        (["--output", path, "--k", "0"], "`k` must be 1 to 100"),
    ):
        with pytest.raises(InputError, match=message):
            output("report", "--model", model, *arguments)
    with pytest.raises(InputError, match="must be an exported model"):
        output("report", "--model", tmp_path, "--output", path)
    assert not path.exists()
