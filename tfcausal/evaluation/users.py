"""Which users a figure is taken over where all of them would take too long."""

import numpy as np

from tfcausal.stats import mixing
from tfcausal.stats.negatives import Int32s


def sample_users(users: Int32s, num_users: int, purpose: str) -> Int32s:
    """Returns `num_users` of the users, always the same; all where there are no more.

    Args:
        users: [n] int32, ascending.
        num_users: At most so many.
        purpose: What they are for, such as "validation users".
    Returns:
        [at most num_users] int32, ascending.
    """
    if len(users) <= num_users:
        return users
    start = np.asarray([mixing.stream(0, purpose)], np.uint64)
    order = np.argsort(mixing.draws(start, users), kind="stable")
    return np.sort(users[order[:num_users]])
