"""Triplets by popularity, with hard negatives, and with the log_q of every draw."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.popularity import PopularityOptions
from beam_jobs.popularity import run as popularity
from beam_jobs.split import SplitOptions
from beam_jobs.split import run as split
from beam_jobs.triplets import JOB, TripletOptions, run
from tests.beam_jobs.raw import make_dataset
from tests.runs import random_vectors, write_run
from tfcausal import methods
from tfcausal.data.interactions import (
    Interactions,
    open_dataset,
    read_part,
    read_popularity,
)
from tfcausal.data.training_rows import Columns, TripletShards
from tfcausal.errors import InputError
from tfcausal.evaluation.validation import validator
from tfcausal.methods.mf import MFOptions
from tfcausal.methods.triplets import TripletBatch
from tfcausal.schema.dataset import TRAINING_PARTS, DatasetFolder
from tfcausal.schema.manifest import checksums, read_manifest
from tfcausal.schema.vectors import CausalVectors
from tfcausal.stats.order import BLOCK_ROWS
from tfcausal.training.options import TrainingOptions
from tfcausal.training.trainer import train, training_batches

POOL = 6


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a data set that is split and counted."""
    return make_dataset(tmp_path_factory.mktemp("laws"))


@pytest.fixture(scope="module")
def vectors(dataset: Path) -> CausalVectors:
    checked = open_dataset(dataset)
    return random_vectors(checked.num_users, checked.num_items, num_queries=2)


@pytest.fixture(scope="module")
def model(dataset: Path, vectors: CausalVectors) -> Path:
    """Returns a finished run on the data set."""
    folder = dataset.parent / "run"
    write_run(folder, open_dataset(dataset), vectors)
    return folder


def training_rows(dataset: Path) -> Interactions:
    checked = open_dataset(dataset)
    return read_part(checked.folder, checked.parts(TRAINING_PARTS))


def read_epoch(dataset: Path, epoch: int = 0) -> Columns:
    blocks = list(TripletShards(open_dataset(dataset), num_epochs=1).blocks(epoch))
    return {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}


def hard_items(
    rows: Interactions, vectors: CausalVectors, user: int
) -> tuple[set[int], set[int]]:
    """Returns a user's hard negatives, and all items that the user has not met."""
    unmet = set(range(1, len(vectors.candidates))) - set(
        rows.items[rows.users == user].tolist()
    )
    scores: npt.NDArray[Any] = (
        vectors.queries[user].astype(np.float64)
        @ vectors.candidates.astype(np.float64).T
    ).max(axis=0)
    best = sorted(unmet, key=lambda item: -scores[item])[:POOL]
    return set(best), unmet


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_by_popularity_with_log_q(dataset: Path, beta: float) -> None:
    manifest = run(
        TripletOptions(
            dataset,
            epochs=2,
            negatives="popularity",
            beta=beta,
            log_q=True,
            overwrite=True,
        )
    )
    assert manifest.options["negatives"] == "popularity"
    assert manifest.options["beta"] == beta
    assert manifest.options["log_q"] is True
    rows, popularity = training_rows(dataset), read_popularity(open_dataset(dataset))
    assert not np.array_equal(
        read_epoch(dataset, 0)["negatives"], read_epoch(dataset, 1)["negatives"]
    )
    drawn = read_epoch(dataset)
    assert drawn["log_q"].dtype == np.float32
    assert len(drawn["users"]) == len(rows)
    for row, user in enumerate(drawn["users"].tolist()):
        met = set(rows.items[rows.users == user].tolist())
        left = set(np.flatnonzero(popularity).tolist()) - met
        total = sum(float(popularity[item]) ** beta for item in left)
        for negative, found in zip(
            drawn["negatives"][row], drawn["log_q"][row], strict=True
        ):
            assert negative in left
            expected = math.log(float(popularity[negative]) ** beta / total)
            assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("negatives", ["popularity_margin", "uniform"])
def test_log_q_changes_no_draw(dataset: Path, negatives: Any) -> None:
    options = {"epochs": 1, "margin": 3.0, "min_pool": 4, "overwrite": True}
    run(TripletOptions(dataset, negatives=negatives, **options))
    plain = read_epoch(dataset)
    run(TripletOptions(dataset, negatives=negatives, log_q=True, **options))
    told = read_epoch(dataset)
    assert set(told) == {*plain, "log_q"}
    for name, column in plain.items():
        assert np.array_equal(column, told[name])
    assert np.allclose(told["log_q"], -np.log(told["support"]), rtol=1e-6)


def test_all_negatives_are_hard(
    dataset: Path, model: Path, vectors: CausalVectors
) -> None:
    manifest = run(
        TripletOptions(
            dataset,
            epochs=2,
            hard_negatives=model,
            hard_pool=POOL,
            log_q=True,
            overwrite=True,
        )
    )
    assert manifest.inputs["run"] == read_manifest(model, kind="run").fingerprint
    assert manifest.options["hard_pool"] == POOL
    assert manifest.options["hard_share"] == 1.0
    assert manifest.counts["rows_short_of_negatives"] == 0
    rows, popularity = training_rows(dataset), read_popularity(open_dataset(dataset))
    assert manifest.counts["rows_per_epoch"] == len(rows)
    drawn_for: dict[int, set[int]] = {}
    for epoch in (0, 1):
        drawn = read_epoch(dataset, epoch)
        pairs = zip(drawn["users"].tolist(), drawn["positives"].tolist(), strict=True)
        expected = zip(rows.users.tolist(), rows.items.tolist(), strict=True)
        assert sorted(pairs) == sorted(expected)
        assert (drawn["support"] == POOL).all()
        assert np.allclose(drawn["log_q"], -math.log(POOL))
        gap = popularity[drawn["negatives"]] - popularity[drawn["positives"]][:, None]
        # Tie, less popular, more popular: 0, 1, 2.
        assert np.array_equal(drawn["case"], np.asarray([0, 2, 1])[np.sign(gap)])
        for user, chosen in zip(
            drawn["users"].tolist(), drawn["negatives"], strict=True
        ):
            drawn_for.setdefault(user, set()).update(chosen.tolist())
    for user, items in drawn_for.items():
        assert items <= hard_items(rows, vectors, user)[0]
    # Over two epochs most users have seen most of theirs.
    assert np.mean([len(items) for items in drawn_for.values()]) > POOL - 1


def test_a_share_is_hard_and_the_rest_by_the_law(
    dataset: Path, model: Path, vectors: CausalVectors
) -> None:
    options = {"epochs": 1, "negatives": "uniform", "overwrite": True}
    run(TripletOptions(dataset, **options))
    plain = read_epoch(dataset)["negatives"]
    run(
        TripletOptions(
            dataset,
            hard_negatives=model,
            hard_pool=POOL,
            hard_share=0.25,
            log_q=True,
            **options,
        )
    )
    drawn = read_epoch(dataset)
    rows = training_rows(dataset)
    replaced = 0
    for row, user in enumerate(drawn["users"].tolist()):
        hard, unmet = hard_items(rows, vectors, user)
        for column, negative in enumerate(drawn["negatives"][row].tolist()):
            likely = 0.25 * (negative in hard) / POOL + 0.75 / len(unmet)
            found = drawn["log_q"][row, column]
            assert found == pytest.approx(math.log(likely), rel=1e-5)
            if negative != plain[row, column]:
                assert negative in hard
                replaced += 1
    total = plain.size
    # A coin's share, less what was hard by chance already; five standard deviations.
    assert 0.2 * total < replaced < 0.25 * total + 5 * (total * 3 / 16) ** 0.5


@pytest.mark.parametrize(
    "flags",
    [
        ["--runner=local"],
        ["--direct_running_mode=multi_threading", "--direct_num_workers=2"],
    ],
    ids=["local", "threads"],
)
def test_same_bytes_on_every_runner(
    dataset: Path, model: Path, flags: list[str]
) -> None:
    for changes in (
        {"negatives": "popularity", "beta": 0.75, "log_q": True},
        {"hard_negatives": model, "hard_share": 0.5, "hard_pool": 9, "log_q": True},
    ):
        found = []
        for runner in ([], flags):
            run(
                TripletOptions(dataset, epochs=3, overwrite=True, **changes),
                PipelineOptions(runner),
            )
            folder = DatasetFolder(dataset).triplets
            found.append(
                checksums(folder) | {"": (folder / "manifest.json").read_text()}
            )
        assert found[0] == found[1]
        assert len(found[0]) == 3 * 4 + 1


def test_examples_hold_log_q(dataset: Path, model: Path) -> None:
    options = {"epochs": 1, "hard_negatives": model, "log_q": True, "overwrite": True}
    run(TripletOptions(dataset, **options))
    expected = read_epoch(dataset)
    run(TripletOptions(dataset, record_format="examples", **options))
    folder = DatasetFolder(dataset).triplets / "epoch-0000"
    records = tf.data.TFRecordDataset([str(p) for p in sorted(folder.iterdir())])
    parsed = tf.io.parse_example(
        list(records.as_numpy_iterator()),
        {
            "user": tf.io.FixedLenFeature([], tf.int64),
            "log_q": tf.io.FixedLenFeature([4], tf.float32),
        },
    )
    # The reader takes a block of each shard in turn; here a shard is one block.
    assert len(expected["users"]) < BLOCK_ROWS
    assert np.array_equal(parsed["user"].numpy(), expected["users"])
    assert np.array_equal(parsed["log_q"].numpy(), expected["log_q"])


def test_training_reads_hard_negatives_and_their_log_q(
    dataset: Path, model: Path, tmp_path: Path
) -> None:
    manifest = run(
        TripletOptions(
            dataset,
            epochs=1,
            seed=3,
            negatives="uniform",
            hard_negatives=model,
            hard_share=0.5,
            hard_pool=POOL,
            log_q=True,
            overwrite=True,
        )
    )
    checked = open_dataset(dataset)
    options = TrainingOptions(
        seed=3, epochs=1, batch_size=64, triplets="shards", monitor="recall@20"
    )
    method = methods.get("mf")(
        MFOptions(), num_users=checked.num_users, num_items=checked.num_items
    )
    inputs = next(iter(training_batches(checked, method, options).dataset(0, 1)))
    batch = TripletBatch(**inputs)
    assert np.array_equal(batch.log_q, inputs["log_q"])
    assert not np.allclose(batch.log_q, -np.log(batch.support))
    trained = train(
        checked,
        "mf",
        MFOptions(),
        options,
        tmp_path / "run",
        validator(checked, monitor="recall@20"),
        verbose=0,
    )
    assert trained.manifest.inputs["triplets"] == manifest.fingerprint


def test_training_without_log_q_takes_it_from_support() -> None:
    support = tf.constant([[4, 2, 0]], tf.int32)
    users = tf.constant([1])
    batch = TripletBatch(users, users, support, tf.cast(support, tf.int8), support)
    assert np.allclose(batch.log_q, [[-math.log(4), -math.log(2), 0]])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"beta": -1.0, "negatives": "popularity"}, "`beta` must be finite and >= 0"),
        ({"hard_share": 0.0}, "`hard_share` must be above 0 and at most 1; got 0.0"),
        ({"hard_share": 1.5}, "`hard_share` must be above 0"),
        ({"hard_pool": 0}, "`hard_pool` must be at least 1"),
    ],
)
def test_senseless_options_are_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        TripletOptions(Path("d"), epochs=1, **changes)


def test_what_is_no_run_is_refused(dataset: Path, tmp_path: Path) -> None:
    def refused(match: str) -> None:
        with pytest.raises(InputError, match=match):
            run(
                TripletOptions(
                    dataset, epochs=1, hard_negatives=tmp_path / "run", overwrite=True
                )
            )

    refused("must hold a finished result of kind run")
    exported = tmp_path / "run"
    exported.mkdir()
    (exported / "saved_model.pb").touch()
    refused("got the exported model .* Pass the run it was made from")


@pytest.mark.parametrize("name", ["users", "items"])
def test_vectors_of_another_size_are_refused(
    dataset: Path, tmp_path: Path, name: str
) -> None:
    checked = open_dataset(dataset)
    sizes = {"users": checked.num_users, "items": checked.num_items}
    sizes[name] += 1
    write_run(tmp_path / "run", checked, random_vectors(sizes["users"], sizes["items"]))
    with pytest.raises(
        InputError, match=f"of {sizes[name] - 1} {name}, .* got {sizes[name]}"
    ):
        run(
            TripletOptions(
                dataset, epochs=1, hard_negatives=tmp_path / "run", overwrite=True
            )
        )


def test_vectors_that_were_changed_are_refused(
    dataset: Path, vectors: CausalVectors, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    write_run(folder, open_dataset(dataset), vectors)
    options = TripletOptions(dataset, epochs=1, hard_negatives=folder, overwrite=True)
    path = folder / "vectors" / "candidates.npy"
    np.save(path, vectors.candidates * 2)
    with pytest.raises(InputError, match="is missing or has changed since"):
        run(options)
    # A pickle could run any code; it is not read at all.
    np.save(path, np.asarray([object()], object), allow_pickle=True)
    with pytest.raises(InputError, match="must hold saved vectors"):
        run(options)
    path.unlink()
    with pytest.raises(InputError, match="must hold saved vectors"):
        run(options)


def test_a_run_on_another_split_is_refused(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    checked = open_dataset(dataset)
    vectors = random_vectors(checked.num_users, checked.num_items)
    write_run(tmp_path / "run", checked, vectors)
    split(SplitOptions(dataset, "intervened", seed=1, overwrite=True))
    flags = [f"--dataset={dataset}", "--epochs=1", "--negatives=uniform"]
    # The new split is not counted yet.
    assert JOB.main(flags) == 2
    popularity(PopularityOptions(dataset, overwrite=True))
    assert JOB.main(flags) == 0
    with pytest.raises(InputError, match=r"inputs\.splits must be"):
        run(
            TripletOptions(
                dataset, epochs=1, hard_negatives=tmp_path / "run", overwrite=True
            )
        )
