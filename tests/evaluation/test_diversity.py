"""Accuracy and diversity of lists over the weight of diversity."""

import numpy as np
import pytest

from tests.datasets import write_dataset
from tests.runs import random_vectors
from tfcausal.data.interactions import CheckedDataset
from tfcausal.errors import InputError
from tfcausal.evaluation.diversity import diversity_curve
from tfcausal.evaluation.evaluator import evaluate
from tfcausal.evaluation.ranking import rank_all
from tfcausal.evaluation.validation import evaluation_set
from tfcausal.schema.protocol import protocol
from tfcausal.stats.concepts import MultiHot


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CheckedDataset:
    return write_dataset(tmp_path_factory.mktemp("dataset") / "data")


@pytest.fixture(scope="module")
def concept(dataset: CheckedDataset) -> MultiHot:
    """Four groups, of which every ninth item has none."""
    items = np.arange(dataset.num_items)
    known = items % 9 != 0
    indptr = np.append(0, np.cumsum(known))
    return MultiHot(indptr, (items[known] % 4).astype(np.int32))


@pytest.mark.parametrize("name", ["dice", "dccl"])
def test_without_weight_it_is_the_evaluation(
    dataset: CheckedDataset, concept: MultiHot, name: str
) -> None:
    vectors = random_vectors(dataset.num_users, dataset.num_items)
    chosen = protocol(name)
    against = evaluation_set(dataset, "test", chosen)
    plain, some, all_ = diversity_curve(
        vectors, against, chosen, concept, weights=(0.0, 0.2, 100.0), pool=2
    )
    metrics = evaluate(vectors, against, chosen).metrics
    assert plain == {
        "weight": 0.0,
        **metrics,
        **{key: value for key, value in plain.items() if key.startswith("diversity")},
    }
    assert plain["diversity@20"] < some["diversity@20"] < all_["diversity@20"] <= 1

    # The mean over users of the share of pairs, counted one by one.
    users = np.flatnonzero(against.positives.lengths).astype(np.int32)
    shares = []
    for block in rank_all(vectors, users, against.masked, 20):
        for listed in block.items:
            about = [(-1 - item) if item % 9 == 0 else item % 4 for item in listed]
            pairs = [a != b for n, a in enumerate(about) for b in about[:n]]
            shares.append(np.mean(pairs))
    assert plain["diversity@20"] == pytest.approx(np.mean(shares))


def test_refusals(dataset: CheckedDataset, concept: MultiHot) -> None:
    vectors = random_vectors(dataset.num_users, dataset.num_items)
    chosen = protocol("dice")
    against = evaluation_set(dataset, "test", chosen)
    for weight, pool, message in (
        (-1.0, 2, "`diversity` must be >= 0"),
        (0.1, 0, "`pool` must be at least 1; got 0"),
    ):
        with pytest.raises(InputError, match=message):
            diversity_curve(
                vectors, against, chosen, concept, weights=(weight,), pool=pool
            )
