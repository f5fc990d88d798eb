"""Small random interactions with a long tail, for tests of samplers."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class World:
    """Interactions and the popularity that they make."""

    users: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]
    popularity: npt.NDArray[np.int64]


def small_world(seed: int, *, num_users: int = 30, num_items: int = 60) -> World:
    """Draws about 400 distinct interactions; user 0 and item 0 stay unknown."""
    generator = np.random.default_rng(seed)
    users = generator.integers(1, num_users, 500)
    items = np.minimum(generator.pareto(0.8, 500) * 3 + 1, num_items - 1).astype(int)
    pairs = np.unique(np.stack([users, items], axis=1), axis=0)
    pairs = pairs[generator.permutation(len(pairs))]
    return World(
        pairs[:, 0].astype(np.int32),
        pairs[:, 1].astype(np.int32),
        np.bincount(pairs[:, 1], minlength=num_items).astype(np.int64),
    )
