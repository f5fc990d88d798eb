"""Signatures for whoever has met an item: the history comes with the request.

user_embedding_of_history(history)              -> embedding, known_history
recommend_of_history(history, and all that recommend takes but user_id)
                                                -> what recommend returns
explain_history(history, item_id)               -> score, score_without, rank,
                                                   rank_without, known_history,
                                                   known_without

`history` is [batch, length] item ids, the latest last; "" and ids that the model does
not know are passed over, and of longer histories the last items count. There is no row
of a user: who is new is answered from the first item on.
"""

from typing import Any

import tensorflow as tf

from tfcausal.methods.histories import HistoryMethod
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.serving.method_model import MethodServingModel
from tfcausal.serving.signatures import concrete, of_equal_rows
from tfcausal.stats.sequences import PAD


class HistoryServingModel(MethodServingModel):
    """Also ranks by the history that a request brings."""

    def take(self, method: HistoryMethod) -> None:
        """Keeps the method's encoder."""
        self._queries_of = method.queries_of
        self._max_length = method.options.max_length

    def signatures(self) -> dict[str, Any]:
        """Returns the concrete functions for `tf.saved_model.save`, by name."""
        history = tf.TensorSpec([None, None], tf.string)
        return {
            **super().signatures(),
            "user_embedding_of_history": concrete(
                self._user_embedding_of_history, history=history
            ),
            **self._requests(
                "recommend_of_history", self._recommend_of_history, history=history
            ),
            "explain_history": concrete(
                self._explain_history,
                history=history,
                item_id=tf.TensorSpec([None], tf.string),
            ),
        }

    def _user_embedding_of_history(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        items = self._last_items(history)
        return {
            "embedding": self._calibrated(self._queries_of(items)),
            "known_history": _is_known(items),
        }

    def _recommend_of_history(
        self, k: tf.Tensor, exclude_seen: tf.Tensor, **inputs: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        inputs = of_equal_rows("history", **inputs)
        items = self._last_items(inputs["history"])
        queries = self._history_queries(items, self._scale(inputs))
        # What has been met counts as seen, also what is too long ago to be encoded.
        leaves_out = tf.reshape(exclude_seen, [-1, 1])
        met = tf.where(leaves_out, inputs["history"], "")
        inputs["exclude_item_id"] = tf.concat([inputs["exclude_item_id"], met], axis=1)
        nobody = tf.fill([tf.shape(items)[0]], tf.constant(UNKNOWN_INDEX, tf.int64))
        lists = self._lists(nobody, queries, k, tf.constant(False), inputs)
        del lists["known_user"]
        return {**lists, "known_history": _is_known(items)}

    def _explain_history(
        self, history: tf.Tensor, item_id: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        inputs = of_equal_rows("history", history=history, item_id=item_id)
        asked = self._known_items(inputs["item_id"])
        given = self._items(inputs["history"])
        batch, length = tf.shape(given)[0], tf.shape(given)[1]
        # The history as it is, and without each of its places.
        left_out = tf.eye(length + 1, length, dtype=tf.bool)
        left_out = tf.concat([left_out[length:], left_out[:length]], axis=0)
        variants = tf.where(left_out[None], tf.cast(PAD, given.dtype), given[:, None])
        # Their number is said, as it does not follow from values where there are none.
        items = self._last_known(tf.reshape(variants, [batch * (length + 1), length]))
        queries = self._history_queries(items, tf.ones([1, self._dim]))
        scores = tf.reduce_max(
            tf.matmul(queries, self.candidates, transpose_b=True), axis=1
        )
        own = tf.gather(scores, tf.repeat(asked, length + 1), axis=1, batch_dims=1)
        catalogue = scores[:, UNKNOWN_INDEX + 1 : self._num_items]
        better = tf.reduce_sum(tf.cast(catalogue > own[:, None], tf.int32), axis=1)
        score, rank, known = (
            tf.reshape(values, [batch, length + 1])
            for values in (own, better + 1, _is_known(items))
        )
        return {
            "score": score[:, 0],
            "score_without": score[:, 1:],
            "rank": rank[:, 0],
            "rank_without": rank[:, 1:],
            "known_history": known[:, 0],
            "known_without": known[:, 1:],
        }

    def _history_queries(self, items: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
        """Returns [B, num_queries, dim + 1]; by popularity where nothing is known."""
        known = _is_known(items)[:, None, None]
        scaled = self._calibrated(self._queries_of(items)) * scale[:, None, :]
        by_popularity = tf.zeros_like(scaled[:, :, :1]) + tf.where(known, 0.0, 1.0)
        return self._bounded(
            tf.concat([tf.where(known, scaled, 0.0), by_popularity], axis=2)
        )

    def _last_items(self, history: tf.Tensor) -> tf.Tensor:
        return self._last_known(self._items(history))

    def _last_known(self, items: tf.Tensor) -> tf.Tensor:
        """Returns the last known items of each row, [B, max_length], then `PAD`."""
        known = tf.not_equal(items, UNKNOWN_INDEX)
        to_come = tf.cumsum(tf.cast(known, tf.int32), axis=1, reverse=True)
        kept = known & (to_come <= self._max_length)
        flat = tf.RaggedTensor.from_row_lengths(
            tf.boolean_mask(items, kept),
            tf.math.count_nonzero(kept, axis=1),
        )
        return tf.cast(flat.to_tensor(PAD, shape=[None, self._max_length]), tf.int32)


def _is_known(items: tf.Tensor) -> tf.Tensor:
    """Returns [B] bool: whether a history has a known item."""
    return tf.reduce_any(tf.not_equal(items, UNKNOWN_INDEX), axis=1)
