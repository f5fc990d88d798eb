"""YouTube DNN's candidates: the mean of a history through one layer.

Reference: Covington, Adams, Sargin, Deep Neural Networks for YouTube Recommendations,
RecSys 2016, section 3, as ComiRec's code has it: the mean of the items' vectors, one
linear layer, softmax over a sample. With more layers it is `causerec` with level=none.
Deviations: ids alone, no features of users; negatives are drawn with replacement.
"""

from tfcausal.layers.history import HistoryEncoder
from tfcausal.layers.history_mean import MeanEncoder
from tfcausal.methods.histories import HistoryMethod
from tfcausal.methods.registry import register


@register("youtube_dnn")
class YouTubeDNN(HistoryMethod):
    """One query of a history's mean."""

    def make_encoder(self, seed: int) -> HistoryEncoder:
        """Returns the mean and its layer."""
        return MeanEncoder(self.options.embedding_dim, (), seed=seed)
