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

MAX_SCORE = 600.0
"""interest + conformity is cut here, so that its exp is neither infinite nor 0."""


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
        high, low = words >> np.uint64(32), words.astype(np.uint32)
        bucket = ((high * num_items) >> np.uint64(32)).view(np.int64)
        own = low < self.threshold.take(bucket)
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
    """Which items each user has picked so far: a hash table a user, half of it empty.

    Attributes:
        starts: [num_users] int64, where a user's table begins in `slots`.
        sizes: [num_users] uint64, how long it is.
        filled: [num_users] int64, how many items are in it by now.
        slots: [sum of sizes] int32, items in open addressing; -1 where free.
    """

    starts: Int64s
    sizes: mixing.UInt64s
    filled: Int64s
    slots: Int32s = field(repr=False)

    @classmethod
    def with_room(cls, capacities: Int64s) -> "Histories":
        """Builds empty histories for up to `capacities[u]` items of user u."""
        sizes = 2 * capacities + 1
        ends = np.cumsum(sizes)
        return cls(
            starts=ends - sizes,
            sizes=sizes.astype(np.uint64),
            filled=np.zeros_like(capacities),
            slots=np.full(int(ends[-1]), -1, np.int32),
        )

    def contain(self, users: Int64s, items: Int64s) -> Bools:
        """Returns whether users have picked items.

        Args:
            users: [n] or [n, 1] int64.
            items: [n] or [n, k] int64, or what else broadcasts against `users`.
        Returns:
            bool of the broadcast shape.
        """
        _, found = self._look_up(users, items)
        return found

    def append(self, users: Int64s, items: Int64s) -> None:
        """Adds one new item to each of some distinct users."""
        positions, _ = self._look_up(users, items)
        self.slots[positions] = items
        self.filled[users] += 1

    def remove(self, users: Int64s, items: Int64s) -> None:
        """Takes the items out that were added last, all of them at once."""
        # Only what came last may go: an older item may have had to step over it.
        positions, _ = self._look_up(users, items)
        self.slots[positions] = -1
        np.subtract.at(self.filled, users, 1)

    def _look_up(self, users: Int64s, items: Int64s) -> tuple[Int64s, Bools]:
        """Finds items; one that is not there gets the free slot where it would go.

        Returns:
            Positions in `slots`, and whether the item is there, of the broadcast shape.
        """
        hashed = (items.view(np.uint64) * np.uint64(mixing.GAMMA)) >> np.uint64(32)
        steps = ((hashed * self.sizes[users]) >> np.uint64(32)).view(np.int64)
        positions = (steps + self.starts[users]).ravel()
        shape = steps.shape
        wanted = np.broadcast_to(items, shape).astype(np.int32).ravel()
        there = self.slots.take(positions)
        (wandering,) = np.nonzero((there != wanted) & (there >= 0))
        owners = np.broadcast_to(users, shape).ravel()[wandering]
        ends = self.starts[owners] + self.sizes[owners].astype(np.int64)
        while len(wandering):
            ahead = positions[wandering] + 1
            ahead = np.where(ahead == ends, self.starts[owners], ahead)
            positions[wandering] = ahead
            met = self.slots.take(ahead)
            there[wandering] = met
            on = (met != wanted[wandering]) & (met >= 0)
            wandering, owners, ends = wandering[on], owners[on], ends[on]
        return positions.reshape(shape), (there == wanted).reshape(shape)


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

    def _from_slate(self, situation: Situation, users: Int64s, attempt: int) -> Int64s:
        """Returns [n] items, -1 where the user has picked all of the slate before."""
        slates = self.slates(situation, users, attempt)
        weights = self._weights(situation, users, slates)
        words = self._words(f"{situation.purpose} picks", users, attempt)
        picked = _draw(weights, slates, mixing.draws(words, np.zeros(1)))
        # To draw once more among the new items, after meeting an old one, is to draw
        # from the law restricted to new items; most rows need no second draw.
        (again,) = np.nonzero(self.histories.contain(users, picked))
        slates, words = slates[again], words[again]
        old = self.histories.contain(users[again][:, None], slates)
        weights = np.where(old, 0.0, weights[again])
        picked[again] = _draw(weights, slates, mixing.draws(words, np.ones(1)))
        return picked

    def _weights(self, situation: Situation, users: Int64s, slates: Int64s) -> Float64s:
        """Returns [n, slate_size] float64, exp(interest + conformity)."""
        contents = self.causes.content.take(slates, axis=0)
        vectors = self.causes.interest[users][:, :, None]
        interest = np.matmul(contents, vectors)[:, :, 0]
        scores = situation.appeal.take(slates)
        scores *= self.causes.conformity[users][:, None]
        scores += interest
        np.clip(scores, -MAX_SCORE, MAX_SCORE, out=scores)
        weights: Float64s = np.exp(scores, out=scores)
        return weights

    def _words(self, purpose: str, users: Int64s, attempt: int) -> mixing.UInt64s:
        start = mixing.stream(self.seed, purpose, attempt)
        return mixing.keys(start, users, self.histories.filled[users])


def _draw(weights: Float64s, slates: Int64s, words: mixing.UInt64s) -> Int64s:
    """Returns [n] items of the slates by weight, -1 where all weights are 0."""
    ends = np.cumsum(weights, axis=1)
    totals = ends[:, -1]
    # Rounding may lift the product to the total, past the last slot.
    targets = np.minimum(mixing.uniforms(words) * totals, np.nextafter(totals, 0.0))
    slots = np.argmax(ends > targets[:, None], axis=1)
    chosen = np.take_along_axis(slates, slots[:, None], axis=1)[:, 0]
    return np.where(totals > 0, chosen, -1)
