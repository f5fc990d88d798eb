"""`tfcausal calibrate`, and what `evaluate` and `export` make of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands import output
from tests.datasets import write_dataset
from tests.runs import write_run
from tfcausal.data.interactions import CheckedDataset, read_part, read_popularity
from tfcausal.errors import InputError
from tfcausal.schema.manifest import read_manifest
from tfcausal.schema.vectors import CausalVectors
from tfcausal.serving.client import load
from tfcausal.training.run import load_run


def answer(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output(*arguments, "--json"))
    return found


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    return write_dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, dataset: CheckedDataset) -> Path:
    """Interest knows the planted groups; conformity is noise, a hundred times it."""
    rng = np.random.default_rng(0)
    groups = np.eye(4)
    users, items = np.arange(dataset.num_users), np.arange(dataset.num_items)
    queries = [groups[users % 4], 100 * rng.normal(size=(len(users), 3))]
    candidates = [groups[items % 4], rng.normal(size=(len(items), 3))]
    vectors = CausalVectors(
        np.concatenate(queries, axis=1).astype(np.float32)[:, None],
        np.concatenate(candidates, axis=1).astype(np.float32),
        {"interest": slice(0, 4), "conformity": slice(4, 7)},
    )
    folder = tmp_path_factory.mktemp("runs") / "run"
    return write_run(folder, dataset, vectors).folder


@pytest.fixture(scope="module")
def chosen(run: Path) -> dict[str, Any]:
    before = sorted(path.name for path in run.iterdir())
    found = answer("calibrate", "--run", run)
    after = sorted(path.name for path in run.iterdir())
    assert after == sorted([*before, "calibration.json"])
    return found


@pytest.fixture(scope="module")
def model(run: Path, chosen: dict[str, Any]) -> Path:
    root = run.parent / "saved_models"
    shown = answer("export", "--run", run, "--root", root, "--calibrated")
    assert shown["calibrated"]
    assert shown["causes"] == {
        "interest": [0, 4],
        "conformity": [4, 7],
        "popularity": [7, 8],
    }
    assert shown["model"] == str(root / "dice" / "1")
    return root / "dice"


def scores_by_hand(
    run: Path, dataset: CheckedDataset, chosen: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Cause to its weighted terms, [num_users, num_items]."""
    vectors = load_run(run).vectors()
    logs = np.log(1.0 + read_popularity(dataset))
    scaled = (logs - logs[1:].mean()) / logs[1:].std()
    terms = {
        cause: chosen["weights"][cause]
        * (vectors.queries[:, 0, part] @ vectors.candidates[:, part].T)
        for cause, part in vectors.causes.items()
    }
    shift = np.tile(chosen["shift"] * scaled, (dataset.num_users, 1))
    return terms | {"popularity": shift}


def lists_by_hand(
    scores: np.ndarray, dataset: CheckedDataset
) -> tuple[list[list[int]], list[set[int]]]:
    """Each user's items best first, without what training had; and that, by user."""
    seen: list[set[int]] = [set() for _ in range(dataset.num_users)]
    rows = read_part(dataset.folder, ["train", "train_intervened"])
    for user, item in zip(rows.users.tolist(), rows.items.tolist(), strict=True):
        seen[user].add(item)
    order = np.argsort(-scores[:, 1:], axis=1, kind="stable") + 1
    lists = [
        [item for item in row if item not in seen[user]]
        for user, row in enumerate(order.tolist())
    ]
    return lists, seen


def test_the_noise_gets_no_weight(chosen: dict[str, Any], run: Path) -> None:
    assert chosen["weights"] == {"interest": 1.0, "conformity": 0.0}
    assert chosen["calibrated"]["recall@20"] > chosen["as_trained"]["recall@20"] + 0.1
    assert (chosen["metric"], chosen["part"]) == ("recall@20", "validation")
    kept = json.loads((run / "calibration.json").read_text())
    assert kept["run"] == read_manifest(run, kind="run").fingerprint
    assert {name: chosen[name] for name in kept if name != "run"} == {
        name: kept[name] for name in kept if name != "run"
    }


def test_evaluate_applies_it_when_told(
    run: Path, dataset: CheckedDataset, chosen: dict[str, Any]
) -> None:
    asked = ("evaluate", "--run", run, "--split=validation")
    calibrated, plain = answer(*asked, "--calibrated"), answer(*asked)
    assert calibrated["metrics"] == pytest.approx(chosen["calibrated"], abs=1e-12)
    assert plain["metrics"] == pytest.approx(chosen["as_trained"], abs=1e-12)
    assert plain == answer(*asked, "--as_trained")
    assert calibrated["calibration"] == {
        "weights": chosen["weights"],
        "shift": chosen["shift"],
    }
    assert "calibration" not in plain
    kept = json.loads((run / "metrics.json").read_text())["evaluations"]
    labels = [label for label in kept if label.startswith("validation ")]
    assert sorted(label.endswith(" calibrated") for label in labels) == [False, True]


def test_the_shift_can_be_weighed_where_it_is_applied(
    run: Path, chosen: dict[str, Any], tmp_path: Path
) -> None:
    own = shutil.copytree(run, tmp_path / "run")
    kept = json.loads((own / "calibration.json").read_text())
    kept["weights"]["conformity"], kept["shift"] = 0.125, -2.5
    (own / "calibration.json").write_text(json.dumps(kept))
    asked = ("evaluate", "--run", own, "--weight=popularity=0")
    with pytest.raises(InputError, match=r"are interest, conformity.* Pass --calib"):
        output(*asked)
    # The title says what was applied before --weight.
    title = "calibrated (conformity=0.125, interest=1, shift=-2.5)"
    text = " ".join(output(*asked, "--calibrated").split())
    assert title in text
    assert "score popularity=0" in text
    shifted = answer("evaluate", "--run", own, "--calibrated")["metrics"]
    assert answer(*asked, "--calibrated")["metrics"] != shifted
    shown = " ".join(output("diagnose", "--run", own, "--calibrated").split())
    assert title in shown
    assert "calibrated" not in output("diagnose", "--run", own)


def test_the_metric_on_test_is_that_by_hand(
    run: Path, dataset: CheckedDataset, chosen: dict[str, Any]
) -> None:
    found = answer("evaluate", "--run", run, "--calibrated", "--causes")
    # Conformity has weight 0 and the shift is 0: neither ranks anything.
    assert (chosen["weights"]["conformity"], chosen["shift"]) == (0.0, 0.0)
    assert list(found["causes"]) == ["interest"]
    scores = sum(scores_by_hand(run, dataset, chosen).values())
    lists, _ = lists_by_hand(scores, dataset)
    rows = read_part(dataset.folder, ["test"])
    wanted: dict[int, set[int]] = {}
    for user, item in zip(rows.users.tolist(), rows.items.tolist(), strict=True):
        wanted.setdefault(user, set()).add(item)
    recall = [
        len(set(lists[user][:20]) & items) / len(items)
        for user, items in wanted.items()
    ]
    assert found["metrics"]["recall@20"] == pytest.approx(np.mean(recall), abs=1e-9)


def test_a_table_of_before_and_after(run: Path, chosen: dict[str, Any]) -> None:
    text = output("calibrate", "--run", run, "--metric=ndcg@5", "--k=5")
    assert "ndcg@5 as large as possible" in " ".join(text.split())
    assert "weight of conformity" in text
    assert "shift along log-popularity" in text
    assert "calibrated" in text
    assert "as trained" in text
    # The same call again gives the same choice, in place of the other one.
    assert answer("calibrate", "--run", run) == chosen


def test_norms_are_chosen_applied_and_exported(tmp_path: Path, run: Path) -> None:
    own = shutil.copytree(run, tmp_path / "run")
    text = " ".join(output("calibrate", "--run", own, "--norms").split())
    assert "power of norms of interest" in text
    found = answer("calibrate", "--run", own, "--norms")
    assert (
        found["norm_power"]
        == json.loads((own / "calibration.json").read_text())["norm_power"]
    )
    # Interest is one of four unit vectors: their norms say nothing.
    assert found["norm_power"] == 0.0
    content = json.loads((own / "calibration.json").read_text())
    (own / "calibration.json").write_text(json.dumps(content | {"norm_power": 0.5}))
    shown = output("evaluate", "--run", own, "--calibrated")
    assert "norm_power=0.5" in " ".join(shown.split())
    answer("export", "--run", own, "--root", tmp_path / "models", "--calibrated")
    model = tmp_path / "models" / "dice" / "1"
    manifest = read_manifest(model, kind="export")
    assert manifest.details["calibration"]["norm_power"] == 0.5
    assert "as_trained" not in manifest.details["presets"]
    card = (model / "assets.extra" / "model_card.md").read_text()
    assert (
        "of the first cause are divided by their norm to the power of 0.5"
        in " ".join(card.split())
    )
    with pytest.raises(InputError, match="`norms` cannot go with `target_popularity`"):
        output("calibrate", "--run", own, "--norms", "--target_popularity=5")


def test_the_default_metric_follows_the_cut_offs(tmp_path: Path, run: Path) -> None:
    own = shutil.copytree(run, tmp_path / "run")
    found = answer("calibrate", "--run", own, "--k=5", "--k=10")
    assert found["metric"] == "recall@5"
    assert {name.partition("@")[2] for name in found["calibrated"]} == {"5", "10"}
    target = found["as_trained"]["popularity@5"] * 1.2
    asked = ("calibrate", "--run", own, "--k=5", "--target_popularity", target)
    assert answer(*asked)["metric"] == "popularity@5"


def test_a_metric_at_another_cut_off_is_refused_first(tmp_path: Path) -> None:
    # Before the run is looked at: there is none.
    asked = ("calibrate", "--run", tmp_path / "none", "--k=10", "--metric=recall@20")
    with pytest.raises(InputError, match="one of these cut-offs: 10; got recall@20"):
        output(*asked)


def test_a_target_popularity(tmp_path: Path, run: Path) -> None:
    own = shutil.copytree(run, tmp_path / "run")
    plain = answer("evaluate", "--run", own, "--split=validation")
    target = plain["metrics"]["popularity@20"] * 1.2
    found = answer("calibrate", "--run", own, "--target_popularity", target)
    assert found["target"] == target
    assert found["metric"] == "popularity@20"
    assert found["calibrated"]["popularity@20"] == pytest.approx(target, rel=0.03)


def test_an_export_must_say_which_vectors_it_takes(
    run: Path, tmp_path: Path, chosen: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="Pass --calibrated or --as_trained"):
        output("export", "--run", run, "--root", tmp_path)
    bare = shutil.copytree(run, tmp_path / "bare")
    (bare / "calibration.json").unlink()
    with pytest.raises(InputError, match="must be there; it is not"):
        output("export", "--run", bare, "--root", tmp_path, "--calibrated")
    with pytest.raises(InputError, match="must be there; it is not"):
        output("evaluate", "--run", bare, "--calibrated")


def test_an_export_answers_with_the_calibrated_vectors(
    run: Path, dataset: CheckedDataset, chosen: dict[str, Any], model: Path
) -> None:
    manifest = read_manifest(model / "1", kind="export")
    assert manifest.details["calibration"]["weights"] == chosen["weights"]
    assert manifest.details["calibration"]["shift"] == chosen["shift"]
    terms = scores_by_hand(run, dataset, chosen)
    lists, _ = lists_by_hand(sum(terms.values()), dataset)
    answers = load(model)
    for user in (1, 2, 7, 50):
        found = answers.recommend(f"u{user}", 10)
        items = [int(one.item_id[1:]) for one in found]
        by_hand = sum(terms.values())[user]
        # Equal scores may change places.
        np.testing.assert_allclose(
            by_hand[items], by_hand[lists[user][:10]], rtol=1e-5, atol=1e-5
        )
        for one, item in zip(found, items, strict=True):
            expected = {cause: values[user, item] for cause, values in terms.items()}
            assert one.causes == pytest.approx(expected, rel=1e-4, abs=1e-5)
            assert one.score == pytest.approx(sum(expected.values()), rel=1e-4)
    doubled = answers.recommend("u7", 10, {"popularity": 2.0})
    scores = sum(terms.values()) + terms["popularity"]
    lists, _ = lists_by_hand(scores, dataset)
    items = [int(one.item_id[1:]) for one in doubled]
    np.testing.assert_allclose(
        scores[7, items], scores[7, lists[7][:10]], rtol=1e-5, atol=1e-5
    )
    shown = answer("explain", "--model", model, "--user", "u7", "--item", "i3")
    assert shown["causes"]["popularity"] == pytest.approx(
        terms["popularity"][7, 3], rel=1e-4, abs=1e-6
    )


def test_the_index_follows(model: Path) -> None:
    pytest.importorskip("scann")
    built = answer("index", "--model", model)
    assert {"popularity=0", "popularity=2"} <= set(built["recall"])
    asked = ("recommend", "--model", model, "--user", "u3", "--weight", "popularity=2")
    scores = [
        [item["score"] for item in answer(*asked, *more)["items"]]
        for more in ((), ("--index",))
    ]
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split=test"], "`split` must not be a test part"),
        (["--split=train_intervened"], "must not be a part that was trained on"),
        (["--split=validation_fold_in"], "must hold the part"),
        (["--metric=recal@20"], "Did you mean `recall@20`"),
        (["--target_popularity=1e9"], "`target_popularity` must lie between"),
        (["--protocol=dcr", "--metric=recall@5"], "ranks observed items only"),
    ],
)
def test_refuses(
    run: Path, chosen: dict[str, Any], arguments: list[str], message: str
) -> None:
    before = (run / "calibration.json").read_bytes()
    with pytest.raises(InputError, match=message):
        output("calibrate", "--run", run, *arguments)
    assert (run / "calibration.json").read_bytes() == before


def test_refuses_another_split_and_half_a_run(run: Path, tmp_path: Path) -> None:
    other = write_dataset(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="splits"):
        output("calibrate", "--run", run, "--dataset", other.folder.root)
    with pytest.raises(InputError, match="must be a finished run"):
        output("calibrate", "--run", tmp_path)
