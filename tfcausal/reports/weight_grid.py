"""What a model answers to one person at every combination of its causes' weights."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from tfcausal.errors import InputError
from tfcausal.evaluation.metrics import Float64s
from tfcausal.serving.client import Asker, Recommender

MAX_COMBINATIONS = 1_000
STEPS = (
    (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0),
    (0.0, 0.5, 1.0, 1.5, 2.0),
    (0.0, 1.0, 2.0),
    (0.0, 1.0),
)
"""Weights that each cause may have: the first whose combinations are few enough."""


@dataclass(frozen=True)
class GridAnswers:
    """Lists over a grid of weights.

    Attributes:
        items: Id of each entry's item. An item has several entries where several of
            the model's queries win for it.
        terms: [num_entries, num_causes] float64, each cause's term at weight 1.
        lists: The different lists, each of places in `items`, best first.
        at: For each combination of weights the place in `lists`; the weight of the
            last cause varies first.
    """

    items: list[str]
    terms: Float64s
    lists: list[list[int]]
    at: list[int]


def weight_steps(num_causes: int) -> tuple[float, ...]:
    """Returns the weights that each cause of a grid may have, evenly apart.

    Raises:
        InputError: If even the coarsest have more than MAX_COMBINATIONS.
    """
    for steps in STEPS:
        if len(steps) ** num_causes <= MAX_COMBINATIONS:
            return steps
    raise InputError(
        f"A model's causes must have at most {MAX_COMBINATIONS} combinations of "
        f"weights; {num_causes} causes have more. Ask `tfcausal recommend` for single "
        "ones."
    )


def ask_grid(recommender: Recommender, asker: Asker, k: int) -> GridAnswers:
    """Asks a model for the list at every combination of weights.

    Args:
        recommender: The model.
        asker: Whom the lists are for; the model must know them.
        k: Length of the lists.
    Raises:
        InputError: If there are too many causes, or k does not fit.
    """
    causes = list(recommender.causes)
    grid = list(product(weight_steps(len(causes)), repeat=len(causes)))
    weightings = [dict(zip(causes, weights, strict=True)) for weights in grid]
    answers = recommender.lists(asker, k, weightings)
    pool = list(dict.fromkeys(one.item_id for found in answers for one in found))
    place = {item_id: number for number, item_id in enumerate(pool)}
    found_terms = recommender.terms(asker, pool)
    # [num_causes, num_queries, num_items]
    terms = np.stack([found_terms[cause] for cause in causes]).astype(np.float64)
    entries: dict[tuple[int, int], int] = {}
    lists: dict[tuple[int, ...], int] = {}
    at = []
    for weights, found in zip(grid, answers, strict=True):
        items = [place[one.item_id] for one in found]
        weighted = terms[:, :, items] * np.asarray(weights)[:, None, None]
        answered = np.asarray(
            [[one.causes[cause] for one in found] for cause in causes]
        )
        # A score is that of one query, which the answer's terms tell.
        winners = np.abs(weighted - answered[:, None]).sum(axis=0).argmin(axis=0)
        keys = zip(items, winners.tolist(), strict=True)
        listed = tuple(entries.setdefault(key, len(entries)) for key in keys)
        at.append(lists.setdefault(listed, len(lists)))
    chosen = np.asarray(list(entries), np.int64).reshape(-1, 2)
    return GridAnswers(
        [pool[item] for item, _ in entries],
        terms[:, chosen[:, 1], chosen[:, 0]].T,
        [list(listed) for listed in lists],
        at,
    )
