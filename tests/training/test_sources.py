"""Triplets drawn in the graph and triplets that Beam drew are the same batches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beam_jobs import ingest, popularity, split, triplets
from tfcausal import methods
from tfcausal.data.interactions import CheckedDataset, open_dataset, read_part
from tfcausal.data.world_causes import WorldOptions
from tfcausal.data.world_folder import write_world
from tfcausal.errors import InputError
from tfcausal.evaluation.validation import validator
from tfcausal.methods.base import Method
from tfcausal.methods.dice import DICEOptions
from tfcausal.methods.mf import MFOptions
from tfcausal.methods.options import MethodOptions
from tfcausal.methods.two_tower import TwoTowerOptions
from tfcausal.schema.dataset import TRAINING_PARTS
from tfcausal.training.options import TrainingOptions
from tfcausal.training.trainer import train, training_batches

EPOCHS = 3
SEED = 5
DICE_OPTIONS = DICEOptions(embedding_dim=8, margin=4.0, min_pool=6, decay=0.7)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    """The whole way from a world's log, on real Beam pipelines."""
    root = tmp_path_factory.mktemp("world")
    write_world(root / "world", WorldOptions(interactions=12_000))
    data = root / "data"
    ingest.run(
        ingest.IngestOptions(
            input=str(root / "world" / "log"),
            format="parquet",
            output=data,
            user_column="user_id",
            item_column="item_id",
            num_shards=3,
        )
    )
    split.run(split.SplitOptions(dataset=data, rule="intervened", seed=SEED))
    popularity.run(popularity.PopularityOptions(dataset=data))
    triplets.run(
        triplets.TripletOptions(
            dataset=data,
            epochs=EPOCHS,
            seed=SEED,
            margin=DICE_OPTIONS.margin,
            margin_decay=DICE_OPTIONS.decay,
            min_pool=DICE_OPTIONS.min_pool,
        )
    )
    return open_dataset(data)


def dice(dataset: CheckedDataset) -> Method:
    return methods.get("dice")(
        DICE_OPTIONS, num_users=dataset.num_users, num_items=dataset.num_items
    )


@pytest.mark.parametrize("batch_size", [50, 1000, 100_000])
def test_same_batches_bit_for_bit(dataset: CheckedDataset, batch_size: int) -> None:
    drawn, read = (
        training_batches(
            dataset,
            dice(dataset),
            TrainingOptions(
                seed=SEED, epochs=EPOCHS, batch_size=batch_size, triplets=source
            ),
        ).dataset(0, EPOCHS)
        for source in ("graph", "shards")
    )
    batches = 0
    for left, right in zip(
        drawn.as_numpy_iterator(), read.as_numpy_iterator(), strict=True
    ):
        batches += 1
        assert left.keys() == right.keys()
        for name in left:
            assert left[name].dtype == right[name].dtype
            assert np.array_equal(left[name], right[name])
    rows = dataset.splits.counts["train"] + dataset.splits.counts["train_intervened"]
    assert batches == EPOCHS * (rows // min(batch_size, rows))


def test_users_count_alike_where_positives_are_drawn_by_user(
    dataset: CheckedDataset,
) -> None:
    options = TrainingOptions(seed=SEED, batch_size=500, draw_positives="by_user")
    batches = list(
        training_batches(dataset, dice(dataset), options)
        .dataset(0, 40)
        .as_numpy_iterator()
    )
    users = np.concatenate([batch["users"] for batch in batches])
    rows = read_part(dataset.folder, dataset.parts(TRAINING_PARTS))
    known = np.unique(rows.users)
    share = len(users) / len(known)
    drawn = np.bincount(users, minlength=dataset.num_users)[known]
    assert drawn.sum() == len(users)
    assert np.all(np.abs(drawn - share) < 6 * np.sqrt(share))
    # What a user has met is never their negative, whoever is drawn how often.
    met = set(zip(rows.users.tolist(), rows.items.tolist(), strict=True))
    last = batches[-1]
    for user, positive, negatives in zip(
        last["users"].tolist(),
        last["positives"].tolist(),
        last["negatives"].tolist(),
        strict=True,
    ):
        assert (user, positive) in met
        assert not {(user, item) for item in negatives} & met


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("two_tower", TwoTowerOptions()),
        ("dice", replace(DICE_OPTIONS, click_loss="softmax")),
    ],
)
def test_batches_that_are_negatives_are_not_drawn_by_user(
    dataset: CheckedDataset, name: str, given: MethodOptions
) -> None:
    model = methods.get(name).of_dataset(dataset, given)
    training_batches(dataset, model, TrainingOptions())
    with pytest.raises(InputError, match=f"must be each for {name} with a softmax"):
        training_batches(dataset, model, TrainingOptions(draw_positives="by_user"))


def test_same_vectors_after_training(dataset: CheckedDataset, tmp_path: Path) -> None:
    validate = validator(dataset, monitor="recall@20")
    drawn, read = (
        train(
            dataset,
            "dice",
            DICE_OPTIONS,
            TrainingOptions(
                seed=SEED,
                epochs=EPOCHS,
                batch_size=500,
                triplets=source,
                monitor="recall@20",
            ),
            tmp_path / source,
            validate,
            verbose=0,
        ).vectors()
        for source in ("graph", "shards")
    )
    assert np.array_equal(drawn.queries, read.queries)
    assert np.array_equal(drawn.candidates, read.candidates)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (TrainingOptions(seed=SEED + 1, epochs=EPOCHS, triplets="shards"), "seed must"),
        (TrainingOptions(seed=SEED, epochs=99, triplets="shards"), "99 epochs; got 3"),
    ],
)
def test_triplets_of_another_training_are_refused(
    dataset: CheckedDataset, options: TrainingOptions, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        training_batches(dataset, dice(dataset), options)


def test_triplets_of_another_law_are_refused(dataset: CheckedDataset) -> None:
    model = methods.get("mf")(
        MFOptions(), num_users=dataset.num_users, num_items=dataset.num_items
    )
    options = TrainingOptions(seed=SEED, epochs=EPOCHS, triplets="shards")
    with pytest.raises(InputError, match="negatives must be uniform"):
        training_batches(dataset, model, options)
