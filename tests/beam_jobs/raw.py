"""Raw interactions for tests, and what a job should make of them, in plain Python."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.ingest import IngestOptions
from beam_jobs.ingest import run as ingest
from beam_jobs.popularity import PopularityOptions
from beam_jobs.popularity import run as popularity
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from tfcausal.schema.dataset import DatasetFolder

COLUMNS = ("user_id", "item_id", "rating", "timestamp")
Row = tuple[str, str, float, int]


def raw_rows(seed: int = 0, *, num_rows: int = 2_000) -> list[Row]:
    """Draws rows with repeats, equal times and a long tail of items."""
    generator = np.random.default_rng(seed)
    users = generator.integers(0, 80, num_rows)
    items = np.minimum(generator.pareto(0.9, num_rows) * 4, 99).astype(int)
    ratings = generator.integers(1, 6, num_rows)
    times = generator.integers(0, 300, num_rows)
    return [
        (f"u{user}", f"film {item}", float(rating), int(time))
        for user, item, rating, time in zip(users, items, ratings, times, strict=True)
    ]


def write_csv(path: Path, rows: Sequence[Sequence[Any]]) -> Path:
    """Writes rows with a header."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return path


def write_shards(folder: Path, rows: Sequence[Row], num_files: int = 3) -> Path:
    """Writes rows to several CSV files, in order."""
    folder.mkdir(exist_ok=True)
    for number in range(num_files):
        begin = len(rows) * number // num_files
        end = len(rows) * (number + 1) // num_files
        write_csv(folder / f"{number}.csv", rows[begin:end])
    return folder


def read_interactions(folder: Path) -> pa.Table:
    """Reads all shards below a folder, in order."""
    return pa.concat_tables(
        pq.read_table(path) for path in sorted(folder.glob("part-*.parquet"))
    )


def with_ids(dataset: Path, rows: pa.Table) -> list[tuple[str, str]]:
    """Returns the (user id, item id) of indexed rows."""
    folder = DatasetFolder(dataset)
    users = pq.read_table(folder.users)["user_id"].to_pylist()
    items = pq.read_table(folder.items)["item_id"].to_pylist()
    return [
        (users[user], items[item])
        for user, item in zip(
            rows["user"].to_pylist(), rows["item"].to_pylist(), strict=True
        )
    ]


def make_dataset(tmp_path: Path, *, rows: Sequence[Row] | None = None) -> Path:
    """Ingests raw rows into four shards and splits and counts them."""
    dataset = tmp_path / "dataset"
    raw = write_csv(tmp_path / "raw.csv", raw_rows() if rows is None else rows)
    ingest(IngestOptions(str(raw), "csv", dataset, row_group_size=100))
    split(SplitOptions(dataset, "intervened"))
    popularity(PopularityOptions(dataset))
    return dataset


@dataclass
class Expected:
    """What ingest should keep, computed row by row."""

    rows: dict[tuple[str, str], tuple[float, int]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, rows: Sequence[Row], *, min_rating: float, min_item: int, min_user: int
    ) -> "Expected":
        """Filters by rating, keeps earliest repeats, drops rare items, then users."""
        kept: dict[tuple[str, str], tuple[float, int]] = {}
        for user, item, rating, time in rows:
            if rating < min_rating:
                continue
            earlier = kept.get((user, item))
            if earlier is None or time < earlier[1]:
                kept[user, item] = (rating, time)
        items = Counter(item for _, item in kept)
        kept = {pair: row for pair, row in kept.items() if items[pair[1]] >= min_item}
        users = Counter(user for user, _ in kept)
        return cls(
            {pair: row for pair, row in kept.items() if users[pair[0]] >= min_user}
        )

    def vocabulary(self, place: int) -> list[tuple[str, int]]:
        """Returns (id, count) of users (0) or items (1), the unknown one first."""
        counts = Counter(pair[place] for pair in self.rows)
        ordered = sorted(
            counts.items(), key=lambda entry: (-entry[1], entry[0].encode())
        )
        return [("", 0), *ordered]
