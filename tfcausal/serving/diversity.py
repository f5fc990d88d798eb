"""Lists of an exported model rearranged so that their items differ."""

from collections.abc import Sequence

import numpy as np

from tfcausal.serving.client import Recommendation
from tfcausal.stats.diversity import NONE_LEFT, diversified
from tfcausal.stats.graph import Int32s


def diversified_list(
    found: Sequence[Recommendation], values: Int32s, k: int, weight: float
) -> list[Recommendation]:
    """Returns of a long list a shorter one whose items differ.

    Scores stay what they are, so that they need not fall from one place to the next.

    Reference: Cen et al. (ComiRec), KDD 2020, Algorithm 2; see
    `stats.diversity.diversified`.

    Args:
        found: The candidates, best first, such as a list of 4 * k.
        values: [n, any] int32 values of each candidate in which items are to differ,
            then `NO_VALUE`, as of `data.concept_rows.values_by_id`.
        k: Length of the list; shorter where there are no more candidates.
        weight: How much each item of the list adds that an item differs from.
    Raises:
        InputError: If the weight is below 0 or not finite.
    """
    scores = np.asarray([[item.score for item in found]], np.float64)
    (chosen,) = diversified(scores, values[None], k, weight)
    return [found[place] for place in chosen[chosen != NONE_LEFT].tolist()]
