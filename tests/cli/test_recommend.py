"""`tfcausal export`, `index`, `recommend` and `explain`, one after the other."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.commands import output
from tests.datasets import write_dataset
from tests.runs import random_vectors, write_run
from tests.serving.served_histories import train_small
from tfcausal.cli import commands
from tfcausal.errors import InputError
from tfcausal.schema.manifest import read_manifest
from tfcausal.training.run import load_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    dataset = write_dataset(folder / "dataset")
    vectors = random_vectors(dataset.num_users, dataset.num_items)
    return write_run(folder / "run", dataset, vectors).folder


@pytest.fixture(scope="module")
def model(run: Path) -> Path:
    root = run.parent / "saved_models"
    shown = json.loads(output("export", "--run", run, "--root", root, "--json"))
    assert shown["model"] == str(root / "dice" / "1")
    assert shown["causes"] == {"interest": [0, 5], "conformity": [5, 8]}
    return root / "dice"


@pytest.fixture(scope="module")
def history_model(run: Path) -> Path:
    """A model whose users are histories."""
    dataset = load_run(run).open_dataset()
    folder = run.parent / "histories"
    trained = train_small(dataset, "youtube_dnn", folder / "run", 1)
    output("export", "--run", trained.folder, "--root", folder)
    return folder / "youtube_dnn"


def recommended(model: Path, *arguments: object) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(
        output("recommend", "--model", model, "--user", "u3", "--json", *arguments)
    )
    return shown


def items(shown: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in shown["items"]]


def test_recommends(model: Path) -> None:
    usual = recommended(model, "--k", 4)
    assert usual["known_user"]
    assert len(usual["items"]) == 4
    for item in usual["items"]:
        assert sum(item["causes"].values()) == pytest.approx(item["score"], rel=1e-5)
    rest = recommended(model, "--k", 3, "--exclude", items(usual)[0])
    assert items(rest) == items(usual)[1:]


def test_weights_intervene(model: Path) -> None:
    shown = recommended(model, "--weight", "conformity=0")
    assert shown["weights"] == {"conformity": 0.0}
    assert {item["causes"]["conformity"] for item in shown["items"]} == {0.0}
    assert items(shown) != items(recommended(model))


def test_seen_items_come_back_when_told(model: Path) -> None:
    without, everything = (
        recommended(model, "--k", 100),
        recommended(model, "--k", 100, "--include_seen"),
    )
    assert set(items(without)) < set(items(everything))
    assert len(items(everything)) == 79


def test_prints_a_table(model: Path) -> None:
    text = output("recommend", "--model", model, "--user", "u3", "--k", "2")
    assert "interest" in text
    assert "conformity" in text
    text = output("recommend", "--model", model, "--user", "[bold]nobody", "--k", "2")
    assert "[bold]nobody" in text
    assert "unknown" in text


def test_explains(model: Path) -> None:
    first = recommended(model, "--k", 1)["items"][0]
    asked = ("explain", "--model", model / "1", "--user", "u3", "--item")
    shown = json.loads(output(*asked, first["item_id"], "--json"))
    assert shown["user"] == "u3"
    assert shown["score"] == pytest.approx(first["score"], rel=1e-5)
    assert shown["causes"] == pytest.approx(first["causes"], rel=1e-4)
    assert "conformity" in output(*asked, first["item_id"])


def test_searches_through_the_index(model: Path) -> None:
    pytest.importorskip("scann")
    with pytest.raises(InputError, match="must have an index to search through"):
        recommended(model, "--index")
    shown = json.loads(output("index", "--model", model, "--json"))
    assert shown["index"] == str(model / "1-scann")
    assert min(shown["recall"].values()) >= 0.95
    assert "recall@50" in output("index", "--model", model, "--k", "50", "--overwrite")
    assert items(recommended(model, "--index")) == items(recommended(model))


def test_writes_the_frozen_index_beside(model: Path) -> None:
    pytest.importorskip("scann")
    arguments = ("index", "--model", model, "--frozen", "--overwrite")
    shown = json.loads(output(*arguments, "--json", "--ignore_memory"))
    frozen = Path(shown["frozen"])
    assert frozen == model.parent / f"{model.name}-scann" / "1"
    assert read_manifest(frozen, kind="frozen_index").counts == {
        "items": shown["items"]
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--k=0"], "`k` must be at least 1"),
        (["--k=-1"], "`k` must be at least 1"),
        (["--weight=conformty=0"], "Did you mean `conformity`"),
        (["--weight=conformity"], "must be cause=number"),
        (["--weight=conformity=nan"], "must be finite"),
        (["--model=nowhere"], "must be an exported model"),
    ],
)
def test_refuses(model: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        recommended(model, *arguments)


def test_explain_refuses_strangers(model: Path) -> None:
    for user, item, message in (("u3", "x", "unknown: x"), ("x", "i1", "`user` must")):
        with pytest.raises(InputError, match=message):
            output("explain", "--model", model, "--user", user, "--item", item)


HISTORY = ("--history", "i4", "--history", "a, b", "--history", "i9")


def test_recommends_after_a_history(history_model: Path) -> None:
    asked = ("recommend", "--model", history_model, "--k", 75, *HISTORY)
    shown = json.loads(output(*asked, "--json"))
    assert shown["history"] == ["i4", "a, b", "i9"]
    assert shown["known_history"]
    assert not {"i4", "i9"} & set(items(shown))
    again = json.loads(output(*asked, "--include_seen", "--json"))
    kept = [item for item in items(again) if item not in {"i4", "i9"}]
    assert kept == items(shown)[: len(kept)]
    text = output(*asked)
    assert "history i4, a, b, i9" in text
    assert "preference" in text
    assert "unknown" not in text
    nothing = ("recommend", "--model", history_model, "--history", "?")
    assert "unknown" in output(*nothing)
    assert not json.loads(output(*nothing, "--json"))["known_history"]


def test_explains_a_history(history_model: Path) -> None:
    asked = ("explain", "--model", history_model, *HISTORY, "--item", "i30")
    shown = json.loads(output(*asked, "--json"))
    assert shown["item_id"] == "i30"
    assert [place["item_id"] for place in shown["history"]] == ["i4", "a, b", "i9"]
    assert {len(place) for place in shown["history"]} == {3}
    rows = [line.split() for line in output(*asked).splitlines()]
    table = {row[1]: row[3::2] for row in rows if len(row) > 7}
    first = shown["history"][0]
    assert table["i4"] == [
        f"{first['score_without']:.4f}",
        f"{first['score_without'] - shown['score']:+.4f}",
        str(first["rank_without"]),
    ]
    only = ("explain", "--model", history_model, "--history", "i4", "--item", "i30")
    (place,) = json.loads(output(*only, "--json"))["history"]
    assert place["score_without"] is None
    assert place["rank_without"] >= 1
    assert "nothing" in output(*only)


def test_a_user_or_a_history_asks(model: Path, history_model: Path) -> None:
    for verb in (["recommend"], ["explain", "--item", "i1"]):
        for asked, got in (((), "neither"), (("--user", "u3", *HISTORY), "both")):
            with pytest.raises(InputError, match=f"must be given; got {got}"):
                output(*verb, "--model", history_model, *asked)
        with pytest.raises(InputError, match="whose users are histories"):
            output(*verb, "--model", model, *HISTORY)
    shown = json.loads(
        output("recommend", "--model", history_model, "--user", "", "--json")
    )
    assert shown["user"] == ""


def test_export_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a finished run"):
        output("export", "--run", tmp_path)


def test_presets_stand_for_weights(model: Path) -> None:
    shown = recommended(model, "--do", "interest_only")
    by_weight = recommended(model, "--weight", "conformity=0")
    assert shown["items"] == by_weight["items"]
    assert shown["do"] == "interest_only"
    assert shown["applied_weights"] == {"interest": 1.0, "conformity": 0.0}
    with pytest.raises(InputError, match="Unknown do `interest`"):
        recommended(model, "--do", "interest")


def test_lists_are_made_of_what_is_allowed(model: Path) -> None:
    some = items(recommended(model))[3:6]
    flags = [part for item in (*some, "typo") for part in ("--allow", item)]
    shown = CliRunner().invoke(
        commands,
        ["recommend", "--model", str(model), "--user", "u3", "--json", *flags],
        catch_exceptions=False,
    )
    assert items(json.loads(shown.stdout)) == some
    assert "--allow: unknown to the model: typo" in shown.stderr
