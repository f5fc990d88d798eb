"""What one visit is in the synthetic world: a slate of items, and the user's pick.

The pick maximises interest + conformity + Gumbel noise over the items of the slate
that the user has not picked before. That is a draw from the softmax of
interest + conformity over them, and is drawn as one: a number a visit, not one an item.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tfcausal.data.world_causes import Causes, Float64s, Int32s, Int64s
from tfcausal.stats import mixing

Bools = npt.NDArray[np.bool_]

POLICY_SLATES = 4
"""After so many slates with nothing new on them, a user is shown uniform ones."""


@dataclass(frozen=True)
class Exposure:
    """A law over items from which slates are drawn in constant time (alias method).

    Reference: Walker, An efficient method for generating discrete random variables
    with general distributions, 1977; tables as by Vose, 1991.

    Attributes:
        threshold: [num_items] uint32, 2^32 times the share of a bucket's own item.
        alias: [num_items] int32, the item that has the rest of the bucket.
    """

    threshold: npt.NDArray[np.uint32]
    alias: Int32s

    @classmethod
    def proportional_to(cls, weights: Float64s) -> "Exposure":
        """Builds the law that gives each item a probability proportional to its weight.

        Args:
            weights: [num_items] float64 >= 0, not all 0.
        """
        num_items = len(weights)
        share = (weights / np.sum(weights) * num_items).tolist()
        alias = list(range(num_items))
        threshold = [1.0] * num_items
        small = [item for item in range(num_items) if share[item] < 1.0]
        large = [item for item in range(num_items) if share[item] >= 1.0]
        while small and large:
            low, high = small.pop(), large[-1]
            threshold[low], alias[low] = share[low], high
            share[high] -= 1.0 - share[low]
            if share[high] < 1.0:
                small.append(large.pop())
        scaled = np.minimum(np.asarray(threshold) * 2.0**32, 2.0**32 - 1)
        return cls(scaled.astype(np.uint32), np.asarray(alias, np.int32))

    @classmethod
    def uniform(cls, num_items: int) -> "Exposure":
        """Builds the law under do(equal exposure)."""
        return cls.proportional_to(np.ones(num_items))

    def items(self, words: mixing.UInt64s) -> Int64s:
        """Draws an item with each word.

        Args:
            words: uint64, any shape.
        Returns:
            int64 of the same shape.
        """
        num_items = np.uint64(len(self.alias))
        bucket = (((words >> np.uint64(32)) * num_items) >> np.uint64(32)).view(np.int64)
        own = words.astype(np.uint32) < self.threshold.take(bucket)
        return np.where(own, bucket, self.alias.take(bucket))


@dataclass(frozen=True)
class Situation:
    """Under which law visits take place; do(.) replaces a part of it.

    Attributes:
        purpose: Name of the random draws.
        exposure: From which law slates are drawn.
        appeal: [num_items] float64, s_j, standardised log popularity at the time;
            zeros under do(conformity = 0).
    """

    purpose: str
    exposure: Exposure
    appeal: Float64s


@dataclass(frozen=True)
class Histories:
    """Which items each user has picked so far: 4 bytes a row of the log.

    Attributes:
        starts: [num_users] int64, where a user's items begin in `items`.
        filled: [num_users] int64, how many of them there are by now.
        items: [capacity] int32, each user's items in the order of picking.
    """

    starts: Int64s
    filled: Int64s
    items: Int32s = field(repr=False)

    @classmethod
    def with_room(cls, capacities: Int64s) -> "Histories":
        """Builds empty histories for `capacities[u]` picks of user u."""
        ends = np.cumsum(capacities)
        return cls(
            starts=ends - capacities,
            filled=np.zeros_like(capacities),
            items=np.zeros(int(ends[-1]), np.int32),
        )

    def contain(self, users: Int64s, items: Int64s) -> Bools:
        """Returns [n] whether each user has picked that item already."""
        lengths = self.filled[users]
        rows = np.repeat(np.arange(len(users), dtype=np.int32), lengths)
        before = np.cumsum(lengths) - lengths
        positions = np.arange(len(rows)) + (self.starts[users] - before).take(rows)
        hits = self.items.take(positions) == items.astype(np.int32).take(rows)
        found = np.zeros(len(users), np.bool_)
        found[rows[hits]] = True
        return found

    def append(self, users: Int64s, items: Int64s) -> None:
        """Adds one pick to each of some distinct users."""
        self.items[self.starts[users] + self.filled[users]] = items
        self.filled[users] += 1


@dataclass(frozen=True)
class Visits:
    """Lets users pick from slates, on blocks.

    Attributes:
        seed: Seed of the world.
        slate_size: Items on a slate.
        causes: The world's users and items.
        histories: What users have picked so far; extended by `pick`.
    """

    seed: int
    slate_size: int
    causes: Causes
    histories: Histories

    def pick(self, situation: Situation, users: Int64s) -> Int64s:
        """Lets each of some distinct users visit once, and records what they pick.

        Args:
            situation: Under which law.
            users: [n] int64, distinct.
        Returns:
            [n] int64 items, none of which its user had picked before.
        """
        picked = np.full(len(users), -1, np.int64)
        waiting = np.arange(len(users))
        attempt = 0
        while len(waiting):
            picked[waiting] = self._from_slate(situation, users[waiting], attempt)
            waiting = waiting[picked[waiting] < 0]
            attempt += 1
        self.histories.append(users, picked)
        return picked

    def slates(self, situation: Situation, users: Int64s, attempt: int = 0) -> Int64s:
        """Returns [n, slate_size] int64, what each user is shown at the next visit."""
        exposure = situation.exposure
        if attempt >= POLICY_SLATES:
            exposure = Exposure.uniform(len(self.causes.content))
        words = self._words(f"{situation.purpose} slates", users, attempt)
        return exposure.items(
            mixing.draws(words[:, None], np.arange(self.slate_size)[None, :])
        )

    def _from_slate(
        self, situation: Situation, users: Int64s, attempt: int
    ) -> Int64s:
        """Returns [n] items, -1 where the user has picked all of the slate before."""
        slates = self.slates(situation, users, attempt)
        weights = self._weights(situation, users, slates)
        words = self._words(f"{situation.purpose} picks", users, attempt)
        picked = np.full(len(users), -1, np.int64)
        waiting = np.arange(len(users))
        for number in range(self.slate_size):
            ends = np.cumsum(weights, axis=1)
            open_slates = ends[:, -1] > 0
            if not open_slates.all():
                waiting, slates = waiting[open_slates], slates[open_slates]
                weights, ends = weights[open_slates], ends[open_slates]
            drawn = mixing.uniforms(mixing.draws(words[waiting], np.asarray(number)))
            totals = ends[:, -1]
            # Rounding may lift the product to the total, past the last slot.
            targets = np.minimum(drawn * totals, np.nextafter(totals, 0.0))
            slots = np.sum(ends <= targets[:, None], axis=1)
            chosen = np.take_along_axis(slates, slots[:, None], axis=1)[:, 0]
            again = self.histories.contain(users[waiting], chosen)
            picked[waiting[~again]] = chosen[~again]
            if not again.any():
                break
            # To draw once more among the rest, after meeting an old item, is to draw
            # from the law restricted to new items.
            waiting, slates, chosen = waiting[again], slates[again], chosen[again]
            weights = np.where(slates == chosen[:, None], 0.0, weights[again])
        return picked

    def _weights(
        self, situation: Situation, users: Int64s, slates: Int64s
    ) -> Float64s:
        contents = self.causes.content.take(slates, axis=0)
        interest = np.einsum("nsd,nd->ns", contents, self.causes.interest[users])
        scores = situation.appeal.take(slates)
        scores *= self.causes.conformity[users][:, None]
        scores += interest
        # The largest score becomes 0, so that no strength overflows.
        scores -= scores.max(axis=1, keepdims=True)
        weights: Float64s = np.exp(scores, out=scores)
        return weights

    def _words(self, purpose: str, users: Int64s, attempt: int) -> mixing.UInt64s:
        start = mixing.stream(self.seed, purpose, attempt)
        return mixing.keys(start, users, self.histories.filled[users])
