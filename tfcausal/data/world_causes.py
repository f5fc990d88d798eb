"""Who lives in the synthetic world: its options, its users and its items.

Everything here is fixed before the first interaction: interests, contents, conformity
strengths, activity and base exposure. What happens then is `tfcausal.data.world`.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfcausal.errors import InputError
from tfcausal.stats import mixing

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]

MIN_INTERACTIONS = 1_000
MAX_INTERACTIONS = 50_000_000
INTERACTIONS_PER_USER = 50
MIN_USERS = 100
MIN_ITEMS = 400
MAX_USERS = 10_000_000
MAX_ITEMS = 1_000_000
MAX_LENGTH = 15.0
"""Largest interest vector for which inner products stay exact, see `_on_grid`."""
_BLOCK_ROWS = 1 << 16
ACTIVITY_RANGE = 4.0
"""Users' activities are log-uniform between 1 / ACTIVITY_RANGE and ACTIVITY_RANGE."""


@dataclass(frozen=True)
class WorldOptions:
    """What decides a world; equal options give equal bytes.

    Attributes:
        interactions: Rows of the log, 1,000 to 50 million.
        seed: Any integer.
        users: Number of users; None for one per 50 interactions, at least 100.
        items: Number of items; None for 2,000 * sqrt(interactions / 200,000), at least
            400: four times the interactions, twice the items.
        rounds: Rounds of the log. Popularity is updated between rounds, not within.
        slate_size: Items that a user sees at each visit, drawn with replacement.
        interest_dim: Length of interest and content vectors.
        taste_clusters: Number of tastes. An item belongs to one, a user follows two.
        taste_noise: Length of the individual part of a vector, a taste having 1.
        interest_strength: Length of every user's interest vector; contents have 1.
        conformity_strength: Median over users of c_u.
        conformity_spread: Standard deviation of log c_u.
        base_exposure: Sum of the items' base exposures, as a share of `interactions`.
        base_tail: The item of base rank r has a base exposure proportional to
            r ** -base_tail.
        exposure_power: gamma: the log's policy shows an item with a probability
            proportional to (popularity so far + base exposure) ** gamma.
        test_users: Users in each test set, at most.
        test_picks: Interactions of each of them in each test set.
    """

    interactions: int = 200_000
    seed: int = 0
    users: int | None = None
    items: int | None = None
    rounds: int = 20
    slate_size: int = 20
    interest_dim: int = 16
    taste_clusters: int = 24
    taste_noise: float = 0.7
    interest_strength: float = 9.0
    conformity_strength: float = 1.6
    conformity_spread: float = 0.8
    base_exposure: float = 0.1
    base_tail: float = 0.7
    exposure_power: float = 0.5
    test_users: int = 20_000
    test_picks: int = 5

    def __post_init__(self) -> None:
        _require_range(
            "interactions", self.interactions, MIN_INTERACTIONS, MAX_INTERACTIONS
        )
        _require_range("users", self.num_users, 1, min(MAX_USERS, self.interactions))
        _require_range("items", self.num_items, 2, MAX_ITEMS)
        for name in ("rounds", "interest_dim", "taste_clusters"):
            _require_range(name, getattr(self, name), 1, 1_000)
        _require_range("slate_size", self.slate_size, 2, 1_000)
        _require_range("test_users", self.test_users, 1, MAX_USERS)
        _require_range("test_picks", self.test_picks, 1, 1_000)
        for name, largest in (
            ("taste_noise", 10.0),
            ("interest_strength", MAX_LENGTH),
            ("conformity_strength", 20.0),
            ("conformity_spread", 2.0),
            ("base_tail", 2.0),
            ("exposure_power", 2.0),
        ):
            _require_range(name, getattr(self, name), 0.0, largest)
        _require_range("base_exposure", self.base_exposure, 1e-6, 1e6)
        needed = 2 * (self._most_picks + self.test_picks)
        if self.num_items < needed:
            raise InputError(
                f"`items` must be at least {needed}, twice what the most active of "
                f"{self.num_users} users picks; got {self.num_items}. Raise `items` or "
                "`users`, or lower `interactions`."
            )

    @property
    def _most_picks(self) -> int:
        """What the most active user picks, for users with activities as expected."""
        mean_activity = (ACTIVITY_RANGE - 1 / ACTIVITY_RANGE) / (
            2 * math.log(ACTIVITY_RANGE)
        )
        share = ACTIVITY_RANGE / mean_activity / self.num_users
        return math.ceil(self.interactions * share)

    @property
    def num_users(self) -> int:
        """Number of users, given or derived."""
        if self.users is not None:
            return self.users
        return max(MIN_USERS, self.interactions // INTERACTIONS_PER_USER)

    @property
    def num_items(self) -> int:
        """Number of items, given or derived."""
        if self.items is not None:
            return self.items
        return max(MIN_ITEMS, round(2_000 * math.sqrt(self.interactions / 200_000)))


@dataclass(frozen=True)
class Causes:
    """What the users and items of one world are.

    Attributes:
        interest: [num_users, interest_dim] float32, z_u.
        conformity: [num_users] float64 > 0, c_u.
        picks: [num_users] int64, each user's rows in the log; sums to `interactions`.
        content: [num_items, interest_dim] float32, x_j.
        base_exposure: [num_items] float64 > 0, in interactions.
    """

    interest: Float32s
    conformity: Float64s
    picks: Int64s
    content: Float32s
    base_exposure: Float64s


def draw_causes(options: WorldOptions) -> Causes:
    """Draws a world's users and items."""
    return Causes(
        interest=_interests(options),
        conformity=_conformities(options),
        picks=_activities(options),
        content=_contents(options),
        base_exposure=_base_exposures(options),
    )


def row_words(seed: int, purpose: str, num_rows: int) -> mixing.UInt64s:
    """Returns [num_rows] uint64, a key for each user or item in one purpose."""
    return _words(seed, purpose, np.arange(num_rows))


def _words(seed: int, purpose: str, rows: Int64s) -> mixing.UInt64s:
    return mixing.keys(mixing.stream(seed, purpose), rows, np.zeros_like(rows))


def _interests(options: WorldOptions) -> Float32s:
    interests = np.empty((options.num_users, options.interest_dim), np.float32)
    # In blocks, as the float64 numbers on the way are many times larger.
    for start in range(0, options.num_users, _BLOCK_ROWS):
        rows = np.arange(start, min(start + _BLOCK_ROWS, options.num_users))
        interests[rows] = _interest_block(options, rows)
    return interests


def _interest_block(options: WorldOptions, rows: Int64s) -> Float32s:
    tastes = _tastes(options)
    words = _words(options.seed, "world user tastes", rows)
    first = tastes[_choices(words, 0, options.taste_clusters)]
    second = tastes[_choices(words, 1, options.taste_clusters)]
    share = mixing.uniforms(mixing.draws(words, np.asarray([2])))[:, None]
    blend = (1 - share / 2) * first + share / 2 * second
    own = _directions(options.seed, "world interests", rows, options.interest_dim)
    return _on_grid(blend + options.taste_noise * own, options.interest_strength)


def _contents(options: WorldOptions) -> Float32s:
    words = row_words(options.seed, "world item tastes", options.num_items)
    taste = _tastes(options)[_choices(words, 0, options.taste_clusters)]
    rows = np.arange(options.num_items)
    own = _directions(options.seed, "world contents", rows, options.interest_dim)
    return _on_grid(taste + options.taste_noise * own, 1.0)


def _tastes(options: WorldOptions) -> Float64s:
    rows = np.arange(options.taste_clusters)
    return _directions(options.seed, "world tastes", rows, options.interest_dim)


def _conformities(options: WorldOptions) -> Float64s:
    words = row_words(options.seed, "world conformity", options.num_users)
    logs = options.conformity_spread * _normals(words, 1)[:, 0]
    return options.conformity_strength * np.exp(logs)


def _activities(options: WorldOptions) -> Int64s:
    words = row_words(options.seed, "world activity", options.num_users)
    weights = ACTIVITY_RANGE ** (2 * mixing.uniforms(words) - 1)
    ends = np.floor(options.interactions * (np.cumsum(weights) / np.sum(weights)))
    ends[-1] = options.interactions
    return np.diff(ends, prepend=0).astype(np.int64)


def _base_exposures(options: WorldOptions) -> Float64s:
    words = row_words(options.seed, "world base exposure", options.num_items)
    ranks = np.empty(options.num_items)
    ranks[np.argsort(words, kind="stable")] = np.arange(1, options.num_items + 1)
    weights = ranks**-options.base_tail
    total = options.base_exposure * options.interactions
    return total * weights / np.sum(weights)


def _choices(words: mixing.UInt64s, number: int, num_choices: int) -> Int64s:
    drawn = mixing.uniforms(mixing.draws(words, np.asarray([number])))
    return (drawn * num_choices).astype(np.int64)


def _directions(seed: int, purpose: str, rows: Int64s, dim: int) -> Float64s:
    return _unit_rows(_normals(_words(seed, purpose, rows), dim))


def _unit_rows(vectors: Float64s) -> Float64s:
    # Not a matrix product, whose order of summing depends on the shape.
    lengths = np.sqrt(np.sum(vectors * vectors, axis=1, keepdims=True))
    unit: Float64s = vectors / np.maximum(lengths, 1e-9)
    return unit


def _on_grid(vectors: Float64s, length: float) -> Float32s:
    """Scales rows to a length and rounds them to multiples of 1 / 1024.

    Products of two such vectors are multiples of 2^-20 and, with lengths of at most
    15 and 1, below 2^4: every partial sum is exact in float32. An inner product is
    thereby the same in whatever order and block size it is computed.
    """
    scaled = _unit_rows(vectors) * length
    return (np.round(scaled * 1024) / 1024).astype(np.float32)


def _normals(words: mixing.UInt64s, dim: int) -> Float64s:
    """Returns [len(words), dim] standard normal numbers (Box and Muller's form)."""
    numbers = np.arange(dim)[None, :]
    radius = mixing.uniforms(mixing.draws(words[:, None], 2 * numbers))
    angle = mixing.uniforms(mixing.draws(words[:, None], 2 * numbers + 1))
    normals: Float64s = np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * angle)
    return normals


def _require_range(name: str, value: float, smallest: float, largest: float) -> None:
    # Written so that NaN fails too.
    if not smallest <= value <= largest:
        raise InputError(
            f"`{name}` must lie between {smallest:,} and {largest:,}; got {value:,}. "
            "Choose a value in that range."
        )
