"""Noise in histories: how much of what is replaced, by what, and what it costs."""

import math

import numpy as np
import pytest

from tests.datasets import write_dataset
from tfcausal import methods
from tfcausal.data.interactions import CheckedDataset
from tfcausal.errors import InputError
from tfcausal.evaluation.evaluator import evaluate
from tfcausal.evaluation.noise import (
    CONCEPT_AUC,
    concept_auc,
    noise_curve,
    noise_places,
    with_noise,
)
from tfcausal.evaluation.ranking import ItemLists
from tfcausal.evaluation.validation import evaluation_set
from tfcausal.methods.histories import HistoryMethod
from tfcausal.schema.protocol import protocol

NUM_ITEMS = 500


@pytest.fixture(scope="module")
def histories() -> np.ndarray:
    generator = np.random.default_rng(0)
    found = generator.integers(1, NUM_ITEMS, (400, 12)).astype(np.int32)
    found[np.arange(12) >= generator.integers(0, 13, 400)[:, None]] = 0
    return found


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 1.0])
def test_so_many_items_of_each_history_change(
    histories: np.ndarray, share: float
) -> None:
    noisy = with_noise(histories, share, NUM_ITEMS)
    for before, after in zip(histories, noisy, strict=True):
        length = int((before > 0).sum())
        assert (after[:length] > 0).all()
        assert (after[:length] < NUM_ITEMS).all()
        assert not after[length:].any()
        wanted = math.floor(share * length + 0.5)
        # A draw may be the very item that it replaces.
        assert wanted - 1 <= (before != after).sum() <= wanted


def test_places_and_items_are_drawn_evenly_and_nested(histories: np.ndarray) -> None:
    full = np.tile(np.int32(NUM_ITEMS), (20_000, 10))
    noisy = with_noise(full, 0.3, NUM_ITEMS)
    changed = noisy != full
    assert changed.sum(axis=1).tolist() == [3] * len(full)
    np.testing.assert_allclose(changed.mean(axis=0), 0.3, atol=0.015)
    counts = np.bincount(noisy[changed], minlength=NUM_ITEMS)[1:]
    expected = changed.sum() / (NUM_ITEMS - 1)
    assert abs(counts - expected).max() < 5 * math.sqrt(expected)
    more = with_noise(full, 0.6, NUM_ITEMS)
    assert np.array_equal(more[changed], noisy[changed])
    assert not np.array_equal(noisy, with_noise(full, 0.3, NUM_ITEMS, seed=1))
    with pytest.raises(InputError, match=r"`share` must be from 0 to 1; got 1\.5"):
        with_noise(histories, 1.5, NUM_ITEMS)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    return write_dataset(tmp_path_factory.mktemp("dataset") / "data", num_users=200)


def test_without_noise_it_is_the_evaluation_and_all_noise_costs_most(
    dataset: CheckedDataset,
) -> None:
    method = methods.get("youtube_dnn")
    model = method.of_dataset(dataset, method.options_class(max_length=8))
    assert isinstance(model, HistoryMethod)
    # What is read gives the taste: items of a group point in a direction.
    table = np.zeros((dataset.num_items, 64), np.float32)
    table[np.arange(dataset.num_items), np.arange(dataset.num_items) % 4] = 1.0
    model.items.table.assign(table)
    model.encoder.kernels[0].assign(np.eye(64, dtype=np.float32))
    chosen = protocol("dice")
    against = evaluation_set(dataset, "test", chosen)
    none, some, all_ = noise_curve(
        model, dataset, against, chosen, shares=(0.0, 0.4, 1.0)
    )
    plain = evaluate(model.vectors(), against, chosen).metrics
    assert none == {"noise": 0.0, **plain}
    assert none["recall@20"] > some["recall@20"] > all_["recall@20"]
    assert all_["recall@20"] < 0.7 * none["recall@20"]
    # Half of the pairs are of one group, which random clicks are for a quarter.
    assert some[CONCEPT_AUC] > 0.6
    assert CONCEPT_AUC not in all_


def test_the_concept_auc_is_that_of_every_pair() -> None:
    generator = np.random.default_rng(5)
    # Few values, so that scores are often equal.
    vectors = generator.integers(-1, 2, (40, 3)).astype(np.float32)
    found = generator.integers(1, 40, (30, 6)).astype(np.int32)
    found[np.arange(6) >= generator.integers(0, 7, 30)[:, None]] = 0
    noise = noise_places(found, 0.4)
    noisy = with_noise(found, 0.4, 40)
    assert np.array_equal(noisy[~noise], found[~noise])
    lengths = generator.integers(0, 4, 30)
    targets = ItemLists(
        np.concatenate([[0], lengths.cumsum()]),
        generator.integers(1, 40, lengths.sum()).astype(np.int32),
    )
    rows = []
    for user, history in enumerate(noisy):
        for target in targets.items[targets.offsets[user] : targets.offsets[user + 1]]:
            scores = vectors[history] @ vectors[target]
            wins = [
                1.0
                if scores[own] > scores[other]
                else 0.5 * (scores[own] == scores[other])
                for own in range(6)
                for other in range(6)
                if history[own] and not noise[user, own] and noise[user, other]
            ]
            if wins:
                rows.append(np.mean(wins))
    auc = concept_auc(vectors, noisy, noise, targets)
    assert auc == pytest.approx(np.mean(rows), abs=1e-12)
    assert concept_auc(vectors, found, np.zeros_like(noise), targets) is None
