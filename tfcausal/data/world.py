"""The synthetic world: a biased log, and test sets drawn under do(.).

    interest -> pick <- conformity <- popularity so far <- earlier picks
                pick <- exposure   <- popularity so far, base exposure

Interactions arrive in rounds. A user who visits is shown a slate by the log's policy
and picks from it (`tfcausal.data.world_picks`); after each round the items' popularity
is what all picks so far have made it. After the log, the same users visit again under
three laws, each with histories and popularity as the log left them. Every draw is a
function of what it is for, so blocks and threads do not change a row.

docs/concepts.md tells the causal model in plain words.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from tfcausal.data.world_causes import (
    Causes,
    Float64s,
    Int32s,
    Int64s,
    WorldOptions,
    draw_causes,
    row_words,
)
from tfcausal.data.world_picks import Exposure, Histories, Situation, Visits
from tfcausal.stats import mixing

FIRST_TIMESTAMP = 1_600_000_000
ROUND_SECONDS = 7 * 24 * 3600
_USER_RANGE = 1 << 24
"""Above every user row, and small enough for (timestamp, user) to be one int64."""

OBSERVATIONAL = "test_observational"
EQUAL_EXPOSURE = "test_equal_exposure"
NO_CONFORMITY = "test_no_conformity"
TEST_SETS = (OBSERVATIONAL, EQUAL_EXPOSURE, NO_CONFORMITY)

Progress = Callable[[int], None]
"""Is told how many interactions have been drawn since it was last called."""


@dataclass(frozen=True)
class Rows:
    """Interactions in the order of time.

    Attributes:
        users: [n] int32 user rows.
        items: [n] int32 item rows.
        timestamps: [n] int64 seconds.
    """

    users: Int32s
    items: Int32s
    timestamps: Int64s

    def __len__(self) -> int:
        return len(self.users)


class World:
    """A world in motion: `log` first, then `tests`.

    Memory: 8 bytes for each pick of log or tests, 60 bytes for each of one round,
    about 150 bytes a user, and the blocks in work.
    """

    def __init__(
        self,
        options: WorldOptions,
        *,
        block_users: int = 8_192,
        workers: int | None = None,
        progress: Progress = lambda _: None,
    ) -> None:
        """Draws the users and items; nothing has been picked yet.

        Args:
            options: What decides the world.
            block_users: Users worked on at a time by one thread.
            workers: Threads; None for one a core. Changes no row.
            progress: Is told of interactions as they are drawn.
        """
        self.options = options
        self.causes: Causes = draw_causes(options)
        self.popularity: Int64s = np.zeros(options.num_items, np.int64)
        self._block_users = block_users
        self._workers = workers or os.cpu_count() or 1
        self._progress = progress
        self._visits = Visits(
            seed=options.seed,
            slate_size=options.slate_size,
            causes=self.causes,
            histories=Histories.with_room(self.causes.picks + options.test_picks),
        )

    def log(self) -> Iterator[Rows]:
        """Yields the log, a round at a time, exactly `interactions` rows in all."""
        rounds, picks = self.options.rounds, self.causes.picks
        words = row_words(self.options.seed, "world phases", self.options.num_users)
        phases = (words % np.uint64(rounds)).astype(np.int64)
        for number in range(rounds):
            quotas = (picks * (number + 1) + phases) // rounds
            quotas -= (picks * number + phases) // rounds
            rows = self._round(self._situation("world log"), quotas, number)
            self.popularity += np.bincount(rows.items, minlength=len(self.popularity))
            yield rows

    def tests(self) -> Iterator[tuple[str, Rows]]:
        """Yields each test set by name; the log must have been drawn to its end."""
        options, histories = self.options, self._visits.histories
        quotas = np.zeros(options.num_users, np.int64)
        words = row_words(options.seed, "world test users", options.num_users)
        order = np.argsort(words, kind="stable")
        quotas[order[: options.test_users]] = options.test_picks
        observational = self._situation(OBSERVATIONAL)
        uniform = Exposure.uniform(options.num_items)
        no_appeal = np.zeros_like(observational.appeal)
        for situation in (
            observational,
            Situation(EQUAL_EXPOSURE, uniform, observational.appeal),
            Situation(NO_CONFORMITY, uniform, no_appeal),
        ):
            rows = self._round(situation, quotas, options.rounds)
            histories.remove(rows.users.astype(np.int64), rows.items.astype(np.int64))
            yield situation.purpose, rows

    @property
    def appeal(self) -> Float64s:
        """[num_items] float64, s_j: log(1 + popularity so far), standardised."""
        logs = np.log1p(self.popularity.astype(np.float64))
        deviation = np.std(logs)
        if deviation == 0:
            return np.zeros_like(logs)
        standardised: Float64s = (logs - np.mean(logs)) / deviation
        return standardised

    def _situation(self, purpose: str) -> Situation:
        """The log's own law, as popularity now has it."""
        weights = self.popularity + self.causes.base_exposure
        exposure = Exposure.proportional_to(weights**self.options.exposure_power)
        return Situation(purpose, exposure, self.appeal)

    def _round(self, situation: Situation, quotas: Int64s, number: int) -> Rows:
        """Lets user u visit quotas[u] times; rows by time, then by user."""

        def visit(start: int) -> Rows:
            stop = start + self._block_users
            return self._block(situation, quotas[start:stop], start, number)

        parts = []
        with ThreadPoolExecutor(self._workers) as pool:
            for part in pool.map(visit, range(0, len(quotas), self._block_users)):
                parts.append(part)
                self._progress(len(part))
        users = np.concatenate([part.users for part in parts])
        items = np.concatenate([part.items for part in parts])
        timestamps = np.concatenate([part.timestamps for part in parts])
        # Stable, so that a user's visits within one second keep their order.
        order = np.argsort(timestamps * _USER_RANGE + users, kind="stable")
        return Rows(users[order], items[order], timestamps[order])

    def _block(
        self, situation: Situation, quotas: Int64s, first_user: int, number: int
    ) -> Rows:
        start = mixing.stream(self.options.seed, f"{situation.purpose} times", number)
        users, items, seconds = [], [], []
        for visit in range(int(quotas.max(initial=0))):
            (local,) = np.nonzero(quotas > visit)
            visitors = local + first_user
            picked = self._visits.pick(situation, visitors)
            words = mixing.keys(start, visitors, np.full_like(visitors, visit))
            # A user's visits of a round lie one after the other in equal parts of it.
            part = (visit + mixing.uniforms(words)) / quotas[local]
            users.append(visitors)
            items.append(picked)
            seconds.append((part * ROUND_SECONDS).astype(np.int64))
        if not users:
            return Rows(*(np.zeros(0, dtype) for dtype in ("i4", "i4", "i8")))
        return Rows(
            np.concatenate(users).astype(np.int32),
            np.concatenate(items).astype(np.int32),
            np.concatenate(seconds) + (FIRST_TIMESTAMP + number * ROUND_SECONDS),
        )


def concentration(popularity: Int64s) -> Mapping[str, float]:
    """Returns how unequal popularity is.

    Args:
        popularity: [num_items] int64 >= 0, not all 0.
    Returns:
        `gini`, 0 where all are equal and nearly 1 where one item has everything, and
        `top_10_percent`, the share of the most popular tenth of the items.
    """
    rising = np.sort(popularity).astype(np.float64)
    num_items, total = len(rising), rising.sum()
    ranks = np.arange(1, num_items + 1)
    weighted = 2 * np.sum(ranks * rising) / total
    gini = (weighted - num_items - 1) / num_items
    top = rising[num_items - max(1, num_items // 10) :].sum() / total
    return {"gini": float(gini), "top_10_percent": float(top)}
