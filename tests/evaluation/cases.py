"""Random cases with ties, covered catalogues and users without positives."""

from dataclasses import dataclass, field

import numpy as np

from tfcausal.data.interactions import Interactions
from tfcausal.evaluation.evaluator import EvaluationSet
from tfcausal.schema.vectors import CausalVectors


@dataclass
class Case:
    """Vectors, positives and masks of one small world."""

    vectors: CausalVectors
    positives: dict[int, set[int]]
    masked: dict[int, set[int]]
    popularity: np.ndarray
    num_users: int
    against: EvaluationSet = field(init=False)

    def __post_init__(self) -> None:
        self.against = EvaluationSet.from_interactions(
            interactions(self.positives),
            interactions(self.masked),
            self.popularity,
            self.num_users,
        )


def interactions(by_user: dict[int, set[int]]) -> Interactions:
    rows = [(user, item) for user, items in by_user.items() for item in items]
    users, items = np.asarray(rows or [(0, 0)], np.int32)[: len(rows)].T
    return Interactions(users, items, None, np.asarray([len(rows)]))


def random_case(
    seed: int,
    *,
    num_users: int = 30,
    num_items: int = 150,
    num_queries: int = 1,
    scale: float = 1.0,
) -> Case:
    """Vectors of small whole numbers: exact products, and many of them equal."""
    rng = np.random.default_rng(seed)

    def whole(*shape: int) -> np.ndarray:
        return rng.integers(-2, 3, shape).astype(np.float32)

    vectors = CausalVectors(
        whole(num_users, num_queries, 5) * np.float32(scale),
        whole(num_items, 5),
        {"interest": slice(0, 3), "conformity": slice(3, 5)},
    )
    catalogue = np.arange(1, num_items)

    def some(most: int) -> set[int]:
        size = int(rng.integers(0, most + 1))
        return {int(item) for item in rng.choice(catalogue, size, replace=False)}

    positives = {user: some(12) for user in range(1, num_users)}
    masked = {
        user: some(20) - positives[user]
        if user % 3
        else some(num_items - 1) - positives[user]
        for user in range(1, num_users)
    }
    positives[1], positives[2] = set(), {1, num_items - 1}
    masked[2] = {int(item) for item in catalogue}
    masked[3] = {int(item) for item in catalogue[:-2]}
    positives[3] = {num_items - 1}
    return Case(vectors, positives, masked, rng.integers(0, 9, num_items), num_users)
