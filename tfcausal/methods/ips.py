"""IPS: pairs weighted by how unlikely their positive was to be met.

Reference: the baselines IPS (Schnabel et al., ICML 2016), IPS-C (Bottou et al., JMLR
2013), IPS-CN and IPS-CNSR (Gruson et al., WSDM 2019) of Zheng et al., DICE, WWW 2021,
section 4.2.1, in the form of the authors' src/data.py: with i the positive, j the
negative and w as in `stats.propensity`,

    loss = mean w_i * -log sigmoid(s_ui - s_uj)

over all pairs, not divided by the sum of the weights. With `click_loss=softmax` each
row's in-batch cross-entropy is weighted so, which is ours.
Deviations: the authors do not tell the smoothness of IPS-CNSR; 0.5 is ours. Popularity
is counted on all training rows, the intervened ones included, as theirs; the table
`popularity.parquet` counts the biased part alone, `propensity.parquet` both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import tensorflow as tf

from tfcausal.errors import InputError
from tfcausal.methods.click import ClickMethod
from tfcausal.methods.options import ClickOptions
from tfcausal.methods.registry import register
from tfcausal.methods.towers import Towers
from tfcausal.methods.triplets import TripletBatch
from tfcausal.schema.dataset import TRAINING_PARTS
from tfcausal.stats.propensity import propensity_table

Form = Literal["ips", "ips_c", "ips_cn", "ips_cnsr"]
"""Columns of `stats.propensity`'s table."""


@dataclass(frozen=True)
class IPSOptions(ClickOptions):
    """Options of IPS.

    Attributes:
        embedding_dim: Coordinates of a user's and an item's vector.
        learning_rate: Step size of the optimiser at the start.
        num_negatives: Negatives for each positive.
        form: "ips" for the plain inverse of popularity, "ips_c" for one clipped at its
            median over items, "ips_cn" for that one divided by its largest, "ips_cnsr"
            for a power of that. Plain weights go up to the largest popularity and need
            a smaller learning_rate.
        smoothness: The power of ips_cnsr, > 0; below 1 it evens the weights out.
    """

    embedding_dim: int = 128
    learning_rate: float = 1e-2
    form: Form = "ips_cn"
    smoothness: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in get_args(Form):
            raise InputError(
                f"`form` must be one of {', '.join(get_args(Form))}; got {self.form}."
            )
        if not 0 < self.smoothness < np.inf:
            raise InputError(
                f"`smoothness` must be finite and > 0; got {self.smoothness}."
            )


@register("ips")
class IPS(ClickMethod):
    """Matrix factorisation in which rare positives count for more."""

    options_class = IPSOptions
    options: IPSOptions

    def make_weights(self) -> None:
        """Reads the weight of each item as a positive."""
        super().make_weights()
        num_items = self.items.num_rows
        rows = self.window.read_rows(TRAINING_PARTS)
        counts = np.bincount(rows.items, minlength=num_items)
        table = propensity_table(
            counts, self.users.num_rows - 1, self.options.smoothness
        )
        self.item_weights = tf.constant(table[self.options.form].to_numpy(), tf.float32)

    def cause_dims(self) -> Mapping[str, int]:
        """Returns one cause: the preference; popularity is in the loss, not in it."""
        return {"preference": self.options.embedding_dim}

    def loss_terms(
        self, batch: TripletBatch, towers: Towers
    ) -> Mapping[str, tf.Tensor]:
        """Returns `click`: the mean of the weighted loss over all pairs, or rows."""
        weights = tf.gather(self.item_weights, batch.positives)
        users = towers.users(batch.users)
        return {"click": self.click(batch, towers, users, weights=weights)}
