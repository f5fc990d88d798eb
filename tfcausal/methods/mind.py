"""MIND: several interests of a history by dynamic routing.

Reference: Li et al., Multi-Interest Network with Dynamic Routing for Recommendation at
Tmall, CIKM 2019, as ComiRec's code has it: as many interests for each history, and in
training the one that scores the target highest.
Deviations: see `layers.history_routing`; no features of users, and no attention over
interests by a power of the score.
"""

from dataclasses import dataclass

from tfcausal.layers.history import HistoryEncoder
from tfcausal.layers.history_routing import RoutingEncoder
from tfcausal.methods.histories import HistoryMethod
from tfcausal.methods.options import HistoryOptions
from tfcausal.methods.registry import register


@dataclass(frozen=True)
class MINDOptions(HistoryOptions):
    """Options of MIND.

    Attributes:
        num_interests: K, queries of each history.
        iterations: How often items are routed.
        projection: Whether a dense layer with relu stands behind the interests, as
            ComiRec's code has it for books.
    """

    num_interests: int = 4
    iterations: int = 3
    projection: bool = False


@register("mind")
class MIND(HistoryMethod):
    """Several queries, a list's score the highest of theirs."""

    options_class = MINDOptions
    options: MINDOptions

    def make_encoder(self, seed: int) -> HistoryEncoder:
        """Returns the routing with one map for all positions."""
        options = self.options
        return RoutingEncoder(
            options.embedding_dim,
            options.num_interests,
            max_length=options.max_length,
            maps="shared",
            initial_logits="random",
            iterations=options.iterations,
            projection=options.projection,
            seed=seed,
        )
