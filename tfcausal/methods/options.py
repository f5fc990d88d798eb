"""Options that methods share."""

from dataclasses import dataclass, fields
from math import inf
from typing import Literal, get_args

from tfcausal.errors import InputError, unknown_name
from tfcausal.layers.embedding import Similarity
from tfcausal.layers.softmax import SharedLaw
from tfcausal.stats.negatives import NegativeSampling, PopularityMargin, Uniform
from tfcausal.stats.sequences import SequenceRule

Backbone = Literal["mf", "lightgcn", "features"]
ClickLoss = Literal["bpr", "softmax"]
PairLaw = Literal["uniform", "popularity_margin"]
"""`law` of the samplers in `stats.negatives`."""


@dataclass(frozen=True)
class MethodOptions:
    """Options that every method has.

    Attributes:
        learning_rate: Step size of the optimiser at the start.
    """

    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise InputError(f"`learning_rate` must be > 0; got {self.learning_rate}.")
        # A loss of negative weight has no least value.
        for option in fields(self):
            given = getattr(self, option.name)
            if option.name.endswith("_weight") and not 0 <= given < inf:
                raise InputError(
                    f"`{option.name}` must be a number >= 0; got {given}. 0 leaves "
                    "its term out."
                )


@dataclass(frozen=True)
class TowerOptions(MethodOptions):
    """Options of methods whose users and items have a row each in a table.

    The graph's defaults are those of He et al., LightGCN, SIGIR 2020. DICE's code has
    `graph_layers=2`, `self_loops=True` and `feature_dropout=0.2`.

    Attributes:
        backbone: "mf" for vectors as they are learned; "lightgcn" propagates them over
            the graph of the training rows; "features" adds what a perceptron makes of
            them and of the data set's features of users and items.
        graph_layers: LightGCN's number of layers.
        self_loops: Whether every node of the graph is its own neighbour too.
        feature_dropout: Share of the coordinates that training sets to zero after each
            layer of the graph.
        hidden_dims: features: width of each hidden layer, such as 128,64.
        feature_dim: features: coordinates of the vector of a category.
        user_columns: features: columns of users to take; none for all of them, an empty
            text for no column.
        item_columns: features: the same of items.
        hash_buckets: features: a column with more values than this is hashed into as
            many.
        unknown_share: features: share of the users and of the items whose id a step of
            training hides, so that new ones are served by their features.
    """

    backbone: Backbone = "mf"
    graph_layers: int = 3
    self_loops: bool = False
    feature_dropout: float = 0.0
    hidden_dims: tuple[int, ...] = (64,)
    feature_dim: int = 16
    user_columns: tuple[str, ...] | None = None
    item_columns: tuple[str, ...] | None = None
    hash_buckets: int = 1000
    unknown_share: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        # JSON has lists for tuples, and `--set user_columns=` is one empty name.
        for name in ("hidden_dims", "user_columns", "item_columns"):
            given = getattr(self, name)
            if given is not None:
                kept = tuple(one for one in given if one != "")
                object.__setattr__(self, name, kept)
        if self.backbone not in get_args(Backbone):
            raise InputError(
                f"`backbone` must be one of {', '.join(get_args(Backbone))}; got "
                f"{self.backbone}."
            )
        if self.graph_layers < 1:
            raise InputError(
                f"`graph_layers` must be >= 1; got {self.graph_layers}. For none, set "
                "backbone=mf."
            )
        if not 0 <= self.feature_dropout < 1:
            raise InputError(
                f"`feature_dropout` must be in [0, 1); got {self.feature_dropout}."
            )
        if min(self.hidden_dims, default=1) < 1:
            raise InputError(
                f"`hidden_dims` must be widths >= 1; got {self.hidden_dims}."
            )
        for name in ("feature_dim", "hash_buckets"):
            if getattr(self, name) < 1:
                raise InputError(f"`{name}` must be >= 1; got {getattr(self, name)}.")
        if not 0 <= self.unknown_share < 1:
            raise InputError(
                f"`unknown_share` must be in [0, 1); got {self.unknown_share}."
            )


@dataclass(frozen=True)
class HistoryOptions(MethodOptions):
    """Options of methods whose users are histories.

    Attributes:
        embedding_dim: d, coordinates of an item's vector and of a query.
        max_length: Items of a history; earlier ones are forgotten.
        min_length: Items that must stand before a target. ComiRec's code has 4.
        targets: "every_prefix" learns from each item with enough before it, as
            CauseRec; "sampled" from one of each user in an epoch, as ComiRec's code.
        negatives: Law of the negatives that a batch shares: "uniform", "log_uniform"
            (by popularity's rank), "popularity", or "in_batch" for the batch's targets.
        num_sampled: Negatives of a batch, drawn with replacement; not for in_batch.
        log_q: How much of the log of a negative's probability is subtracted.
        mask_history: Whether what stands in a history is none of its negatives.
    """

    embedding_dim: int = 64
    max_length: int = SequenceRule.max_length
    min_length: int = 1
    targets: Literal["every_prefix", "sampled"] = "every_prefix"
    negatives: SharedLaw = "log_uniform"
    num_sampled: int = 1000
    log_q: float = 1.0
    mask_history: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("embedding_dim", "num_sampled"):
            if getattr(self, name) < 1:
                raise InputError(f"`{name}` must be >= 1; got {getattr(self, name)}.")
        for name, known in (
            ("targets", ("every_prefix", "sampled")),
            ("negatives", get_args(SharedLaw)),
        ):
            if getattr(self, name) not in known:
                raise unknown_name(name, getattr(self, name), known)
        self.rule()

    def rule(self) -> SequenceRule:
        """Returns which samples are cut, by seed 0.

        Raises:
            InputError: If a length makes no sense.
        """
        return SequenceRule(
            targets=self.targets,
            max_length=self.max_length,
            min_length=self.min_length,
        )


@dataclass(frozen=True)
class PairOptions(TowerOptions):
    """Options of methods that draw negatives for each positive.

    Attributes:
        num_negatives: Negatives for each positive.
    """

    num_negatives: int = 4


@dataclass(frozen=True)
class ClickOptions(PairOptions):
    """Options of methods that learn clicks from pairs, or against the batch.

    Attributes:
        click_loss: "bpr" on pairs, the papers', or "softmax" of each positive against
            the items of the batch, which learns more from sparse data.
        similarity: "product", the papers' score, or "cosine" of each cause.
        temperature: What scores are divided by.
        log_q: softmax: how much of the log of an item's share is subtracted.
    """

    click_loss: ClickLoss = "bpr"
    similarity: Similarity = "product"
    temperature: float = 1.0
    log_q: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, kind in (("click_loss", ClickLoss), ("similarity", Similarity)):
            if getattr(self, name) not in get_args(kind):
                raise unknown_name(name, getattr(self, name), get_args(kind))
        if not self.temperature > 0:
            raise InputError(f"`temperature` must be > 0; got {self.temperature}.")


@dataclass(frozen=True)
class PopularityPairOptions(ClickOptions):
    """Options of methods whose negatives may be chosen by popularity.

    Symbols: m_up -> margin; m_down -> down_margin; p -> the positive's popularity.

    Attributes:
        negatives: "uniform" over the items that the user has not met, or
            "popularity_margin" for DICE's PNSM, popularity based negative sampling with
            margin.
        margin: PNSM: a negative is more popular with a popularity above p + margin, in
            interactions.
        down_margin: PNSM: a negative is less popular below p - down_margin; None for
            below p / 2.
        min_pool: PNSM: with fewer items than this in one pool, all negatives come from
            the other.
        decay: PNSM: factor on the margins after each epoch; 1 for none.
    """

    negatives: PairLaw = "uniform"
    margin: float = 40.0
    down_margin: float | None = None
    min_pool: int = 40
    decay: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.negatives not in get_args(PairLaw):
            raise InputError(
                f"`negatives` must be one of {', '.join(get_args(PairLaw))}; got "
                f"{self.negatives}."
            )

    def pair_sampling(self) -> NegativeSampling:
        """Returns the law of the pairs' negatives."""
        if self.negatives == Uniform.law:
            return Uniform(self.num_negatives)
        return PopularityMargin(
            num_negatives=self.num_negatives,
            margin=self.margin,
            margin_decay=self.decay,
            down_margin=self.down_margin,
            min_pool=self.min_pool,
        )
