"""Concepts as plain Python counts them, the same bytes on every runner."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from beam_jobs.item_concepts import ItemConceptOptions, main, run
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from beam_jobs.transforms.item_concepts import ConceptPlan
from tests.beam_jobs.raw import raw_rows, read_interactions, write_csv
from tests.beam_jobs.sent import as_sent
from tests.beam_jobs.test_real_data import data
from tfcausal.data.concept_rows import Concept, read_concepts, read_user_shares
from tfcausal.data.interactions import CheckedDataset, open_dataset
from tfcausal.errors import InputError
from tfcausal.schema.dataset import ConceptFolder, DatasetFolder
from tfcausal.schema.manifest import checksums
from tfcausal.stats.concepts import Binning, ConceptRule, dense_shares, mean_shares

CONCEPTS = ("director", "genres", "year")
BINS = ("year:equal_width:4",)
WITHOUT_BEAM = PipelineOptions(["--runner=local"])


def write_films(path: Path) -> Path:
    """Writes features of most films of `raw_rows`, some without a value."""
    generator = np.random.default_rng(5)
    lines = ["item_id,director,genres,year,length"]
    for film in range(90):
        director = f"d{min(generator.zipf(1.6), 12)}" if film % 11 else ""
        genres = "|".join(f"g{genre}" for genre in generator.integers(0, 6, film % 4))
        year = "" if film % 13 == 5 else str(generator.integers(1950, 2000))
        lines.append(f"film {film},{director},{genres},{year},{film / 8}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def make_dataset(folder: Path, rule: Any) -> Path:
    dataset = folder / "dataset"
    raw = write_csv(folder / "raw.csv", raw_rows())
    options = IngestOptions(
        str(raw),
        "csv",
        dataset,
        repeats="keep",
        row_group_size=50,
        item_features=str(write_films(folder / "films.csv")),
        list_columns=("genres",),
    )
    ingest(options, WITHOUT_BEAM)
    split(SplitOptions(dataset, rule), WITHOUT_BEAM)
    return dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a data set that is split, with users who are held out."""
    return make_dataset(tmp_path_factory.mktemp("concepts"), "held_out_users")


@pytest.fixture
def copied(dataset: Path, tmp_path: Path) -> Path:
    """Returns a copy of the data set that a test may spoil, without concepts."""
    hidden = shutil.ignore_patterns("features")
    return shutil.copytree(dataset, tmp_path / "copied", ignore=hidden)


def values_of(features: list[dict[str, Any]], name: str) -> list[set[str]]:
    """Returns each item's values as texts; years by their bin of four."""
    years = [row["year"] for row in features if row["year"] is not None]
    first, width = min(years), (max(years) - min(years)) / 4
    found: list[set[str]] = []
    for row in features:
        value = row[name]
        if not value:
            found.append(set())
        elif name == "year":
            number = min(int((value - first) / width), 3)
            begin, end = first + number * width, first + (number + 1) * width
            found.append({f"[{begin}, {end}{']' if number == 3 else ')'}"})
        else:
            found.append(set(value) if name == "genres" else {value})
    return found


def by_item(concept: Concept) -> list[list[int]]:
    """Returns the values of each item."""
    items = np.split(concept.items.indices, concept.items.indptr[1:-1])
    return [of_item.tolist() for of_item in items]


def check_users(dataset: Path, part: str, joined: list[str], share_of: str) -> None:
    """Compares the shares of a part's users with counts in plain Python."""
    opened = open_dataset(dataset)
    rows = pa.concat_tables(
        read_interactions(DatasetFolder(dataset).part(name)) for name in joined
    )
    met: dict[int, set[int]] = {}
    columns = rows.select(["user", "item"]).to_pydict().values()
    for user, item in zip(*columns, strict=True):
        met.setdefault(user, set()).add(item)
    for name, concept in read_concepts(opened).concepts.items():
        texts = concept.values.to_pylist()
        items = by_item(concept)
        expected = np.zeros((opened.num_users, len(texts)))
        for user, of_user in met.items():
            counts = Counter(value for item in of_user for value in items[item])
            described = sum(bool(items[item]) for item in of_user)
            total = described if share_of == "items" else counts.total()
            for value, count in counts.items():
                expected[user, value] = count / total
        shares = read_user_shares(opened, name, part)
        everyone = np.arange(opened.num_users)
        nothing = np.zeros(len(texts), np.float32)
        found = dense_shares(shares, everyone, nothing)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        known = expected.any(axis=1)
        np.testing.assert_allclose(
            mean_shares(shares, len(texts)), expected[known].mean(axis=0), rtol=1e-6
        )


@pytest.mark.parametrize(("min_count", "share_of"), [(1, "items"), (4, "values")])
def test_as_in_plain_python(dataset: Path, min_count: int, share_of: Any) -> None:
    manifest = run(
        ItemConceptOptions(
            dataset,
            CONCEPTS,
            min_count=min_count,
            bins=BINS,
            share_of=share_of,
            overwrite=True,
        )
    )
    read = read_concepts(open_dataset(dataset))
    assert read.manifest == manifest
    assert tuple(read.concepts) == CONCEPTS
    features = pq.read_table(DatasetFolder(dataset).item_features).to_pylist()
    for name, concept in read.concepts.items():
        values = values_of(features, name)
        met = Counter(value for of_item in values for value in of_item)
        if name == "year":
            kept = sorted(met)
        else:
            kept = sorted(value for value in met if met[value] >= min_count)
            kept = sorted(kept, key=lambda value: -met[value])
        texts = concept.values.to_pylist()
        assert texts == ["", *kept]
        expected = [
            sorted({value if value in kept else "" for value in of_item})
            for of_item in values
        ]
        found = [
            sorted(texts[value] for value in of_item) for of_item in by_item(concept)
        ]
        assert found == expected
        assert concept.counts.tolist() == [
            sum(value in of_item for of_item in expected) for value in texts
        ]
        assert manifest.counts[f"{name}_values"] == len(kept)
        assert manifest.counts[f"{name}_items"] == sum(map(bool, values))
    for part in ("train", "validation_fold_in", "test_fold_in"):
        check_users(dataset, part, [part], share_of)
        users = read_interactions(DatasetFolder(dataset).part(part))["user"]
        assert manifest.counts[f"users_in_{part}"] == len(set(users.to_pylist()))


def test_training_parts_are_joined(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, "intervened")
    manifest = run(ItemConceptOptions(dataset, ("genres",)), WITHOUT_BEAM)
    joined = ["train", "train_intervened"]
    assert manifest.details["parts"] == {"train": joined}
    check_users(dataset, "train", joined, "items")


@pytest.mark.parametrize(
    "flags",
    [
        ["--runner=local"],
        ["--direct_running_mode=multi_threading", "--direct_num_workers=2"],
    ],
)
def test_the_same_bytes_on_every_runner(dataset: Path, flags: list[str]) -> None:
    options = ItemConceptOptions(
        dataset, CONCEPTS, min_count=2, max_values=5, bins=BINS, overwrite=True
    )
    first = run(options)
    folder = DatasetFolder(dataset).item_concepts
    written = checksums(folder)
    assert run(options, PipelineOptions(flags)) == first
    assert checksums(folder) == written
    assert [path for path in folder.rglob("*") if path.name.startswith(".")] == []
    assert first.counts["director_values"] == first.counts["genres_values"] == 5


def test_command(dataset: Path, monkeypatch: Any, capsys: Any) -> None:
    argv = ["item_concepts", f"--dataset={dataset}", "--runner=local", "--overwrite"]
    monkeypatch.setattr("sys.argv", [*argv, "--concepts=director,year", "--bins=none"])
    assert main() == 0
    monkeypatch.setattr("sys.argv", [*argv, "--concepts=directors"])
    assert main() == 2
    assert "Did you mean `director`?" in capsys.readouterr().err


def test_wrong_options(dataset: Path) -> None:
    for changes, match in (
        ({"concepts": ()}, "`concepts` must name at least one column"),
        ({"concepts": ("a", "a")}, "`concepts` must name at least one column, and"),
        ({"concepts": ("a/b",)}, "must be names that a folder can have; got `a/b`"),
        ({"concepts": ("a=1",)}, "must be names that a folder can have"),
        ({"concepts": (".a",)}, "must be names that a folder can have"),
        ({"concepts": ("",)}, "must be names that a folder can have"),
        ({"min_count": 0}, "`min_count` must be at least 1"),
        ({"max_values": 0}, "`max_values` must be at least 1"),
        ({"share_of": "item"}, "Unknown share_of `item`"),
        ({"bins": ("yaer:quantile:3",)}, "Unknown concept in `bins` `yaer`"),
        ({"bins": (*BINS, *BINS)}, "`bins` must name each column once; got `year`"),
        ({"bins": ("year",)}, "must be of the form COLUMN:RULE:NUMBER"),
    ):
        options = {"dataset": dataset, "concepts": CONCEPTS} | changes
        with pytest.raises(InputError, match=match):
            ItemConceptOptions(**options)


@pytest.mark.parametrize("runner", ["local", "FnApiRunner"])
def test_columns_that_are_no_concept(dataset: Path, runner: str) -> None:
    folder = DatasetFolder(dataset).item_concepts
    shutil.rmtree(folder, ignore_errors=True)
    for concepts, changes, match in (
        (("genre",), {}, "Unknown feature of items `genre`. Did you mean `genres`?"),
        (("item_id",), {}, "Unknown feature of items `item_id`"),
        (("length",), {}, "`length` must hold texts, whole numbers or lists of them"),
        (("genres",), {"bins": ("genres:quantile:2",)}, "must name columns of numbers"),
        (CONCEPTS, {"min_count": 99}, "`min_count` must leave values of `director`"),
    ):
        options = ItemConceptOptions(dataset, concepts, **changes)
        with pytest.raises(InputError, match=match):
            run(options, PipelineOptions([f"--runner={runner}"]))
        assert not folder.exists()


def test_data_sets_without_what_is_needed(copied: Path) -> None:
    folder = DatasetFolder(copied)
    options = ItemConceptOptions(copied, ("genres",))
    table = pq.read_table(folder.item_features)
    pq.write_table(table.slice(1), folder.item_features)
    with pytest.raises(InputError, match="must have a row for each of"):
        run(options)
    folder.item_features.unlink()
    with pytest.raises(InputError, match="ingest with --item_features"):
        run(options)
    shutil.rmtree(folder.splits)
    with pytest.raises(InputError, match="must hold a finished result of kind splits"):
        run(options)


def test_what_does_not_fit_is_not_read(copied: Path) -> None:
    def read_all(dataset: CheckedDataset) -> None:
        read_concepts(dataset)
        read_user_shares(dataset, "genres")

    opened = open_dataset(copied)
    with pytest.raises(
        InputError, match="must hold a finished result of kind item_concepts"
    ):
        read_concepts(opened)
    run(ItemConceptOptions(copied, ("genres",)), WITHOUT_BEAM)
    with pytest.raises(InputError, match="must not exist yet"):
        run(ItemConceptOptions(copied, ("genres",)), WITHOUT_BEAM)
    with pytest.raises(InputError, match="Unknown concept `genre`"):
        read_user_shares(opened, "genre")
    with pytest.raises(InputError, match="Unknown part `test`"):
        read_user_shares(opened, "genres", "test")
    folder = ConceptFolder(DatasetFolder(copied).item_concepts / "genres")
    for path, match in (
        (folder.values, "must have 7 values and"),
        (folder.items, "must have 7 values and"),
        (folder.users("train") / "part-00002.parquet", "must have .* users and 7"),
    ):
        content = path.read_bytes()
        table = pq.read_table(path)
        pq.write_table(table.slice(1), path)
        with pytest.raises(InputError, match=match):
            read_all(opened)
        path.write_bytes(content[:-6])
        with pytest.raises(InputError, match="must be a Parquet file of a concept"):
            read_all(opened)
        path.write_bytes(content)
    read_all(opened)
    split(SplitOptions(copied, "random", seed=1, overwrite=True), WITHOUT_BEAM)
    for read in (read_concepts, lambda dataset: read_user_shares(dataset, "genres")):
        with pytest.raises(InputError, match=r"inputs\.splits must be"):
            read(open_dataset(copied))


def test_workers_get_what_they_need() -> None:
    plan = ConceptPlan(
        dataset=DatasetFolder(Path("d")),
        folder=Path("f"),
        concepts=(ConceptRule("year", 2, 3, Binning("quantile", 4)),),
        parts=(("train", ("train", "train_intervened")),),
        share_of="values",
        num_shards=4,
        row_group_size=8,
    )
    assert as_sent(plan) == plan


def test_movielens_1m(tmp_path: Path) -> None:
    raw = data("ml-1m/ratings.parquet")
    dataset = tmp_path / "d"
    ingest(
        IngestOptions(
            str(raw),
            "parquet",
            dataset,
            min_rating=4.0,
            min_user_count=5,
            item_features=str(raw.parent / "items.csv"),
            list_columns=("genres", "actors"),
        ),
        WITHOUT_BEAM,
    )
    split(SplitOptions(dataset, "held_out_users"), WITHOUT_BEAM)
    concepts = ("director", "genres", "actors", "year")
    counts = run(
        ItemConceptOptions(
            dataset, concepts, max_values=100, bins=("year:quantile:10",)
        ),
        WITHOUT_BEAM,
    ).counts
    found = {name: counts[f"{name}_values"] for name in concepts}
    assert found == {"director": 100, "genres": 18, "actors": 100, "year": 10}
    read = read_concepts(open_dataset(dataset)).concepts
    assert read["genres"].values.to_pylist()[1:4] == ["Drama", "Comedy", "Action"]
    assert "Alfred Hitchcock" in read["director"].values.to_pylist()[1:6]
