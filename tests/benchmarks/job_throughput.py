"""Rows a second and peak memory of every job, beside what else would do the work.

    python -m tests.benchmarks.job_throughput --rows=20000000

Writes synthetic rows as Parquet and as CSV, and features of the items, then runs the
jobs one by one, in processes of their own whose whole time counts: imports, pipeline,
files, checksums; what that start takes by itself is measured on a thousand rows. DuckDB
and Polars do the same on the same files, and Beam pipelines that work row by row on the
first shard of them. A second table says what each result weighs. What drift compares is
the data set of the first file of rows with that of all; its rows are the ids of both.
"""

import math
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import click
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from beam_jobs.runtime.pipeline import LOCAL_RUNNER, WITHOUT_BEAM
from tests.benchmarks.processes import Usage, run_measured

ROWS_IN_FILE = 1 << 21
ROW_GROUP_SIZE = 131_072
NUM_ITEMS = 50_000
ROWS_OF_A_USER = 200
ROWS_OF_A_SHARD = 2_500_000
MAX_LENGTH = 20
NUM_MAKERS = 5_000
NUM_GENRES = 20
GENRES_OF_AN_ITEM = 3


def write_raw(folder: Path, rows: int) -> None:
    """Writes raw rows in order of time, items in a long tail, as Parquet and as CSV."""
    for form in ("parquet", "csv"):
        (folder / form).mkdir(parents=True)
    users = max(rows // ROWS_OF_A_USER, 100)
    for number, begin in enumerate(range(0, rows, ROWS_IN_FILE)):
        generator = np.random.default_rng(number)
        size = min(ROWS_IN_FILE, rows - begin)
        table = pa.table(
            {
                "user_id": generator.integers(0, users, size),
                "item_id": (NUM_ITEMS * generator.random(size) ** 3).astype(np.int64),
                "timestamp": 1_500_000_000 + begin + np.arange(size),
            }
        )
        name = f"{number:05d}"
        pq.write_table(
            table, folder / f"parquet/{name}.parquet", row_group_size=ROW_GROUP_SIZE
        )
        pyarrow.csv.write_csv(table, folder / f"csv/{name}.csv")


def write_features(path: Path) -> None:
    """Writes a maker and some genres of each item; genres of an item may be equal."""
    generator = np.random.default_rng(0)
    genres = generator.integers(0, NUM_GENRES, (NUM_ITEMS, GENRES_OF_AN_ITEM))
    makers = (NUM_MAKERS * generator.random(NUM_ITEMS) ** 2).astype(np.int64)
    table = {
        "item_id": np.arange(NUM_ITEMS),
        "maker": makers,
        "genres": genres.tolist(),
    }
    pq.write_table(pa.table(table), path)


def duckdb_popularity(train: Path) -> None:
    """Counts items with DuckDB."""
    import duckdb

    duckdb.sql("SET threads TO 2")
    files = f"'{train}/*.parquet'"
    duckdb.sql(f"SELECT item, count(*) FROM {files} GROUP BY item").fetchnumpy()


def polars_popularity(train: Path) -> None:
    """Counts items with Polars."""
    import polars

    rows = polars.scan_parquet(f"{train}/*.parquet")
    rows.group_by("item").len().collect()


def beam_popularity(train: Path) -> None:
    """Counts items with Beam, a row at a time."""
    with beam.Pipeline(runner=LOCAL_RUNNER) as pipeline:
        _ = (
            pipeline
            | beam.io.ReadFromParquet(f"{train}/part-00000.parquet", columns=["item"])
            | beam.Map(lambda row: (row["item"], 1))
            | beam.CombinePerKey(sum)
        )


def duckdb_sequences(train: Path) -> None:
    """Cuts every prefix of each user's history with DuckDB's windows."""
    import duckdb

    duckdb.sql("SET threads TO 2")
    before = f"ROWS BETWEEN {MAX_LENGTH} PRECEDING AND 1 PRECEDING"
    duckdb.sql(
        f"""COPY (SELECT * FROM (
            SELECT user, item AS target, array_agg(item) OVER (
                PARTITION BY user ORDER BY timestamp {before}) AS history
            FROM '{train}/*.parquet') WHERE len(history) >= 4)
        TO '{train}/../duckdb.parquet'"""
    )


def polars_sequences(train: Path) -> None:
    """Cuts every prefix of each user's history with Polars' shifted columns."""
    import polars

    shifted = [
        polars.col("item").shift(back).over("user").alias(f"back_{back}")
        for back in range(1, MAX_LENGTH + 1)
    ]
    rows = polars.scan_parquet(f"{train}/*.parquet").sort("user", "timestamp")
    cut = rows.with_columns(shifted).filter(polars.col("back_4").is_not_null())
    cut.collect().write_parquet(train.parent / "polars.parquet")


class _DrawNegatives(beam.DoFn):
    """Uniform negatives by rejection, as one writes it first."""

    def __init__(self, num_items: int) -> None:
        self._num_items = num_items

    def process(self, user: tuple[int, list[int]]) -> Iterator[tuple[int, int, int]]:
        generator = np.random.default_rng(user[0])
        met = set(user[1])
        for item in user[1]:
            drawn = 0
            while drawn < 4:
                negative = int(generator.integers(1, self._num_items))
                if negative not in met:
                    drawn += 1
                    yield user[0], item, negative


def beam_triplets(train: Path) -> None:
    """Draws four negatives a row with Beam, a row at a time."""
    with beam.Pipeline(runner=LOCAL_RUNNER) as pipeline:
        _ = (
            pipeline
            | beam.io.ReadFromParquet(f"{train}/part-00000.parquet")
            | beam.Map(lambda row: (row["user"], row["item"]))
            | beam.GroupByKey()
            | beam.MapTuple(lambda user, items: (user, list(items)))
            | beam.ParDo(_DrawNegatives(NUM_ITEMS))
            | beam.combiners.Count.Globally()
        )


def polars_concepts(train: Path) -> None:
    """Counts for each user the items with each maker and genre, with Polars."""
    import polars

    files = [f"{part}/*.parquet" for part in training_parts(train.parents[1])]
    rows = polars.scan_parquet(files).select("user", "item").unique()
    features = polars.scan_parquet(train.parents[1] / "item_features.parquet")
    features = features.with_row_index("item").with_columns(
        polars.col("item").cast(polars.Int32)
    )
    for name in ("maker", "genres"):
        values = features.select("item", name).drop_nulls()
        if name == "genres":
            values = values.explode(name).unique()
        counts = rows.join(values, on="item").group_by("user", name).len()
        written = train.parent / f"polars_{name}.parquet"
        counts.sort("user", name).collect().write_parquet(written)


def polars_drift(train: Path) -> None:
    """Joins the ids of two data sets and sums their Jensen-Shannon divergence."""
    import polars

    data = train.parents[1]
    for name in ("user", "item"):
        before, after = (
            polars.scan_parquet(folder / f"{name}s.parquet")
            .filter(polars.col("count") > 0)
            .with_columns(share=polars.col("count") / polars.col("count").sum())
            for folder in (data.parent / "earlier", data)
        )
        joined = before.join(after, on=f"{name}_id", how="full").fill_null(0)
        p, q = polars.col("share"), polars.col("share_right")
        middle = (p + q) / 2
        parts = [
            polars.when(share > 0).then(share * (share / middle).log(2)).otherwise(0.0)
            for share in (p, q)
        ]
        moved = joined.with_columns(shift=(parts[0] + parts[1]) / 2).collect()
        moved["shift"].sum()
        both = moved.filter((moved["share"] > 0) & (moved["share_right"] > 0))
        both.select(polars.corr("count", "count_right", method="spearman"))
        moved.top_k(1_000, by="shift").write_parquet(data / f"polars_{name}s.parquet")


OTHERS = {
    function.__name__: function
    for function in (
        beam_popularity,
        duckdb_popularity,
        polars_popularity,
        beam_triplets,
        duckdb_sequences,
        polars_sequences,
        polars_concepts,
        polars_drift,
    )
}


def training_parts(data: Path) -> list[Path]:
    """Returns the parts that a split under intervention gives to training."""
    return [data / "splits" / part for part in ("train", "train_intervened")]


def count_rows(folder: Path) -> int:
    """Returns the number of rows of a part."""
    return sum(pq.read_metadata(path).num_rows for path in folder.iterdir())


def job(name: str, *flags: str) -> Usage:
    """Runs a job of the project."""
    return run_measured([sys.executable, "-m", f"beam_jobs.{name}", "--json", *flags])


def measure_start(work: Path, runner: str) -> dict[str, Usage]:
    """Runs popularity on a thousand rows, in this process and in two."""
    write_raw(work, 1_000)
    data = work / "data"
    job("ingest", f"--input={work}/csv", "--format=csv", f"--output={data}")
    job("split", f"--dataset={data}", "--rule=random")
    on = (f"--dataset={data}", f"--runner={runner}", "--overwrite")
    workers = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    return {
        "start": job("popularity", *on),
        "start, two processes": job("popularity", *on, *workers),
    }


def weights(data: Path, raw: Path, rows: int, trained: int) -> Table:
    """Returns the bytes of each result, and how many those are a row."""
    table = Table(title="bytes")
    for column in ("what", "rows", "MiB", "bytes/row"):
        table.add_column(column, justify="left" if column == "what" else "right")
    parts = [data / "splits" / part for part in ("train", "validation", "test")]
    parts.append(data / "splits" / "train_intervened")
    known = sum(map(count_rows, training_parts(data)))
    for what, folders, of in (
        ("raw, CSV", [raw / "csv"], rows),
        ("raw, Parquet", [raw / "parquet"], rows),
        ("data set without vocabularies", [data / "interactions"], rows),
        ("split, intervened", parts, rows),
        ("triplets, four negatives", [data / "triplets"], trained),
        ("sequences, every prefix", [data / "sequences"], trained),
        ("graph", [data / "graph"], trained),
        ("concepts, maker and genres", [data / "features" / "item_concepts"], known),
        ("vocabulary of users", [data / "users.parquet"], max(rows // 200, 100)),
    ):
        found = sum(
            path.stat().st_size
            for folder in folders
            for path in (folder, *folder.rglob("*"))
            if path.is_file()
        )
        table.add_row(what, f"{of:,}", f"{found / 2**20:,.1f}", f"{found / of:.1f}")
    return table


def other(name: str, train: Path) -> Usage:
    """Runs one of OTHERS in a process of its own."""
    module = "tests.benchmarks.job_throughput"
    command = [sys.executable, "-m", module, f"--other={name}", f"--folder={train}"]
    return run_measured(command)


@click.command()
@click.option("--rows", default=20_000_000, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to write.")
@click.option("--runner", default=LOCAL_RUNNER, show_default=True)
@click.option(
    "--others/--no-others", default=True, help="Whether to measure those too."
)
@click.option("--other", "other_name", type=click.Choice(list(OTHERS)), hidden=True)
def main(
    rows: int, folder: Path | None, runner: str, others: bool, other_name: str | None
) -> None:
    """Measure every job."""
    if other_name:
        assert folder is not None
        OTHERS[other_name](folder)
        return
    work = Path(tempfile.mkdtemp(dir=folder))
    write_raw(work, rows)
    write_features(work / "features.parquet")
    table = Table(title=f"{rows:,} rows")
    for column in ("what", "rows", "seconds", "rows/s", "peak MiB"):
        table.add_column(column, justify="left" if column == "what" else "right")

    def compare(name: str, of: int) -> None:
        if others:
            show(name, of, other(name, train))

    def show(what: str, of: int, usage: Usage) -> None:
        table.add_row(
            what,
            f"{of:,}",
            f"{usage.seconds:.1f}",
            f"{of / usage.seconds:,.0f}",
            f"{usage.peak_bytes / 2**20:,.0f}",
        )
        Console(stderr=True).print(f"{what}: {usage.seconds:.1f} s")

    for what, usage in measure_start(work / "few", runner).items():
        show(what, 1_000, usage)
    data, shards = work / "data", max(4, math.ceil(rows / ROWS_OF_A_SHARD))
    to = [f"--output={data}", f"--runner={runner}"]
    shape = ("--repeats=keep", f"--num_shards={shards}")
    usage = job("ingest", f"--input={work}/csv", "--format=csv", *to, *shape)
    show("ingest, CSV", rows, usage)
    shutil.rmtree(data)
    parquet = (
        f"--input={work}/parquet",
        "--format=parquet",
        f"--item_features={work}/features.parquet",
        f"--output={data}",
    )
    usage = job("ingest", *parquet, *shape, f"--runner={WITHOUT_BEAM}")
    show(f"ingest, Parquet, --runner={WITHOUT_BEAM}", rows, usage)
    shutil.rmtree(data)
    usage = job("ingest", *parquet, *shape, f"--runner={runner}")
    show("ingest, Parquet", rows, usage)
    on = (f"--dataset={data}", f"--runner={runner}")
    show("split, random", rows, job("split", *on, "--rule=random", "--overwrite"))
    usage = job("split", *on, "--rule=intervened", "--overwrite")
    show("split, intervened", rows, usage)
    train = data / "splits" / "train"
    trained = count_rows(train)
    show("popularity", trained, job("popularity", *on))
    first = pq.read_metadata(train / "part-00000.parquet").num_rows
    compare("duckdb_popularity", trained)
    compare("polars_popularity", trained)
    compare("beam_popularity", first)
    show("triplets, four negatives", trained, job("triplets", *on, "--epochs=1"))
    compare("beam_triplets", first)
    show("sequences, every prefix", trained, job("sequences", *on))
    compare("duckdb_sequences", trained)
    compare("polars_sequences", trained)
    show("graph", trained, job("graph", *on))
    known = sum(map(count_rows, training_parts(data)))
    usage = job("item_concepts", *on, "--concepts=maker,genres")
    show("item_concepts, maker and genres", known, usage)
    compare("polars_concepts", known)
    earlier = work / "earlier"
    first_file = f"--input={work}/parquet/00000.parquet"
    job("ingest", first_file, "--format=parquet", f"--output={earlier}", *shape)
    ids = sum(
        pq.read_metadata(folder / f"{name}.parquet").num_rows
        for folder in (earlier, data)
        for name in ("users", "items")
    )
    both = (f"--before={earlier}", f"--after={data}", f"--output={work}/drift")
    show("drift", ids, job("drift", *both, f"--runner={runner}"))
    compare("polars_drift", ids)
    Console().print(table, weights(data, work, rows, trained))
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
