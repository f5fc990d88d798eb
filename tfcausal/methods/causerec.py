"""CauseRec: histories with parts of them replaced, and what must change with them.

Reference: Zhang et al., CauseRec: Counterfactual User Sequence Synthesis for Sequential
Recommendation, SIGIR 2021: encoder Eq. 4, concepts Eq. 5 to 8, losses Eq. 9 to 11;
section 4.1 for sizes.
Deviations: substitutes are drawn from all that is in the memory (see
`samplers.counterfactuals`); item memories hold ids, whose vectors are those of today;
scores of concepts have no gradient. The paper names no activation, no size of the
memory and no number of negatives: here relu, 1,024 (its batch) and 1,000. Of an encoder
with several queries each history's is the one that its target scores highest with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import tensorflow as tf

from tfcausal.errors import InputError, unknown_name
from tfcausal.layers.history import HistoryEncoder
from tfcausal.layers.history_attention import (
    AttentionEncoder,
    ConceptAttention,
    ConceptEncoder,
)
from tfcausal.layers.history_mean import MeanEncoder
from tfcausal.layers.history_recurrent import RecurrentEncoder
from tfcausal.layers.history_routing import RoutingEncoder
from tfcausal.losses.counterfactual import contrast_with_items, contrast_with_users
from tfcausal.methods.histories import (
    EncodedBatch,
    HistoryBatch,
    HistoryMethod,
    best_query,
)
from tfcausal.methods.options import HistoryOptions
from tfcausal.methods.registry import register
from tfcausal.samplers.counterfactuals import Memory, halves, replaced
from tfcausal.samplers.mixing import word_of_step
from tfcausal.stats import mixing
from tfcausal.stats.sequences import PAD

Level = Literal["none", "item", "interest", "hierarchical"]
Encoder = Literal["mean", "youtube_dnn", "gru", "mind", "comirec_sa", "comirec_dr"]

ITEM, INTEREST = "item", "interest"
LEVELS: Mapping[Level, tuple[str, ...]] = {
    "none": (),
    "item": (ITEM,),
    "interest": (INTEREST,),
    "hierarchical": (ITEM, INTEREST),
}


@dataclass(frozen=True)
class CauseRecOptions(HistoryOptions):
    """Options of CauseRec.

    Symbols: M -> num_positive; N -> num_negative; r_rep -> replace_rate;
        K -> num_concepts; lambda_1 -> user_weight; lambda_2 -> item_weight

    Attributes:
        learning_rate: Step size of the optimiser at the start.
        level: What is replaced: "item" (CauseRec-Item), "interest" (CauseRec-Interest,
            whose encoder reads concepts), "hierarchical" (CauseRec-H, both) or "none"
            (the paper's base: the encoder alone).
        encoder: What reads the history: "mean" (the paper's, three dense layers),
            "youtube_dnn", "gru", "mind", "comirec_sa" or "comirec_dr".
        hidden_dims: mean: width of each hidden layer.
        num_interests: mind, comirec_sa, comirec_dr: queries of each history.
        num_positive: Counterfactual histories with dispensable concepts replaced, so
            many of each level: of both together twice as many if hierarchical.
        num_negative: The same with indispensable concepts replaced.
        replace_rate: Share of the half that is replaced; 1 for all of it.
        memory_size: Concepts that substitutes are drawn from, for each level.
        num_concepts: interest, hierarchical: concepts of a history.
        user_weight: Weight of the contrast between users, L_co.
        item_weight: Weight of the contrast with items, L_ii.
    """

    learning_rate: float = 3e-3
    level: Level = "item"
    encoder: Encoder = "mean"
    hidden_dims: tuple[int, ...] = (256, 256)
    num_interests: int = 4
    num_positive: int = 1
    num_negative: int = 8
    replace_rate: float = 0.5
    memory_size: int = 1024
    num_concepts: int = 20
    user_weight: float = 1.0
    item_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "hidden_dims", tuple(self.hidden_dims))
        for name, kind in (("level", Level), ("encoder", Encoder)):
            if getattr(self, name) not in get_args(kind):
                raise unknown_name(name, getattr(self, name), get_args(kind))
        for name in ("num_interests", "memory_size", "num_concepts"):
            if getattr(self, name) < 1:
                raise InputError(f"`{name}` must be >= 1; got {getattr(self, name)}.")
        if not 0 < self.replace_rate <= 1:
            raise InputError(
                "`replace_rate` must be above 0 and at most 1; got "
                f"{self.replace_rate}."
            )
        for name in ("num_positive", "num_negative"):
            if getattr(self, name) < 0:
                raise InputError(f"`{name}` must be >= 0; got {getattr(self, name)}.")


@register("causerec")
class CauseRec(HistoryMethod):
    """A history's query, and in training those of its counterfactual histories.

    At serving a history is encoded as it is.
    """

    options_class = CauseRecOptions
    options: CauseRecOptions

    def make_weights(self) -> None:
        """Makes the memories of concepts."""
        options = self.options
        levels = LEVELS[options.level]
        self.memories = {
            level: Memory(
                options.memory_size,
                None if level == ITEM else options.embedding_dim,
                name=f"{level}_memory",
            )
            for level in levels
        }

    def make_encoder(self, seed: int) -> HistoryEncoder:
        """Returns what reads the history, or its concepts."""
        options = self.options
        if INTEREST not in LEVELS[options.level]:
            return self._reader(options.max_length, seed)
        return ConceptEncoder(
            ConceptAttention(options.embedding_dim, options.num_concepts, seed=seed),
            self._reader(options.num_concepts, seed),
        )

    def _reader(self, length: int, seed: int) -> HistoryEncoder:
        """Returns the encoder of sequences of at most a length."""
        options = self.options
        dim = options.embedding_dim
        interests = options.num_interests
        if options.encoder == "gru":
            return RecurrentEncoder(dim, seed=seed)
        if options.encoder == "comirec_sa":
            return AttentionEncoder(dim, interests, max_length=length, seed=seed)
        if options.encoder in ("mind", "comirec_dr"):
            mind = options.encoder == "mind"
            return RoutingEncoder(
                dim,
                interests,
                max_length=length,
                maps="shared" if mind else "positions",
                initial_logits="random" if mind else "zeros",
                seed=seed,
            )
        hidden = options.hidden_dims if options.encoder == "mean" else ()
        return MeanEncoder(dim, hidden, seed=seed)

    def initial_term_weights(self) -> Mapping[str, float]:
        """Returns the weights of the click and of both contrasts."""
        weights = {"click": 1.0}
        if LEVELS[self.options.level]:
            weights["users"] = self.options.user_weight
            weights["items"] = self.options.item_weight
        return weights

    def encoded(self, batch: HistoryBatch) -> EncodedBatch:
        """Returns a batch with its vectors; concepts too, if the encoder reads them."""
        if not isinstance(self.encoder, ConceptEncoder):
            return super().encoded(batch)
        vectors = self.items(batch.histories)
        exists = tf.not_equal(batch.histories, PAD)
        targets = self.items(batch.targets)
        concepts, attention = self.encoder.concepts.attend(vectors, exists)
        concepts_exist = self.encoder.exists(exists)
        queries = best_query(self.encoder.reader(concepts, concepts_exist), targets)
        return _ConceptBatch(
            batch,
            vectors,
            exists,
            targets,
            queries,
            concepts,
            concepts_exist,
            attention,
        )

    def further_terms(
        self, encoded: EncodedBatch, *, training: bool
    ) -> Mapping[str, tf.Tensor]:
        """Returns `users`, Eq. 9, and `items`, Eq. 10, of all counterfactuals."""
        if not self.memories:
            return {}
        scores = tf.stop_gradient(
            tf.einsum("nld,nd->nl", encoded.vectors, encoded.targets)
        )
        found: list[_Counterfactuals] = []
        if ITEM in self.memories:
            memory = self.memories[ITEM]
            found.append(
                self._counterfactuals(
                    ITEM,
                    self.encoder,
                    encoded,
                    encoded.vectors,
                    encoded.exists,
                    scores,
                    self.items(memory.values),
                )
            )
            if training:
                memory.enqueue(encoded.batch.histories, encoded.exists)
        if isinstance(encoded, _ConceptBatch):
            memory = self.memories[INTEREST]
            attention = tf.stop_gradient(encoded.attention)
            found.append(
                self._counterfactuals(
                    INTEREST,
                    self.encoder.reader,
                    encoded,
                    encoded.concepts,
                    encoded.concepts_exist,
                    tf.einsum("nkl,nl->nk", attention, scores),
                    tf.convert_to_tensor(memory.values),
                )
            )
            if training:
                memory.enqueue(
                    tf.stop_gradient(encoded.concepts), encoded.concepts_exist
                )
        queries, both = encoded.queries, _joined(found)
        return {
            "users": contrast_with_users(queries, **both),
            "items": contrast_with_items(encoded.targets, **both),
        }

    def _counterfactuals(
        self,
        level: str,
        encoder: HistoryEncoder,
        encoded: EncodedBatch,
        concepts: tf.Tensor,
        exists: tf.Tensor,
        scores: tf.Tensor,
        remembered: tf.Tensor,
    ) -> "_Counterfactuals":
        """Encodes the histories of a batch with concepts replaced.

        Args:
            level: ITEM or INTEREST.
            encoder: Of the level's concepts.
            encoded: The batch.
            concepts: [n, length, dim] float32.
            exists: [n, length] bool.
            scores: [n, length] float32 of the concepts.
            remembered: [memory_size, dim] float32 vectors of the memory.
        """
        options, memory = self.options, self.memories[level]
        indispensable, dispensable = halves(scores, exists)
        masks = []
        for purpose, half, number in (
            ("positive", dispensable, options.num_positive),
            ("negative", indispensable, options.num_negative),
        ):
            masks.append(
                replaced(
                    half,
                    self._word(f"{level} {purpose}"),
                    rate=options.replace_rate,
                    num_samples=number,
                )
            )
        mask = tf.concat(masks, axis=1)
        places = memory.draw(
            self._word(f"{level} substitutes"), [tf.math.count_nonzero(mask)]
        )
        queries = encoder.encode_replaced(concepts, exists, mask, remembered, places)
        samples = mask.shape[1]
        targets = tf.repeat(encoded.targets, samples, axis=0)
        chosen = tf.reshape(
            best_query(queries, targets), [-1, samples, options.embedding_dim]
        )
        # A half without concepts, or a memory without any, gives no counterfactual.
        counts = tf.reduce_any(mask, axis=2) & ~memory.is_empty
        numbers = [options.num_positive, options.num_negative]
        return _Counterfactuals(
            *tf.split(chosen, numbers, axis=1), *tf.split(counts, numbers, axis=1)
        )

    def _word(self, purpose: str) -> tf.Tensor:
        stream = mixing.stream(self.items.seed, f"counterfactual {purpose}")
        return word_of_step(stream, self.step_number())


@dataclass(frozen=True)
class _ConceptBatch(EncodedBatch):
    """A batch whose histories are read as concepts.

    Attributes:
        concepts: [batch, num_concepts, dim] float32.
        concepts_exist: [batch, num_concepts] bool.
        attention: [batch, num_concepts, max_length] float32, what each concept takes
            of each item.
    """

    concepts: tf.Tensor
    concepts_exist: tf.Tensor
    attention: tf.Tensor


@dataclass(frozen=True)
class _Counterfactuals:
    """Queries of counterfactual histories, as the losses take them.

    Attributes:
        positives: [n, num_positive, dim] float32.
        negatives: [n, num_negative, dim] float32.
        positives_exist: [n, num_positive] bool.
        negatives_exist: [n, num_negative] bool.
    """

    positives: tf.Tensor
    negatives: tf.Tensor
    positives_exist: tf.Tensor
    negatives_exist: tf.Tensor


def _joined(found: list[_Counterfactuals]) -> dict[str, tf.Tensor]:
    return {
        name: tf.concat([getattr(one, name) for one in found], axis=1)
        for name in _Counterfactuals.__dataclass_fields__
    }
