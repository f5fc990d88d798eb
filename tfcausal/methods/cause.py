"""CausE: items seen under the logging policy and under a random one, kept alike.

Reference: Bonner, Vasile, Causal Embeddings for Recommendation, RecSys 2018, in the
form of the baseline CausE of Zheng et al., DICE, WWW 2021, section 4.2.1, and of its
authors' code: one table of users, a control and a treatment table of items, the mean
log loss of one positive and four negatives on control rows and on treatment rows, and
the mean squared difference of the tables on the items of the batch.
Deviations: negatives are items that the user has met in neither part, not only in the
row's own. DICE's text has BPR for all baselines, its code the log loss for this one;
DCCL's table (Zhao et al., WWW 2023) has BPR: `main_loss=bpr`. The original serves the
treatment table, DICE's code the control table: `serves`. The original's biases, and its
pull on one table alone, are left out as in DICE's code.

On LightGCN (LGNCausE in DICE's code) there are two tables of users as well: each pair
of tables is propagated over the graph of its own rows, and the distance is that of both
sides. With features, the treatment table has none: it stays a plain table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import tensorflow as tf

from tfcausal.data.interactions import CheckedDataset
from tfcausal.data.train_window import INTERVENED
from tfcausal.errors import InputError
from tfcausal.layers.embedding import CausalEmbedding
from tfcausal.layers.feature_tower import FeatureTower
from tfcausal.layers.propagation import Propagation
from tfcausal.losses.pairwise import bpr, mean_over
from tfcausal.methods.options import PairOptions
from tfcausal.methods.registry import register
from tfcausal.methods.towers import Towers, make_propagation, propagated
from tfcausal.methods.triplets import PairMethod, TripletBatch
from tfcausal.schema.dataset import TRAIN, TRAIN_INTERVENED

MainLoss = Literal["bce", "bpr"]
Table = Literal["control", "treatment"]


@dataclass(frozen=True)
class CausEOptions(PairOptions):
    """Options of CausE.

    Attributes:
        embedding_dim: Coordinates of a user's and an item's vector.
        learning_rate: Step size of the optimiser at the start.
        num_negatives: Negatives for each positive.
        main_loss: "bce" for the log loss of each score, or "bpr" on pairs.
        discrepancy_weight: Weight of the distance between the two tables of items.
        serves: The items' table that recommends, "control" or "treatment".
    """

    embedding_dim: int = 64
    learning_rate: float = 1e-2
    main_loss: MainLoss = "bce"
    discrepancy_weight: float = 0.01
    serves: Table = "control"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, kind in (("main_loss", MainLoss), ("serves", Table)):
            if getattr(self, name) not in get_args(kind):
                raise InputError(
                    f"`{name}` must be one of {', '.join(get_args(kind))}; got "
                    f"{getattr(self, name)}."
                )


@register("cause")
class CausE(PairMethod):
    """Two vectors an item, one from the biased rows and one from the intervened."""

    options_class = CausEOptions
    options: CausEOptions

    @classmethod
    def of_dataset(
        cls, dataset: CheckedDataset, options: Any = None, *, seed: int = 0
    ) -> Self:
        """Makes the method for a data set that has an intervened training part.

        Args:
            dataset: The data set.
            options: CausEOptions; None for its defaults.
            seed: Seed of the initial values.
        Raises:
            InputError: If the split has no intervened training part.
        """
        if not dataset.parts([TRAIN_INTERVENED]):
            raise InputError(
                f"`{dataset.folder.splits}` must have the part `{TRAIN_INTERVENED}` "
                "for the method cause; it has none. Run beam_jobs.split with "
                "--rule=intervened, or choose another method."
            )
        return super().of_dataset(dataset, options, seed=seed)

    def make_weights(self) -> None:
        """Makes the treatment tables; the towers are those of control."""
        self.treatment = self._treatment_table(self.items)
        self._treatment_graph: Propagation | None = None
        if self.options.backbone == "lightgcn":
            self.treatment_users = self._treatment_table(self.users)
            rows = self.window.read_rows((TRAIN_INTERVENED,))
            self._treatment_graph = make_propagation(
                self.options, rows, self.users.num_rows, self.items.num_rows
            )

    def _treatment_table(self, control: CausalEmbedding) -> CausalEmbedding:
        table = CausalEmbedding(
            control.num_rows,
            self.cause_dims(),
            seed=control.seed,
            name=f"treatment_{control.name}",
        )
        table.build(None)
        return table

    def graph_parts(self) -> tuple[str, ...]:
        """Returns the part of control: the other has a graph of its own."""
        return (TRAIN,)

    def treatment_towers(self, control: Towers) -> Towers:
        """Returns where the treatment's vectors are looked up in the same step.

        Args:
            control: The towers of control, whose users serve both but on LightGCN.
        """
        if self._treatment_graph is None:
            return Towers(control.users, self.treatment, control.training)
        seed = self.dropout_seed() if control.training else None
        return propagated(
            self._treatment_graph, self.treatment_users, self.treatment, seed
        )

    def row_facts(self) -> tuple[str, ...]:
        """Asks which rows are of the intervened part."""
        return (INTERVENED,)

    def cause_dims(self) -> Mapping[str, int]:
        """Returns one cause: the preference, freed of exposure but not split."""
        return {"preference": self.options.embedding_dim}

    def initial_term_weights(self) -> Mapping[str, float]:
        """Returns the weights of both kinds of rows and of the distance."""
        return {
            "click": 1.0,
            "click_intervened": 1.0,
            "discrepancy": self.options.discrepancy_weight,
        }

    def loss_terms(
        self, batch: TripletBatch, towers: Towers
    ) -> Mapping[str, tf.Tensor]:
        """Returns `click` on control rows, `click_intervened`, and `discrepancy`.

        A term without a row in the batch is 0. The discrepancy is the mean over the
        coordinates of the batch's distinct items, and on LightGCN also of its users.
        """
        treated = self.treatment_towers(towers)
        control = self.pair_scores(batch, towers)
        treatment = self.pair_scores(batch, treated)
        intervened = tf.equal(batch.facts[INTERVENED], 1)[:, None]
        distinct = tf.unique(
            tf.concat(
                [batch.positives, tf.boolean_mask(batch.negatives, batch.exists)], 0
            )
        ).y
        discrepancy = _mean_square(towers.items(distinct) - treated.items(distinct))
        if self._treatment_graph is not None:
            users = tf.unique(batch.users).y
            discrepancy += _mean_square(towers.users(users) - treated.users(users))
        return {
            "click": self._click(control, batch.exists, ~intervened),
            "click_intervened": self._click(treatment, batch.exists, intervened),
            "discrepancy": discrepancy,
        }

    def _click(
        self, scores: tf.Tensor, exists: tf.Tensor, chosen: tf.Tensor
    ) -> tf.Tensor:
        """Returns the mean loss over the chosen rows' scores, or pairs, that exist."""
        if self.options.main_loss == "bpr":
            return mean_over(bpr(scores[:, :1], scores[:, 1:]), exists & chosen)
        first = tf.ones_like(exists[:, :1])
        labels = tf.concat([first, tf.zeros_like(exists)], axis=1)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(
            tf.cast(labels, scores.dtype), scores
        )
        return mean_over(losses, tf.concat([first, exists], axis=1) & chosen)

    def serving_towers(self) -> Towers:
        """Returns the towers of the table that serves."""
        control = self.towers(training=False)
        if self.options.serves == "treatment":
            return self.treatment_towers(control)
        return control

    def serving_feature_towers(self) -> tuple[FeatureTower | None, FeatureTower | None]:
        """Returns no features of items where the treatment table serves."""
        users, items = super().serving_feature_towers()
        return users, None if self.options.serves == "treatment" else items


def _mean_square(difference: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.square(difference))
