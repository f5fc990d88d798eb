"""The signatures of an exported model, in stock TensorFlow ops.

serving_default(user_id)                   -> item_id, score
recommend(user_id, k, do, CAUSE_weight, ..., exclude_item_id, allow_item_id,
          exclude_seen)
                      -> item_id, score, score_CAUSE, ..., count, known_user
recommend_examples(examples)               -> what recommend returns
explain(user_id, item_id)                  -> score, score_CAUSE, ..., known_user
user_embedding(user_id)                    -> embedding, known_user
item_embedding(item_id)                    -> embedding
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfcausal.evaluation.ranking import ItemLists, tiled
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.vectors import CausalVectors
from tfcausal.serving.exact_search import Limits, search
from tfcausal.serving.examples import of_examples
from tfcausal.serving.presets import Presets
from tfcausal.stats.nearest import LARGEST_SCORE
from tfcausal.stats.negatives import Int64s
from tfcausal.stats.selection import Bools

DEFAULT_K = 10
_WHOLE_LINE = tf.lookup.TextFileIndex.WHOLE_LINE
_LINE_NUMBER = tf.lookup.TextFileIndex.LINE_NUMBER


class ServingModel(tf.Module):
    """Ranks the whole catalogue for users named by strings.

    A score is the inner product that `CausalVectors` promises. One more coordinate
    holds the popularity of an item: unknown users have a 1 there and 0 elsewhere, so
    that the same product gives them the most popular items.

    Cost:
        The catalogue is scored in blocks, some 64 MB of scores at a time; see
        `exact_search.search`.
    """

    def __init__(
        self,
        vectors: CausalVectors,
        *,
        users: Path,
        items: Path,
        seen: ItemLists,
        popularity: Int64s,
        known: Bools,
        presets: Presets | None = None,
        k: int = DEFAULT_K,
    ) -> None:
        """Makes the model's variables and tables.

        Args:
            vectors: Of all users and items.
            users: File of user ids, a line each, from index 1: the unknown user has
                no line.
            items: File of item ids, likewise.
            seen: Items of each user that `exclude_seen` leaves out.
            popularity: [num_items] int64, what an unknown user is answered by.
            known: [num_users] bool, whose vectors were learned; the others are answered
                as unknown ones.
            presets: Weights of causes that requests ask for by name (`do`); None for
                no such names.
            k: Length of the lists of `serving_default`.
        """
        super().__init__(name="tfcausal")
        self.k = k
        self._causes = dict(vectors.causes)
        self._cause_of = np.repeat(
            np.arange(len(self._causes)),
            [part.stop - part.start for part in self._causes.values()],
        )
        self._dim = vectors.dim
        self._num_items = len(vectors.candidates)
        self.user_lines = _line_numbers(users)
        self.item_lines = _line_numbers(items)
        self.item_ids = tf.lookup.StaticHashTable(
            _Lines(str(items), tf.int64, _LINE_NUMBER, tf.string, _WHOLE_LINE), ""
        )
        candidates, never = tiled(
            np.concatenate(
                [vectors.candidates, popularity.astype(np.float32)[:, None]], axis=1
            )
        )
        self.queries = _constant(vectors.queries, "queries")
        self.candidates = _constant(candidates, "candidates")
        self.never = _constant(never, "never")
        largest = np.abs(candidates).max(axis=0).astype(np.float64)
        self.largest = _constant(largest, "largest")
        self.known = _constant(known, "known")
        # Row 0 is for requests that name none, -1 for names that are not there.
        presets = presets or {}
        self._preset_names = list(presets)
        self.preset_rows = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(["", *presets]), tf.range(len(presets) + 1)
            ),
            -1,
        )
        rows = [[one[cause] for cause in self._causes] for one in presets.values()]
        self.preset_weights = _constant(
            np.asarray([[1.0] * len(self._causes), *rows], np.float32), "preset_weights"
        )
        self.seen_offsets = _constant(seen.offsets, "seen_offsets")
        self.seen_items = _constant(seen.items, "seen_items")
        self.seen_item_ids = tf.function(
            self._seen_item_ids, input_signature=[tf.TensorSpec([], tf.string)]
        )

    def signatures(self) -> dict[str, Any]:
        """Returns the concrete functions for `tf.saved_model.save`, by name."""
        ids = tf.TensorSpec([None], tf.string)
        return {
            "serving_default": concrete(self._top_k, user_id=ids),
            **self._requests("recommend", self._recommend, user_id=ids),
            "explain": concrete(self._explain, user_id=ids, item_id=ids),
            "user_embedding": concrete(self._user_embedding, user_id=ids),
            "item_embedding": concrete(self._item_embedding, item_id=ids),
        }

    def _requests(
        self, name: str, function: Callable[..., Any], **asker: tf.TensorSpec
    ) -> dict[str, Any]:
        """Returns a signature for lists in its two forms.

        Args:
            name: Of the signature whose inputs have names; `NAME_examples` is that of
                serialized tf.train.Example.
            function: What makes the lists.
            **asker: What says whom they are for.
        """
        wishes = self._wishes()
        usual = {f"{cause}_weight": 1.0 for cause in self._causes}
        usual |= {"k": self.k, "exclude_seen": 1}
        examples = of_examples(function, {**asker, **wishes}, usual)
        return {
            name: concrete(function, **asker, **wishes),
            f"{name}_examples": concrete(
                examples, examples=tf.TensorSpec([None], tf.string)
            ),
        }

    def _wishes(self) -> dict[str, tf.TensorSpec]:
        """Returns what a request for lists says beside whom they are for."""
        weight = tf.TensorSpec([None], tf.float32)
        items = tf.TensorSpec([None, None], tf.string)
        return {
            "k": tf.TensorSpec([], tf.int32),
            "do": tf.TensorSpec([None], tf.string),
            "exclude_item_id": items,
            "allow_item_id": items,
            "exclude_seen": tf.TensorSpec([], tf.bool),
            **{f"{cause}_weight": weight for cause in self._causes},
        }

    def _seen_item_ids(self, user_id: tf.Tensor) -> tf.Tensor:
        """Returns the [n] string items that the user has seen.

        No signature: for clients in the process that search elsewhere.
        """
        user = self._users(user_id)
        start, end = self.seen_offsets[user], self.seen_offsets[user + 1]
        return self._item_ids(tf.cast(self.seen_items[start:end], tf.int64))

    def _top_k(self, user_id: tf.Tensor) -> dict[str, tf.Tensor]:
        users = self._users(user_id)
        queries = self._queries(users, tf.ones([1, self._dim]))
        scores, items, listed = self._rank(
            queries, users, tf.constant(self.k), tf.constant(True)
        )
        return {
            "item_id": self._item_ids(items),
            "score": tf.where(listed, scores, 0.0),
        }

    def _recommend(
        self, k: tf.Tensor, exclude_seen: tf.Tensor, **inputs: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        inputs = of_equal_rows("user_id", **inputs)
        users = self._users(inputs["user_id"])
        queries = self._queries(users, self._scale(inputs))
        return self._lists(users, queries, k, exclude_seen, inputs)

    def _scale(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns [B, dim]: the weight that a request gives to each coordinate."""
        rows = self.preset_rows.lookup(inputs["do"])
        strange = tf.gather(inputs["do"], tf.where(rows < 0)[:, 0])
        names = ", ".join(self._preset_names)
        known = tf.debugging.Assert(
            tf.equal(tf.size(strange), 0),
            [
                f"`do` must be one of {names or 'no names'} or empty; got",
                _text(strange),
            ],
        )
        with tf.control_dependencies([known]):
            presets = tf.gather(self.preset_weights, rows)
        given = [f"{cause}_weight" for cause in self._causes]
        weights = tf.stack([inputs[name] for name in given], axis=1)
        wrong = tf.where(~tf.math.is_finite(weights))
        said = tf.strings.join(
            [
                "`",
                tf.gather(tf.constant(given), wrong[:, 1]),
                "` must be finite; got ",
                tf.strings.as_string(tf.gather_nd(weights, wrong)),
            ]
        )
        finite = tf.debugging.Assert(tf.equal(tf.size(said), 0), [said])
        with tf.control_dependencies([finite]):
            return tf.gather(weights * presets, self._cause_of, axis=1)

    def _lists(
        self,
        users: tf.Tensor,
        queries: tf.Tensor,
        k: tf.Tensor,
        exclude_seen: tf.Tensor,
        inputs: Mapping[str, tf.Tensor],
    ) -> dict[str, tf.Tensor]:
        """Returns what signatures for lists do.

        Args:
            users: [B] int64, whose seen items may be left out.
            queries: [B, num_queries, dim + 1] float32.
            k: [] int32 for all, or [B] of each.
            exclude_seen: [] bool for all, or [B] of each.
            inputs: `exclude_item_id` and `allow_item_id`, [B, any] string.
        """
        positive = tf.debugging.Assert(
            tf.reduce_all(k >= 1), ["`k` must be at least 1; got", k]
        )
        with tf.control_dependencies([positive]):
            lengths = tf.reshape(k, [-1, 1])
        scores, items, listed = self._rank(
            queries,
            users,
            tf.reduce_max(tf.concat([lengths, [[1]]], axis=0)),
            exclude_seen,
            inputs,
        )
        listed &= tf.range(tf.shape(items)[1]) < lengths
        items = tf.where(listed, items, UNKNOWN_INDEX)
        terms, _ = self._terms(queries, items)
        return {
            "item_id": self._item_ids(items),
            "score": tf.where(listed, scores, 0.0),
            **{name: tf.where(listed, term, 0.0) for name, term in terms.items()},
            "count": tf.reduce_sum(tf.cast(listed, tf.int32), axis=1),
            "known_user": users != UNKNOWN_INDEX,
        }

    def _explain(self, user_id: tf.Tensor, item_id: tf.Tensor) -> dict[str, tf.Tensor]:
        inputs = of_equal_rows("user_id", user_id=user_id, item_id=item_id)
        users = self._users(inputs["user_id"])
        items = self._known_items(inputs["item_id"])
        queries = self._queries(users, tf.ones([1, self._dim]))
        terms, score = self._terms(queries, items[:, None])
        return {
            "score": score[:, 0],
            **{name: term[:, 0] for name, term in terms.items()},
            "known_user": users != UNKNOWN_INDEX,
        }

    def _user_embedding(self, user_id: tf.Tensor) -> dict[str, tf.Tensor]:
        users = self._users(user_id)
        return {
            "embedding": tf.gather(self.queries, users),
            "known_user": users != UNKNOWN_INDEX,
        }

    def _item_embedding(self, item_id: tf.Tensor) -> dict[str, tf.Tensor]:
        items = self._known_items(item_id)
        return {"embedding": self._candidates_at(items)[:, : self._dim]}

    # Line 0 is index 1, and an unknown id gives line -1: index 0.
    def _users(self, user_id: tf.Tensor) -> tf.Tensor:
        users = self.user_lines.lookup(user_id) + 1
        return tf.where(tf.gather(self.known, users), users, UNKNOWN_INDEX)

    def _items(self, item_id: tf.Tensor) -> tf.Tensor:
        return self.item_lines.lookup(item_id) + 1

    def _item_ids(self, items: tf.Tensor) -> tf.Tensor:
        return self.item_ids.lookup(items - 1)

    def _candidates_at(self, items: tf.Tensor) -> tf.Tensor:
        """Returns [..., dim + 1] float32 of items of any shape."""
        # A variable that was once gathered from is copied as a whole each time it is
        # read, and search reads all of this one.
        return tf.gather(tf.convert_to_tensor(self.candidates), items)

    def _known_items(self, item_id: tf.Tensor) -> tf.Tensor:
        items = self._items(item_id)
        known = items != UNKNOWN_INDEX
        tf.debugging.Assert(
            tf.reduce_all(known),
            ["`item_id` must be in the catalogue; unknown:", _text(item_id[~known])],
            summarize=10,
        )
        return items

    def _queries(self, users: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
        """Returns [B, num_queries, dim + 1] float32, the causes scaled by [B, dim]."""
        known = (users != UNKNOWN_INDEX)[:, None, None]
        scaled = tf.gather(self.queries, users) * scale[:, None, :]
        by_popularity = tf.zeros_like(scaled[:, :, :1]) + tf.where(known, 0.0, 1.0)
        return self._bounded(
            tf.concat([tf.where(known, scaled, 0.0), by_popularity], axis=2)
        )

    def _bounded(self, queries: tf.Tensor) -> tf.Tensor:
        # With finite scores only the masked ones are -inf, whatever the scale.
        bound = tf.reduce_sum(tf.abs(tf.cast(queries, tf.float64)) * self.largest, 2)
        finite = bound < LARGEST_SCORE
        reached = tf.gather_nd(bound, tf.where(~finite))
        tf.debugging.Assert(
            tf.reduce_all(finite),
            [
                "Scores must stay finite; lower the weights. They may reach",
                tf.strings.as_string(reached),
            ],
        )
        return queries

    def _rank(
        self,
        queries: tf.Tensor,
        users: tf.Tensor,
        k: tf.Tensor,
        exclude_seen: tf.Tensor,
        filters: Mapping[str, tf.Tensor] | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns scores, items and whether a place is filled, each [B, at most k].

        Args:
            queries: [B, num_queries, dim + 1] float32.
            users: [B] int64, whose seen items may be left out.
            k: [] int32.
            exclude_seen: [] bool for all, or [B] of each.
            filters: `exclude_item_id` and `allow_item_id`, [B, any] string; None where
                a request has none.
        """
        starts = tf.gather(self.seen_offsets, users)
        ends = tf.where(exclude_seen, tf.gather(self.seen_offsets, users + 1), starts)
        # Of a sparse tensor the rows are there at once, of a ragged one by many steps.
        seen = tf.ragged.range(starts, ends).to_sparse()
        seen_items = tf.gather(self.seen_items, seen.values)
        met = tf.stack([seen.indices[:, 0], tf.cast(seen_items, tf.int64)], axis=1)
        if filters is None:
            limits = Limits(met)
        else:
            allowed = filters["allow_item_id"]
            limits = Limits(
                tf.concat([met, self._pairs(filters["exclude_item_id"])], axis=0),
                limited=tf.reduce_any(tf.not_equal(allowed, ""), axis=1),
                allowed=lambda: self._pairs(allowed),
            )
        most = tf.minimum(k, self._num_items - 1)
        scores, items = self._search(queries, users, limits, most)
        listed = scores > -np.inf
        return scores, tf.where(listed, tf.cast(items, tf.int64), 0), listed

    def _pairs(self, item_id: tf.Tensor) -> tf.Tensor:
        """Returns [n, 2] int64: a place in the batch, and an item named there.

        Unknown ids and padding are index 0, which is never shown anyway.
        """
        items = self._items(item_id)
        rows = tf.range(tf.shape(items, tf.int64)[0])
        owners = tf.broadcast_to(rows[:, None], tf.shape(items))
        return tf.reshape(tf.stack([owners, items], axis=2), [-1, 2])

    def _search(
        self, queries: tf.Tensor, users: tf.Tensor, limits: Limits, k: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns scores, -inf for what is left out, and items, each [B, k].

        Args:
            queries: [B, num_queries, dim + 1] float32.
            users: [B] int64.
            limits: What lists leave out.
            k: [] int32, at least 1 and less than the number of items.
        """
        return search(queries, self.candidates, self.never, limits, k)

    def _terms(
        self, queries: tf.Tensor, items: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Returns each cause's term of the winning query, and the score, [B, k]."""
        candidates = self._candidates_at(items)
        if queries.shape[1] == 1:
            products = candidates * queries
            return {
                f"score_{cause}": tf.reduce_sum(products[:, :, part], axis=2)
                for cause, part in self._causes.items()
            }, tf.reduce_sum(products, axis=2)

        def terms_of(part: slice) -> tf.Tensor:
            return tf.matmul(
                candidates[:, :, part], queries[:, :, part], transpose_b=True
            )

        terms = {
            f"score_{cause}": terms_of(part) for cause, part in self._causes.items()
        }
        popularity = terms_of(slice(self._dim, self._dim + 1))
        totals = tf.add_n([*terms.values(), popularity])
        winner = tf.argmax(totals, axis=2)

        def of_winner(values: tf.Tensor) -> tf.Tensor:
            return tf.gather(values, winner, batch_dims=2)

        return {name: of_winner(term) for name, term in terms.items()}, of_winner(
            totals
        )


def concrete(function: Any, **inputs: tf.TensorSpec) -> Any:
    """Traces a function for inputs of given names."""
    named = {
        name: tf.TensorSpec(spec.shape, spec.dtype, name)
        for name, spec in inputs.items()
    }
    return tf.function(function).get_concrete_function(**named)


def input_specs(signature: Any) -> dict[str, tf.TensorSpec]:
    """Returns the shape and type of each input of a concrete function."""
    specs = tf.nest.flatten(signature.structured_input_signature)
    return {spec.name: spec for spec in specs}


def of_equal_rows(ids: str, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns the inputs once all are known to have a row for each of the ids."""
    names = list(inputs)
    counts = tf.stack([tf.shape(inputs[name])[0] for name in names])
    wrong = tf.where(counts != counts[names.index(ids)])[:, 0]
    said = tf.strings.join(
        [
            "`",
            tf.gather(tf.constant(names), wrong),
            f"` must have a row for each {ids.removesuffix('_id')}; rows: ",
            tf.strings.as_string(tf.gather(counts, wrong)),
        ]
    )
    fits = tf.debugging.Assert(tf.equal(tf.size(said), 0), [said])
    with tf.control_dependencies([fits]):
        return {name: tf.identity(value) for name, value in inputs.items()}


def _text(names: tf.Tensor) -> tf.Tensor:
    """Returns names for a message: a client cannot read one that is not UTF-8."""
    return tf.strings.unicode_transcode(names, "UTF-8", "UTF-8")


def _line_numbers(path: Path) -> tf.lookup.StaticHashTable:
    initializer = _Lines(str(path), tf.string, _WHOLE_LINE, tf.int64, _LINE_NUMBER)
    return tf.lookup.StaticHashTable(initializer, -1)


class _Lines(tf.lookup.TextFileInitializer):
    """Names its table by the file's content, where TensorFlow takes the file's path.

    That path is a scratch folder of whoever exported, and would stand in the model.
    """

    @property
    def _shared_name(self) -> str:
        with open(self._filename_arg, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return f"{digest}_{self._key_index}_{self._value_index}"


def _constant(values: Any, name: str) -> tf.Variable:
    # A variable: a constant would sit in the graph, which ends at 2 GiB.
    return tf.Variable(values, trainable=False, name=name)
