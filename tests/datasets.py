"""A small data set as the jobs write it, for tests of what comes after them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfcausal.data.interactions import CheckedDataset, open_dataset
from tfcausal.schema import columns
from tfcausal.schema.dataset import (
    TEST,
    TRAIN,
    TRAIN_INTERVENED,
    VALIDATION,
    DatasetFolder,
    shard_name,
)
from tfcausal.schema.manifest import Manifest, checksums, write_manifest

NUM_SHARDS = 3


def write_features(folder: DatasetFolder, num_users: int, num_items: int) -> None:
    """Writes features as ingest does: of users whose group says what they like.

    Every seventh user and every ninth item has none.
    """
    for path, name, size, skipped in (
        (folder.user_features, columns.USER_ID, num_users, 7),
        (folder.item_features, columns.ITEM_ID, num_items, 9),
    ):
        rows = np.arange(size)
        known = rows % skipped != 0
        lists = [[f"g{row % 4}", f"t{row % 5}"][: 1 + row % 2] for row in rows]
        content = {
            name: ["", *(f"{name[0]}{row}" for row in range(1, size))],
            "group": pa.array([f"g{row % 4}" for row in rows], mask=~known),
            "year": pa.array(1980 + rows % 6, mask=~known),
            "length": pa.array((rows % 11) / 2, pa.float32(), mask=~known),
            "tags": [
                one if kept else None for one, kept in zip(lists, known, strict=True)
            ],
        }
        pq.write_table(pa.table(content), path)


def write_dataset(
    root: Path,
    *,
    num_users: int = 120,
    num_items: int = 80,
    seed: int = 0,
    features: bool = False,
    untrained: int = 0,
) -> CheckedDataset:
    """Writes interactions with planted tastes and a long tail, split and counted.

    Users of group g like items of group g; in each group a few items are popular.
    With `features`, both have features. All rows of user `untrained` are for testing.
    """
    generator = np.random.default_rng(seed)
    folder = DatasetFolder(root)
    folder.interactions.mkdir(parents=True)
    rows = []
    for user in range(1, num_users):
        own = np.arange(1, num_items)
        liked = own % 4 == user % 4
        weight = np.where(liked, 30.0, 1.0) / (1 + own / 6)
        chosen = generator.choice(own, 14, replace=False, p=weight / weight.sum())
        rows += [(user, item) for item in chosen]
    table = np.asarray(rows, np.int32)
    users, items = table.T
    for path, name, index in (
        (folder.users, columns.USER_ID, users),
        (folder.items, columns.ITEM_ID, items),
    ):
        size = num_users if name == columns.USER_ID else num_items
        ids = ["", *(f"{name[0]}{row}" for row in range(1, size))]
        counts = np.bincount(index, minlength=size)
        content = pa.table(
            {name: ids, columns.COUNT: counts}, columns.vocabulary_schema(name)
        )
        pq.write_table(content, path)
    if features:
        write_features(folder, num_users, num_items)
    manifest = Manifest(kind="dataset", files=checksums(root))
    write_manifest(root, manifest)

    parts = generator.choice(4, len(users), p=[0.6, 0.1, 0.1, 0.2])
    parts[users == untrained] = 3
    schema = columns.interactions_schema()
    for number, part in enumerate((TRAIN, TRAIN_INTERVENED, VALIDATION, TEST)):
        folder.part(part).mkdir(parents=True)
        for shard in range(NUM_SHARDS):
            chosen = (parts == number) & (users % NUM_SHARDS == shard)
            content = pa.table([users[chosen], items[chosen]], schema=schema)
            pq.write_table(content, folder.part(part) / shard_name(shard))
    splits = Manifest(
        kind="splits",
        inputs={"dataset": manifest.fingerprint},
        files=checksums(folder.splits),
    )
    write_manifest(folder.splits, splits)

    folder.popularity.mkdir(parents=True)
    popularity = np.bincount(items[parts == 0], minlength=num_items)
    rank = np.empty(num_items, np.int32)
    rank[np.argsort(-popularity, kind="stable")] = np.arange(num_items)
    content = pa.table(
        {
            columns.ITEM: np.arange(num_items, dtype=np.int32),
            columns.POPULARITY: popularity,
            columns.POPULARITY_INTERVENED: np.bincount(
                items[parts == 1], minlength=num_items
            ),
            columns.POPULARITY_RANK: rank,
        },
        columns.popularity_schema(),
    )
    pq.write_table(content, folder.popularity / "popularity.parquet")
    write_manifest(
        folder.popularity,
        Manifest(kind="popularity", inputs={"splits": splits.fingerprint}),
    )
    return open_dataset(root)
