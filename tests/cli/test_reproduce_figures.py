"""`tfcausal reproduce` over an axis: splits, test parts, lengths of lists, options."""

import csv
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from beam_jobs.popularity import PopularityOptions
from beam_jobs.popularity import run as popularity
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from tests.beam_jobs.raw import raw_rows, write_csv
from tests.commands import output
from tests.datasets import write_dataset
from tfcausal.data.interactions import CheckedDataset, open_dataset, read_part
from tfcausal.errors import InputError
from tfcausal.evaluation.evaluator import evaluate
from tfcausal.evaluation.validation import evaluation_set
from tfcausal.schema.protocol import protocol
from tfcausal.training.run import load_run

LOCAL = PipelineOptions(["--runner=local"])
BUDGET = ("--trials=1", "--seeds=1", "--epochs=1", "--set", "batch_size=128")
SMALL = ("--set", "min_pool=4", "--set", "margin=5")
PNG = b"\x89PNG"


def made(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output("reproduce", *arguments, "--json"))
    return found


def at(found: dict[str, Any], metric: str) -> dict[str, dict[float, float]]:
    """Returns the values of each line by point."""
    lines: dict[str, dict[float, float]] = {}
    for row in found["rows"]:
        lines.setdefault(row["name"], {})[row["point"]] = row["mean"][metric]
    return lines


def cells(text: str, name: str, metric: str) -> list[str]:
    """Returns the cells of one line in the document's table of a metric."""
    (table,) = re.findall(rf"^`{metric}`:\n\n(.*?)\n\n", text, re.M | re.S)
    (line,) = re.findall(rf"^\| {name} \| (.*) \|$", table, re.M)
    return str(line).split(" | ")


def finished(runs: Path) -> set[str]:
    return {path.parent.name for path in runs.glob("*/manifest.json")}


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ingested")
    raw = write_csv(place / "raw.csv", raw_rows())
    ingest(IngestOptions(str(raw), "csv", place / "dataset"), LOCAL)
    return place / "dataset"


@pytest.fixture(scope="module")
def splits(ingested: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Copies of one data set, split as docs/reproduce.md says."""
    place = tmp_path_factory.mktemp("splits")
    found = {}
    for name, options in (
        ("cap-50", {"rule": "intervened", "cap_percentile": 50.0}),
        ("cap-90", {"rule": "intervened"}),
        ("share-0", {"rule": "intervened", "intervened_training_fraction": 0.0}),
        ("popular", {"rule": "popular_share", "popular_shares": (0.6, 0.3)}),
        ("seed", {"rule": "intervened", "cap_percentile": 70.0, "seed": 1}),
    ):
        found[name] = Path(shutil.copytree(ingested, place / name))
        split(SplitOptions(found[name], **options), LOCAL)
        popularity(PopularityOptions(found[name]), LOCAL)
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def of(splits: dict[str, Path], *names: str) -> list[str]:
    return [f"--dataset={splits[name]}" for name in names]


def test_a_split_is_a_point(
    splits: dict[str, Path], runs: Path, tmp_path: Path
) -> None:
    call = (
        "dice-figure6",
        *of(splits, "cap-90", "cap-50"),
        f"--runs={runs}",
        *BUDGET,
        "--row=mf",
        "--row=ips-cnsr",
    )
    found = made(*call, f"--output={tmp_path}", f"--plot={tmp_path / 'lines.png'}")
    assert found["axis"] == "cap_percentile"
    assert len(finished(runs)) == 4
    dice = protocol("dice")
    text = (tmp_path / "dice-figure6.md").read_text()
    assert "Data sets `cap-90`, `cap-50`" in text
    assert f"--dataset {splits['cap-90']} --dataset {splits['cap-50']}" in text
    with (tmp_path / "dice-figure6.csv").open() as file:
        kept = {
            (line["row"], line["point"], line["metric"]): float(line["mean"])
            for line in csv.DictReader(file)
        }
    for row in found["rows"]:
        vectors = load_run(runs / row["runs"][0]).vectors()
        dataset = open_dataset(splits[f"cap-{row['point']:g}"])
        metrics = evaluate(vectors, evaluation_set(dataset, "test", dice), dice).metrics
        for metric in ("recall@20", "ndcg@20"):
            assert row["mean"][metric] == metrics[metric]
            assert kept[row["name"], str(row["point"]), metric] == metrics[metric]
            # Caps ascend in the document, in whatever order they are given.
            place = [50.0, 90.0].index(row["point"])
            assert cells(text, row["name"], metric)[place] == f"{metrics[metric]:.4f}"
    assert [(row["name"], row["point"]) for row in found["rows"]] == [
        ("mf", 90.0),
        ("ips-cnsr", 90.0),
        ("mf", 50.0),
        ("ips-cnsr", 50.0),
    ]
    assert "| ips-cnsr, cap_percentile 50 | learning_rate=0.01 l2=1e-05 |" in text
    assert (tmp_path / "lines.png").read_bytes().startswith(PNG)


def test_a_point_is_shared_and_a_row_may_miss_one(
    splits: dict[str, Path], runs: Path
) -> None:
    call = (*BUDGET, f"--runs={runs}", "--row=ips-cnsr")
    made("dice-table2", *of(splits, "cap-90"), *call)
    before = finished(runs)
    shared = made("dice-figure8b", *of(splits, "cap-90"), *call)
    # Nothing is said of the share: a quarter of a pool of 0.4.
    assert list(at(shared, "recall@20")["ips-cnsr"]) == [0.1]
    assert finished(runs) == before
    both = ("dice-figure8b", *of(splits, "share-0", "cap-90"), *call, "--row=cause")
    lines = at(made(*both), "recall@20")
    assert {name: list(line) for name, line in lines.items()} == {
        "ips-cnsr": [0.0, 0.1],
        "cause": [0.1],
    }
    text = output("reproduce", *both)
    assert re.search(r"│ cause +│ +- │ +0\.\d{4} │", text)
    assert "`cause` was left out: the split has no part train_intervened (share-0)" in (
        " ".join(text.split())
    )


def test_a_test_part_is_a_point_of_one_training(
    splits: dict[str, Path], tmp_path: Path
) -> None:
    call = ("dccl-figure4", *of(splits, "popular"), f"--runs={tmp_path / 'runs'}")
    found = made(*call, *BUDGET, "--row=dccl", "--calibrated", f"--output={tmp_path}")
    (run,) = finished(tmp_path / "runs")
    dccl, dataset = protocol("dccl"), open_dataset(splits["popular"])
    vectors = load_run(tmp_path / "runs" / run).vectors()
    assert [(row["name"], row["point"]) for row in found["rows"]] == [
        ("dccl", 0.3),
        ("dccl", 0.6),
        ("dccl, calibrated", 0.3),
        ("dccl, calibrated", 0.6),
    ]
    for row in found["rows"][:2]:
        against = evaluation_set(
            dataset, f"test_popular_{100 * row['point']:.0f}", dccl
        )
        expected = evaluate(vectors, against, dccl)
        assert row["mean"]["hr@20"] == expected.metrics["hr@20"]
        assert row["num_users"] == expected.num_users
    text = (tmp_path / "dccl-figure4.md").read_text()
    # What was tried, once as trained and once calibrated, not once a point.
    assert text.count(f"| {run} |") == 2
    assert text.count("- dccl, calibrated, seed 0: ") == 1
    assert len(cells(text, "dccl, calibrated", "ndcg@20")) == 2


def overlap_by_hand(
    dataset: CheckedDataset, scores: np.ndarray, counts: np.ndarray, k: int
) -> float:
    """The mean over test users of |own & popular| / |own | popular|, met items out."""
    met: dict[int, set[int]] = {}
    rows = read_part(dataset.folder, ["train", "train_intervened"])
    for user, item in zip(rows.users.tolist(), rows.items.tolist(), strict=True):
        met.setdefault(user, set()).add(item)

    def first(values: np.ndarray, user: int) -> set[int]:
        order = np.argsort(-values, kind="stable").tolist()
        return set([i for i in order if i and i not in met.get(user, ())][:k])

    found = []
    for user in np.unique(read_part(dataset.folder, ["test"]).users):
        own, popular = first(scores[user], user), first(counts, user)
        found.append(len(own & popular) / len(own | popular))
    return float(np.mean(found))


def test_maps_of_users_with_their_items(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    write_dataset(tmp_path / "data")
    found = made(
        "causerec-figure3",
        *(f"--data={tmp_path / 'data'}", f"--runs={tmp_path / 'runs'}", *BUDGET),
        *("--set", "num_sampled=30", "--protocol=dice"),
        f"--plot={tmp_path / 'fig.png'}",
    )
    names = ("fig", "fig-causerec-base", "fig-causerec-item")
    assert found["written"] == [str(tmp_path / f"{name}.png") for name in names]
    maps = [(tmp_path / f"{name}.png").read_bytes() for name in names]
    assert all(drawn.startswith(PNG) for drawn in maps)
    assert len(set(maps)) == len(maps)


def test_overlap_with_popular_items_by_cause(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    dataset = write_dataset(tmp_path / "data")
    runs = tmp_path / "runs"
    call = (f"--data={tmp_path / 'data'}", f"--runs={runs}", *BUDGET, *SMALL)
    found = made(
        "dice-figure5",
        *call,
        "--row=mf",
        "--row=dice",
        f"--output={tmp_path}",
        f"--plot={tmp_path / 'fig.png'}",
    )
    lines = at(found, "iou_itempop")
    assert list(lines) == ["mf", "dice", "dice, interest", "dice, conformity"]
    assert all(list(line) == list(range(10, 101, 10)) for line in lines.values())
    (run,) = {row["runs"][0] for row in found["rows"] if row["row"] == "dice"}
    vectors = load_run(runs / run).vectors()
    train = read_part(dataset.folder, ["train"])
    counts = np.bincount(train.items, minlength=dataset.num_items)
    for name, part in (
        ("dice", slice(None)),
        *((f"dice, {cause}", place) for cause, place in vectors.causes.items()),
    ):
        scores = vectors.queries[:, 0, part] @ vectors.candidates[:, part].T
        expected = overlap_by_hand(dataset, scores, counts, 20)
        assert lines[name][20.0] == pytest.approx(expected, abs=1e-12)
    for name in ("fig", "fig-mf", "fig-dice"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(PNG)
        assert str(tmp_path / f"{name}.png") in found["written"]
    text = (tmp_path / "dice-figure5.md").read_text()
    assert f"tfcausal disentangle --run={runs / run} --picture=dice.png" in text
    assert len(cells(text, "dice, conformity", "iou_itempop")) == 10

    # The same training is a point of figure 8(a), and a row of the ablations.
    trained = finished(runs)
    made("dice-ablations", *call, "--row=dice")
    curriculum = made("dice-figure8a", *call, "--row=curriculum-0.1")
    assert list(at(curriculum, "ndcg@20")) == ["curriculum"]
    assert curriculum["rows"][0]["runs"] == [run]
    assert finished(runs) == trained


def test_options_of_rows_are_points(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data")
    call = ("dice-figure8a", f"--data={tmp_path / 'data'}", *BUDGET, *SMALL)
    rows = ("--row=normal-1", "--row=curriculum-0.2")
    found = made(*call, *rows, f"--runs={tmp_path / 'runs'}")
    points = [(row["name"], row["point"]) for row in found["rows"]]
    assert points == [("curriculum", 0.2), ("normal", 1.0)]
    for row in found["rows"]:
        options = load_run(tmp_path / "runs" / row["runs"][0]).options
        assert options["interest_weight"] == options["conformity_weight"]
        assert options["interest_weight"] == row["point"]
        assert options["decay"] == (0.9 if row["name"] == "curriculum" else 1.0)


@pytest.mark.parametrize(
    ("table", "names", "message"),
    [
        ("dice-table2", ["cap-50", "cap-90"], "`--dataset` must be given once"),
        ("dccl-figure4", ["popular", "popular"], "`--dataset` must be given once"),
        ("dice-figure6", ["popular"], "must be split by the rule intervened"),
        ("dccl-figure4", ["cap-90"], "must be split by the rule popular_share"),
        ("dice-figure6", ["cap-50", "cap-50"], "both have 50"),
        ("dice-figure6", ["cap-50", "share-0"], "differ in cap_percentile alone"),
        ("dice-figure6", ["cap-50", "seed"], "has seed 1, and `.*cap-50` 0"),
        ("dice-figure8b", ["cap-50", "share-0"], "has cap_percentile 90.0"),
    ],
)
def test_refuses_what_would_be_no_figure(
    splits: dict[str, Path],
    tmp_path: Path,
    table: str,
    names: Sequence[str],
    message: str,
) -> None:
    runs = tmp_path / "runs"
    with pytest.raises(InputError, match=message):
        output("reproduce", table, *of(splits, *names), f"--runs={runs}", *BUDGET)
    assert not runs.exists()
