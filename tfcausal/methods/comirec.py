"""ComiRec: several interests of a history, by attention (SA) or by routing (DR).

Reference: Cen et al., Controllable Multi-Interest Framework for Recommendation, KDD
2020, section 3.2, and the authors' code.
Deviations: see `layers.history_attention` and `layers.history_routing`; negatives are
drawn with replacement.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from tfcausal.errors import unknown_name
from tfcausal.layers.history import HistoryEncoder
from tfcausal.layers.history_attention import AttentionEncoder
from tfcausal.layers.history_routing import RoutingEncoder
from tfcausal.methods.histories import HistoryMethod
from tfcausal.methods.options import HistoryOptions
from tfcausal.methods.registry import register

Extraction = Literal["attention", "routing"]


@dataclass(frozen=True)
class ComiRecOptions(HistoryOptions):
    """Options of ComiRec.

    Attributes:
        extraction: "attention" for ComiRec-SA, "routing" for ComiRec-DR.
        num_interests: K, queries of each history.
        iterations: routing: how often items are routed.
    """

    extraction: Extraction = "attention"
    num_interests: int = 4
    iterations: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.extraction not in get_args(Extraction):
            raise unknown_name("extraction", self.extraction, get_args(Extraction))


@register("comirec")
class ComiRec(HistoryMethod):
    """Several queries, a list's score the highest of theirs."""

    options_class = ComiRecOptions
    options: ComiRecOptions

    def make_encoder(self, seed: int) -> HistoryEncoder:
        """Returns the attention, or the routing with a map for each position."""
        options = self.options
        if options.extraction == "attention":
            return AttentionEncoder(
                options.embedding_dim,
                options.num_interests,
                max_length=options.max_length,
                seed=seed,
            )
        return RoutingEncoder(
            options.embedding_dim,
            options.num_interests,
            max_length=options.max_length,
            maps="positions",
            initial_logits="zeros",
            iterations=options.iterations,
            seed=seed,
        )
