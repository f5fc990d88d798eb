"""`tfcausal reproduce`: the whole way on a small data set, twice."""

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.commands import output
from tests.datasets import write_dataset
from tfcausal.cli import main
from tfcausal.data.interactions import CheckedDataset
from tfcausal.errors import InputError
from tfcausal.evaluation.evaluator import evaluate
from tfcausal.evaluation.item_pop import item_pop
from tfcausal.evaluation.validation import evaluation_set
from tfcausal.reports.rows import SHOWN
from tfcausal.reports.tables import TABLES
from tfcausal.schema.protocol import protocol
from tfcausal.training.run import load_run

BUDGET = ("--trials=2", "--seeds=1", "--epochs=1", "--set", "batch_size=256")
ROWS = ("--row=itempop", "--row=ips-cn")


def finished(runs: Path) -> dict[str, int]:
    """Returns the folder of each finished run, and when it ended."""
    return {
        path.parent.name: path.stat().st_mtime_ns
        for path in runs.glob("*/manifest.json")
    }


def tuned(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("learning_rate", "l2")}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    return write_dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def call(dataset: CheckedDataset, place: Path) -> tuple[object, ...]:
    return (
        "dice-table2",
        f"--dataset={dataset.folder.root}",
        f"--runs={place / 'runs'}",
        *BUDGET,
        *ROWS,
    )


@pytest.fixture(scope="module")
def found(call: tuple[object, ...], place: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(
        output("reproduce", *call, f"--output={place / 'out'}", "--json")
    )
    return made


def test_the_best_on_validation_is_chosen(found: dict[str, Any], place: Path) -> None:
    nothing, ips = found["rows"]
    assert [row["name"] for row in found["rows"]] == ["itempop", "ips-cn"]
    assert (nothing["tried"], nothing["runs"], nothing["seconds"]) == ([], [], None)
    assert len(finished(place / "runs")) == 2
    assert ips["tried"][0]["settings"] == {"learning_rate": 0.01, "l2": 1e-5}
    values = {}
    for trial in ips["tried"]:
        folder = place / "runs" / trial["run"]
        metrics = json.loads((folder / "metrics.json").read_text())["validation"]
        options = load_run(folder).options
        assert trial["settings"] == tuned(options)
        assert (options["seed"], options["epochs"]) == (0, 1)
        assert (options["form"], options["batch_size"]) == ("ips_cn", 256)
        assert trial["validation"] == metrics["recall@50"]
        values[trial["run"]] = metrics["recall@50"]
    assert len(values) == 2
    best = max(values, key=lambda run: values[run])
    assert ips["runs"] == [best]
    assert ips["chosen"] == tuned(load_run(place / "runs" / best).options)
    kept = json.loads((place / "runs" / best / "seconds.json").read_text())
    assert ips["seconds"] == kept["seconds"] > 0


def test_documents_say_what_the_vectors_give(
    found: dict[str, Any], place: Path, dataset: CheckedDataset
) -> None:
    dice = protocol("dice")
    against = evaluation_set(dataset, "test", dice)
    text = (place / "out" / "dice-table2.md").read_text()
    with (place / "out" / "dice-table2.csv").open() as file:
        values = {
            (line["row"], line["source"], line["metric"]): float(line["mean"])
            for line in csv.DictReader(file)
        }
    for row in found["rows"]:
        vectors = (
            load_run(place / "runs" / row["runs"][0]).vectors()
            if row["runs"]
            else item_pop(against.popularity, dataset.num_users)
        )
        metrics = evaluate(vectors, against, dice).metrics
        (line,) = re.findall(rf"^\| {row['name']} \| here \| (.*) \|$", text, re.M)
        cells = line.split(" | ")
        for metric, cell in zip(SHOWN, cells, strict=False):
            digits = 0 if metric == "popularity@20" else 4
            assert cell == f"{metrics[metric]:.{digits}f}"
            assert values[row["name"], "here", metric] == metrics[metric]
    assert values["ips-cn", "MovieLens-10M", "recall@20"] == 0.1412
    assert "| ips-cn | paper, MovieLens-10M | 0.1412 |" in text
    assert "| ips-cn | paper, Netflix | 0.1080 |" in text
    assert "| itempop | paper" not in text
    assert "--set batch_size=256 --row itempop --row ips-cn" in text


def test_what_is_finished_is_not_trained_again(
    found: dict[str, Any], call: tuple[object, ...], place: Path
) -> None:
    before = finished(place / "runs")
    documents = {
        path.name: path.read_text().replace("--json", "")
        for path in (place / "out").iterdir()
    }
    for path in (place / "out").iterdir():
        path.unlink()
    again = json.loads(
        output("reproduce", *call, f"--output={place / 'out'}", "--json")
    )
    assert again == found
    assert finished(place / "runs") == before
    assert documents == {
        path.name: path.read_text().replace("--json", "")
        for path in (place / "out").iterdir()
    }


def test_another_seed_and_calibration_add_to_what_is_there(
    found: dict[str, Any], call: tuple[object, ...], place: Path
) -> None:
    before = finished(place / "runs")
    more = (*call, "--seeds=2", "--calibrated")
    text = output("reproduce", *more, f"--plot={place / 'bars.png'}")
    after = finished(place / "runs")
    assert before.items() < after.items()
    assert " 2 seeds " in " ".join(text.split())
    assert (place / "bars.png").read_bytes().startswith(b"\x89PNG")
    made = json.loads(output("reproduce", *more, "--json"))
    _, plain, calibrated = made["rows"]
    assert plain["tried"] == found["rows"][1]["tried"]
    assert plain["runs"][0] == found["rows"][1]["runs"][0]
    # Only the second seeds of the best settings were missing.
    both = {*plain["runs"], *calibrated["runs"]}
    assert after.keys() == before.keys() | both
    # The calibrated row has a choice of its own, by what calibration reaches.
    reached = {
        trial["run"]: json.loads(
            (place / "runs" / trial["run"] / "calibration.json").read_text()
        )["calibrated"]["recall@20"]
        for trial in plain["tried"]
    }
    assert {t["run"]: t["validation"] for t in calibrated["tried"]} == reached
    assert calibrated["runs"][0] == max(reached, key=lambda run: reached[run])
    assert calibrated["chosen"] == tuned(
        load_run(place / "runs" / calibrated["runs"][0]).options
    )
    for run, weights in zip(calibrated["runs"], calibrated["weights"], strict=True):
        kept = json.loads((place / "runs" / run / "calibration.json").read_text())
        assert weights == {**kept["weights"], "shift": kept["shift"]}
        words = f"preference={weights['preference']} shift={weights['shift']}"
        assert re.search(rf"^ips-cn, calibrated, seed \d: {words}$", text, re.M)
        assert (kept["part"], kept["metric"]) == ("validation", "recall@20")

    # Norms are another choice, for which nothing is trained again.
    made = json.loads(output("reproduce", *more, "--norms", "--json"))
    assert finished(place / "runs").keys() == after.keys()
    _, _, calibrated = made["rows"]
    for run, chosen in zip(calibrated["runs"], calibrated["weights"], strict=True):
        kept = json.loads((place / "runs" / run / "calibration.json").read_text())
        assert chosen["norm_power"] == kept["norm_power"]
    with pytest.raises(InputError, match="`--norms` must go with --calibrated"):
        output("reproduce", *call, "--norms")


def test_one_seed_is_one(found: dict[str, Any], call: tuple[object, ...]) -> None:
    assert " 1 seed " in " ".join(output("reproduce", *call).split())


def test_the_screen_has_the_cut_off_that_the_paper_prints(
    found: dict[str, Any], call: tuple[object, ...], place: Path
) -> None:
    assert "recall@20" in output("reproduce", *call)
    small = {"num_sampled": 30, "memory_size": 50}
    table = output(
        "reproduce",
        "causerec-table6",
        *call[1:3],
        *("--trials=1", "--seeds=1", "--epochs=1", "--row=concepts-4"),
        *(f"--set={name}={value}" for name, value in small.items()),
        "--set=batch_size=256",
    )
    assert "recall@50" in table
    assert "recall@20" not in table
    assert "0.1000" in table


def test_a_training_that_was_lost_is_done_again_alike(
    found: dict[str, Any], call: tuple[object, ...], place: Path
) -> None:
    lost = place / "runs" / found["rows"][1]["runs"][0]
    lost.rename(place / "lost")
    again = json.loads(output("reproduce", *call, "--json"))
    for row, other in zip(found["rows"], again["rows"], strict=True):
        assert other["mean"] == row["mean"]
        assert other["tried"] == row["tried"]
    assert (lost / "manifest.json").read_bytes() == (
        place / "lost" / "manifest.json"
    ).read_bytes()


def test_lists_tables_and_says_what_they_cost() -> None:
    listed = output("reproduce", "--list")
    for words in (
        # Eight rows are trained, each with 6 settings and 2 more seeds.
        "dice-table2: DICE and its baselines, on matrix factorisation (64 trainings)",
        "itempop: not trained",
        "lightgcn-dccl: dccl",
        "two_tower: two_tower, tuned: learning_rate, l2, temperature",
        "figure 8(a)\n  over interest_weight\n    curriculum-0.1: dice, tuned",
        "different strength (24 trainings for each data set)",
    ):
        assert words in listed
    helped = " ".join(output("reproduce", "--help").split())
    assert "TRIALS + SEEDS - 1 trainings" in helped


def test_names_all_tables_where_none_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments in (["reproduce"], ["reproduce", "--dataset=x", "--seeds=1"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        shown = capsys.readouterr()
        assert not shown.out
        first, *lines = shown.err.splitlines()
        assert first.startswith("tfcausal: `TABLE` must be one of these; got none.")
        assert [line.split()[0] for line in lines] == list(TABLES)
        for words in (
            "on LightGCN (Zheng et al., DICE, WWW 2021, table 2, GCN)",
            "LightGCN (Zhao et al., DCCL, WWW 2023 Companion, table 2)",
            "the same with causes (of no paper)",
        ):
            assert sum(line.endswith(words) for line in lines) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dice-tabel2"], "Did you mean `dice-table2`"),
        (["dice-table2", "--row=dcie"], "Did you mean `dice`"),
        (["dice-table2", "--set", "batch_sise=8"], "Did you mean `batch_size`"),
        (["dice-table2", "--set", "l2=0"], "rows are tuned on it"),
        (["dice-table2", "--set", "seed=3"], "must be given as --seeds"),
        (["dice-table2", "--set", "epochs=3"], "must be given as --epochs"),
        (["dice-table2", "--set", "biases=user"], "`bias-i` has biases=item"),
        (["dice-table2", "--protocol=dcie"], "Did you mean `dice`"),
        (["dice-table2", "--protocol=dcr"], "must have the cut-offs 20 and 50"),
        (["dice-table2", "--trials=0"], "`trials` must be >= 1"),
        (["dice-table2", "--tune", "l2_=0"], "Did you mean `l2`"),
        (["dice-table2", "--tune", "gamma=0.1"], "Unknown tuned option `gamma`"),
        (["dice-table2", "--tune", "l2=1e-5,1e-5"], "must not repeat a value"),
        (["dice-table2", "--tune", "l2=1e-5,-1"], "`l2` must be"),
        (["dice-table2", "--tune", "l2=1e-5,low"], "must be of type float; got low"),
        (["dice-table2", "--plot=bars.pdf"], "must end in .png"),
    ],
)
def test_refuses_before_it_trains(
    dataset: CheckedDataset, tmp_path: Path, arguments: list[str], message: str
) -> None:
    runs = tmp_path / "runs"
    with pytest.raises(InputError, match=message):
        output(
            "reproduce",
            *arguments,
            f"--dataset={dataset.folder.root}",
            f"--runs={runs}",
        )
    assert not runs.exists()
