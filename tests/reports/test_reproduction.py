"""Tuning without training, rows that do not fit, figures from given results."""

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.datasets import write_dataset
from tests.runs import random_vectors, write_run
from tfcausal.data.interactions import CheckedDataset
from tfcausal.errors import InputError
from tfcausal.reports.documents import comma_separated, markdown, over_axis, users
from tfcausal.reports.plots import require_plots, write_plots
from tfcausal.reports.reproduction import (
    Plan,
    Reproduction,
    RowResult,
    fit_table,
    joined,
    tune,
)
from tfcausal.reports.rows import SHOWN, Axis, Row, Table
from tfcausal.reports.tables import table
from tfcausal.reports.trainings import Training
from tfcausal.schema.protocol import protocol
from tfcausal.training.run import Run

ROW = Row("row", "mf", tuned={"learning_rate": (1e-3, 1e-2, 1e-1), "l2": (1e-5, 1e-6)})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    return write_dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, dataset: CheckedDataset) -> Run:
    vectors = random_vectors(dataset.num_users, dataset.num_items)
    return write_run(tmp_path_factory.mktemp("runs") / "run", dataset, vectors)


class Bench:
    """Keeps what was asked for; a setting's worth is its learning_rate, or a given."""

    def __init__(self, run: Run, worth: float | None = None) -> None:
        self.run = run
        self.worth = worth
        self.asked: list[tuple[dict[str, Any], str]] = []

    def train(self, settings: Mapping[str, Any], what: str) -> Training:
        self.asked.append((dict(settings), what))
        worth = settings["learning_rate"] if self.worth is None else self.worth
        return Training(settings, 0, self.run, worth, 1.0)


@pytest.mark.parametrize("trials", [1, 3, 6, 50])
def test_settings_differ_and_the_default_comes_first(run: Run, trials: int) -> None:
    bench = Bench(run)
    found = tune(ROW, trials, bench.train)
    settings = [settings for settings, _ in bench.asked]
    number = min(trials, 6)
    assert len(found) == number
    assert [dict(one.settings) for one in found] == settings
    assert settings[0] == {"learning_rate": 1e-3, "l2": 1e-5}
    assert len({tuple(one.items()) for one in settings}) == number
    assert all(one[name] in ROW.tuned[name] for one in settings for name in one)
    whats = [what for _, what in bench.asked]
    assert whats == [f"trial {place} of {number}" for place in range(1, number + 1)]


def test_draws_depend_on_nothing_that_came_out(run: Run) -> None:
    plain, level = Bench(run), Bench(run, worth=0.5)
    tune(ROW, 4, plain.train)
    tune(ROW, 4, level.train)
    assert plain.asked == level.asked
    more = Bench(run)
    tune(ROW, 5, more.train)
    assert [one for one, _ in more.asked[:4]] == [one for one, _ in plain.asked]


def test_rows_that_the_data_set_cannot_train(
    tmp_path: Path, dataset: CheckedDataset
) -> None:
    dccl = table("dccl-table2").only(("mf", "cause", "pd"))
    # The data set has an intervened part, and no time slots.
    fitted = fit_table(dccl, dataset, {})
    assert [row.name for row in fitted.rows] == ["mf", "cause", "pd"]
    assert fitted.rows[2].fixed["popularity"] == "global"
    assert "`pd` has popularity=global" in fitted.notes[-1]
    assert fitted.rows[:2] == dccl.rows[:2]
    bare = write_dataset(tmp_path / "bare")
    bare.folder.part("train_intervened").rename(tmp_path / "gone")
    left = fit_table(dccl, bare, {})
    assert [row.name for row in left.rows] == ["mf", "pd"]
    assert "`cause` was left out" in left.notes[-2]
    with pytest.raises(InputError, match="must have a row that this data set can"):
        fit_table(dccl.only(("cause",)), bare, {})


def test_settings_go_to_the_rows_that_have_them(dataset: CheckedDataset) -> None:
    one = table("dice-table2").only(("itempop", "mf", "dice"))
    fitted = fit_table(one, dataset, {"margin": 5.0, "num_negatives": 2})
    item_pop, mf, dice = (row.fixed for row in fitted.rows)
    assert item_pop == {}
    assert (mf.get("margin"), mf["num_negatives"]) == (None, 2)
    assert (dice["margin"], dice["num_negatives"]) == (5.0, 2)
    with pytest.raises(InputError, match="`mf` has embedding_dim=128"):
        fit_table(one, dataset, {"embedding_dim": 8})


@pytest.mark.parametrize("name", ["trials", "seeds"])
def test_a_plan_has_at_least_one(name: str) -> None:
    with pytest.raises(InputError, match=f"`{name}` must be >= 1"):
        Plan(**{name: 0})


def result(run: Run, *, calibrated: bool = False) -> RowResult:
    row = Row("mf", "mf", published={"Elsewhere": {"recall@20": 0.25, "hr@20": 0.5}})
    trainings = tuple(Training({}, seed, run, 0.1, 2.0 * seed) for seed in (1, 2))
    evaluations = tuple(
        {metric: start + place for place, metric in enumerate(SHOWN)}
        for start in (0.125, 0.375)
    )
    name = "mf, calibrated" if calibrated else "mf"
    weights = ({"score": 1.0, "shift": 0.25}, {"score": 1.0, "shift": -0.5})
    return RowResult(
        name,
        row,
        calibrated,
        trainings,
        trainings,
        evaluations,
        7,
        weights if calibrated else (),
    )


def test_means_and_deviations_by_hand(run: Run) -> None:
    found = result(run)
    # recall@20 is 0.125 and 0.375: mean 0.25, deviation 0.125; 2 and 4 seconds.
    assert found.mean("recall@20") == 0.25
    assert found.deviation("recall@20") == 0.125
    assert found.mean("hr@20") == 1.25
    assert found.seconds == 3.0


def test_documents_hold_all_figures(
    run: Run, dataset: CheckedDataset, tmp_path: Path
) -> None:
    asked = Table("mine", "A title", "A paper, table 9", (), notes=("A note.",))
    rows = (result(run), result(run, calibrated=True))
    found = Reproduction(asked, Plan(seeds=2), protocol("dice"), rows)
    text = markdown(found, ["data"], "the command")
    lines = text.splitlines()
    assert lines[2] == "    the command"
    assert "A paper, table 9" in text
    assert "Data set `data`, test part, protocol `dice`" in text
    assert ", 7 users; seeds 0 to 1: mean +- standard deviation." in text
    assert "A note." in lines
    (paper,) = (line for line in lines if "paper, Elsewhere" in line)
    cells = [cell.strip() for cell in paper.strip("|").split("|")]
    assert cells == ["mf", "paper, Elsewhere", "0.2500", "0.5000", *["-"] * 6]
    (ours,) = (line for line in lines if line.startswith("| mf | here |"))
    cells = [cell.strip() for cell in ours.strip("|").split("|")]
    assert cells[2:4] == ["0.2500 +- 0.1250", "1.2500 +- 0.1250"]
    assert cells[8:] == ["6 +- 0", "3"]
    (calibrated,) = (line for line in lines if "| here, calibrated |" in line)
    assert calibrated.count("|") == paper.count("|") == len(cells) + 1
    assert [line for line in lines if line.startswith("- ")] == [
        "- mf, calibrated, seed 0: score=1.0 shift=0.25",
        "- mf, calibrated, seed 1: score=1.0 shift=-0.5",
    ]
    assert "At most 6 settings for each row" in text
    single = replace(found, plan=Plan(trials=1, seeds=1))
    assert "At most 1 setting for each row" in markdown(single, ["data"], "a command")
    read = list(csv.DictReader(comma_separated(found).splitlines()))
    of_paper = {
        line["metric"]: float(line["mean"])
        for line in read
        if line["source"] == "Elsewhere"
    }
    assert of_paper == {"recall@20": 0.25, "hr@20": 0.5}
    ndcg = [
        (line["row"], float(line["mean"]), float(line["deviation"]), line["seeds"])
        for line in read
        if line["metric"] == "ndcg@20"
    ]
    assert ndcg == [("mf", 2.25, 0.125, "2"), ("mf, calibrated", 2.25, 0.125, "2")]
    pytest.importorskip("matplotlib")
    path = tmp_path / "new" / "bars.png"
    assert write_plots(found, dataset, path) == [path]
    import matplotlib.image as images

    pixels = images.imread(path)
    assert pixels.shape[2] == 4
    # Both bars are there: blue as trained, grey as calibrated.
    for colour in ((0x1F / 255, 0x77 / 255, 0xB4 / 255), (0.7, 0.7, 0.7)):
        near = np.abs(pixels[:, :, :3] - np.asarray(colour)).max(axis=2) < 0.01
        assert near.sum() > 1000


def test_lines_over_an_axis(run: Run) -> None:
    asked = Table("mine", "A title", "", (), axis=Axis("cap", "splits"))
    one = replace(result(run), point=50.0)
    other = replace(one, name="other", num_users=9)
    found = [
        Reproduction(
            replace(asked, notes=("Both.", note)), Plan(seeds=2), protocol("dice"), rows
        )
        for note, rows in (
            ("First.", (replace(one, point=70.0),)),
            ("Second.", (one, other)),
        )
    ]
    both = joined(found)
    assert both.table.notes == ("Both.", "First.", "Second.")
    assert users(both) == "7 to 9 users"
    assert both.table.axis is not None
    header, lines = over_axis(both, both.table.axis, "recall@20")
    assert header == ["cap", "50", "70"]
    assert lines == [
        ["mf", "0.2500 +- 0.1250", "0.2500 +- 0.1250"],
        ["other", "0.2500 +- 0.1250", "-"],
    ]
    # Each split has trainings of its own.
    text = markdown(both, ["a", "b"], "the command")
    tried = [line for line in text.splitlines() if line.endswith(" run |")]
    assert sum(line.startswith("| mf, cap 50 |") for line in tried) == 2
    assert sum(line.startswith("| mf, cap 70 |") for line in tried) == 2


def test_a_figure_is_a_png() -> None:
    with pytest.raises(InputError, match=r"`--plot` must end in .png"):
        require_plots(Path("bars.pdf"))
