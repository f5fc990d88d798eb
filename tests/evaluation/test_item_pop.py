"""ItemPop: everyone gets the same items, by falling count."""

import numpy as np

from tfcausal.evaluation.item_pop import item_pop


def test_every_user_gets_the_most_popular_items() -> None:
    vectors = item_pop(np.asarray([0, 2, 9, 4]), num_users=3)
    scores = vectors.queries[:, 0] @ vectors.candidates.T
    assert scores.tolist() == [[0, 2, 9, 4]] * 3
    assert list(vectors.causes) == ["popularity"]
    assert vectors.queries.shape == (3, 1, 1)
