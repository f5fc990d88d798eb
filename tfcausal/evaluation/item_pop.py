"""ItemPop: the same most popular items for everyone.

Reference: Zheng et al., DICE, WWW 2021, section 4.3.1, whose IOU compares with its
lists. Nothing is learned, so it is no method to train.
"""

import numpy as np

from tfcausal.schema.vectors import POPULARITY_CAUSE, CausalVectors
from tfcausal.stats.negatives import Int64s


def item_pop(popularity: Int64s, num_users: int) -> CausalVectors:
    """Returns vectors whose score is the item's popularity.

    Args:
        popularity: [num_items] interactions of each item in the train window.
        num_users: Rows of the user vocabulary, the unknown one included.
    Returns:
        Vectors of one coordinate, whose cause is `popularity`.
    """
    return CausalVectors(
        np.ones((num_users, 1, 1), np.float32),
        popularity.astype(np.float32)[:, None],
        {POPULARITY_CAUSE: slice(0, 1)},
    )
