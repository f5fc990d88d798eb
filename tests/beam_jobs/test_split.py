"""Splits: exact sizes, nothing lost, and the same shards as the data set."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from beam_jobs.split import SplitOptions, run
from tests.beam_jobs.raw import raw_rows, read_interactions, write_csv
from tfcausal.errors import InputError
from tfcausal.schema.dataset import DatasetFolder
from tfcausal.schema.manifest import read_manifest
from tfcausal.stats.splitting import row_words


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a data set of four shards in row groups of 100 rows."""
    folder = tmp_path_factory.mktemp("split")
    raw = write_csv(folder / "raw.csv", raw_rows())
    ingest(
        IngestOptions(
            str(raw), "csv", folder / "dataset", repeats="keep", row_group_size=100
        )
    )
    return folder / "dataset"


def rows_of(folder: Path) -> Counter[Any]:
    table = read_interactions(folder)
    return Counter(zip(*table.to_pydict().values(), strict=True))


@pytest.mark.parametrize(
    ("rule", "sizes"),
    [
        # 2,000 rows; the pool of 40 % has 800.
        (
            "intervened",
            {"train": 1200, "train_intervened": 200, "validation": 200, "test": 400},
        ),
        ("random", {"train": 1400, "validation": 200, "test": 400}),
    ],
)
def test_parts_have_exact_sizes_and_share_out_every_row(
    dataset: Path, rule: str, sizes: dict[str, int]
) -> None:
    manifest = run(SplitOptions(dataset, rule, overwrite=True))  # type: ignore[arg-type]
    folder = DatasetFolder(dataset)
    assert manifest.details["parts"] == dict(manifest.counts) == sizes
    assert {path.name for path in folder.splits.iterdir()} == {*sizes, "manifest.json"}
    parts = {name: rows_of(folder.part(name)) for name in sizes}
    assert {name: part.total() for name, part in parts.items()} == sizes
    assert sum(parts.values(), Counter()) == rows_of(folder.interactions)
    ingested = read_manifest(dataset, kind="dataset")
    assert manifest.inputs == {"dataset": ingested.fingerprint}
    # The parts have the shards of the data set, and rows in their order.
    for path in folder.interactions.iterdir():
        whole = list(zip(*pq.read_table(path).to_pydict().values(), strict=True))
        place = {row: number for number, row in enumerate(whole)}
        for name in sizes:
            part_rows = pq.read_table(folder.part(name) / path.name).to_pydict()
            places = [place[row] for row in zip(*part_rows.values(), strict=True)]
            assert places == sorted(places)


def test_pool_is_the_smallest_keys_of_all_shards(dataset: Path) -> None:
    # -log(U) / w with numpy's own logarithm, over all rows at once.
    run(SplitOptions(dataset, "intervened", seed=3, cap_percentile=50, overwrite=True))
    folder = DatasetFolder(dataset)
    table = read_interactions(folder.interactions)
    users, items, met = (
        table[name].to_numpy() for name in ("user", "item", "occurrence")
    )
    inverse = 1 / np.bincount(items)[items]
    weights = np.minimum(inverse, np.percentile(np.unique(inverse), 50))
    words = row_words(3, users, items, met) + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    uniforms = ((words >> np.uint64(11)).astype(float) + 0.5) / 2**53
    chosen = np.argsort(-np.log(uniforms) / weights)[:800]
    pool = Counter(zip(users[chosen], items[chosen], met[chosen], strict=True))
    found: Counter[Any] = Counter()
    for name in ("train_intervened", "validation", "test"):
        part = read_interactions(folder.part(name))
        columns = (part[name].to_pylist() for name in ("user", "item", "occurrence"))
        found.update(zip(*columns, strict=True))
    assert found == pool


def test_intervention_evens_out_exposure(dataset: Path) -> None:
    run(SplitOptions(dataset, "intervened", cap_percentile=100, overwrite=True))
    folder = DatasetFolder(dataset)

    def concentration(name: str) -> float:
        items = read_interactions(folder.part(name))["item"].to_numpy()
        shares = np.bincount(items) / len(items)
        return float((shares**2).sum())

    assert concentration("test") < concentration("train") / 2


def test_seed_decides(dataset: Path) -> None:
    fingerprints = []
    for seed in (0, 0, 1):
        manifest = run(SplitOptions(dataset, "random", seed=seed, overwrite=True))
        fingerprints.append(manifest.files)
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_a_share_of_nothing_makes_no_part(dataset: Path) -> None:
    options = SplitOptions(
        dataset, "intervened", intervened_shares=(0.0, 0.5, 0.5), overwrite=True
    )
    assert dict(run(options).counts) == {"train": 1200, "validation": 400, "test": 400}
    assert not DatasetFolder(dataset).part("train_intervened").exists()


def test_refusals(dataset: Path, tmp_path: Path) -> None:
    run(SplitOptions(dataset, "random", overwrite=True))
    with pytest.raises(InputError, match="must not exist yet"):
        run(SplitOptions(dataset, "random"))
    with pytest.raises(InputError, match="found none"):
        run(SplitOptions(tmp_path, "random"))
    for changes, match in (
        ({"rule": "temporal"}, "Unknown rule `temporal`"),
        ({"cap_percentile": 101.0}, r"\[0, 100\]"),
        ({"pool_fraction": 0.0}, r"\(0, 1\)"),
        ({"fractions": (0.5, 0.5)}, "3 shares"),
    ):
        with pytest.raises(InputError, match=match):
            SplitOptions(**({"dataset": dataset, "rule": "random"} | changes))  # type: ignore[arg-type]


def test_too_few_rows_for_every_part(tmp_path: Path) -> None:
    raw = write_csv(tmp_path / "raw.csv", [("a", "x", 1, 1), ("b", "y", 1, 1)])
    ingest(IngestOptions(str(raw), "csv", tmp_path / "dataset"))
    with pytest.raises(InputError, match="`test` gets none of 2"):
        run(SplitOptions(tmp_path / "dataset", "random"))
    assert not DatasetFolder(tmp_path / "dataset").splits.exists()


def test_a_data_set_that_lost_rows_is_refused(tmp_path: Path) -> None:
    raw = write_csv(tmp_path / "raw.csv", raw_rows())
    dataset = tmp_path / "dataset"
    ingest(IngestOptions(str(raw), "csv", dataset))
    path = dataset / "interactions/part-00001.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(InputError, match=r"must have \d+ rows, as its manifest says"):
        run(SplitOptions(dataset, "random"))
    path.unlink()
    with pytest.raises(InputError, match=r"part-00001\.parquet is missing"):
        run(SplitOptions(dataset, "random"))
