"""GRU4Rec: a recurrent network reads the history.

Reference: Hidasi, Karatzoglou, Baltrunas, Tikk, Session-based Recommendations with
Recurrent Neural Networks, ICLR 2016, as ComiRec's code has it: the last state is the
query, softmax over a sample.
Deviations: not the original's losses TOP1 and BPR on the batch's items; negatives are
drawn with replacement.
"""

from tfcausal.layers.history import HistoryEncoder
from tfcausal.layers.history_recurrent import RecurrentEncoder
from tfcausal.methods.histories import HistoryMethod
from tfcausal.methods.registry import register


@register("gru4rec")
class GRU4Rec(HistoryMethod):
    """One query: the state after a history's last item."""

    def make_encoder(self, seed: int) -> HistoryEncoder:
        """Returns the recurrent network."""
        return RecurrentEncoder(self.options.embedding_dim, seed=seed)
