"""Counterfactual histories: what matters in a history, and what takes its place.

A history is a sequence of concepts: items, or vectors that stand for interests. The
half of them that agrees best with the item met next is indispensable, the rest is
dispensable. With some of the first replaced it is another user's history, with some of
the second it is still the same user's.

Reference: Zhang et al., CauseRec: Counterfactual User Sequence Synthesis for Sequential
Recommendation, SIGIR 2021, sections 3.3.2 and 3.3.3.
Deviations: The paper takes substitutes out of its first-in-first-out queue; here they
are drawn from all that is in it, each with the same chance, and stay there. Where the
paper leaves open how "the top half" of an odd number and a rate are rounded, the middle
concept is indispensable, and at least one is replaced.

Every draw is a pure function of `words`, one 64-bit word, and of its own place, as in
`tfcausal.stats.mixing`. Each use needs a word of its own, such as a draw of the stream
for its purpose: with the same one, what is replaced and by what would depend on each
other.
"""

from collections.abc import Sequence

import tensorflow as tf

from tfcausal.errors import InputError
from tfcausal.samplers import mixing
from tfcausal.stats.mixing import GAMMA


def halves(scores: tf.Tensor, exists: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Splits each row's concepts by their score.

    Args:
        scores: [n, length] float32, how well each concept agrees with the next item.
        exists: [n, length] bool; the others are pads.
    Returns:
        [n, length] bool, the indispensable ones: of the k that exist the ceil(k / 2)
        with the highest scores, the first ones where scores are equal; and [n, length]
        bool, the dispensable ones: the others that exist. No pad is in either.
    """
    lowest = tf.constant(float("-inf"), scores.dtype)
    # Behind all that exist, even behind one whose score has overflowed.
    scores = tf.where(exists, tf.maximum(scores, scores.dtype.min), lowest)
    # Of equal values it puts the first one first.
    order = tf.math.top_k(scores, tf.shape(scores)[1]).indices
    ranks = tf.argsort(order, axis=1)
    sizes = tf.math.count_nonzero(exists, axis=1, keepdims=True, dtype=tf.int32)
    upper = 2 * ranks < sizes
    return exists & upper, exists & ~upper


def replaced(
    half: tf.Tensor, words: tf.Tensor, *, rate: float, num_samples: int
) -> tf.Tensor:
    """Draws which concepts of a half are replaced, anew for each sample.

    Of h concepts it is max(1, round(rate * h)), halves rounded up; every such set has
    the same chance. Sample s of row r is the same whatever the number of samples and
    rows.

    Reference: for the sets, Knuth, The Art of Computer Programming, volume 2, section
    3.4.2, Algorithm S: a place is taken with the chance (still to take) / (still to
    come). With the draws it takes half the time of sorting them, and a quarter of that
    of counting the smaller ones of each.

    Args:
        half: [n, length] bool, as of `halves`; its length is known in the graph.
        words: [] uint64 or int64, used for nothing else.
        rate: Share of the half that is replaced.
        num_samples: Samples for each row; may be 0.
    Returns:
        [n, num_samples, length] bool; none where the half is empty.
    Raises:
        InputError: If the rate is not above 0 and at most 1.
    """
    if not 0 < rate <= 1:
        raise InputError(f"`rate` must be above 0 and at most 1; got {rate}.")
    num_rows, length = tf.shape(half)[0], half.shape[1]
    drawn = mixing.uniforms(_draws(words, (num_rows, num_samples, length)))
    concepts = tf.cast(half, tf.float64)
    sizes = tf.reduce_sum(concepts, axis=1, keepdims=True)
    # No more than there are, which is none for an empty half.
    number = tf.minimum(tf.maximum(tf.floor(rate * sizes + 0.5), 1.0), sizes)
    to_come = tf.cumsum(concepts, axis=1, reverse=True)
    # A place outside is never below: neither inf is, nor 0 * inf, which is no number.
    to_come = tf.where(half, to_come, tf.constant(float("inf"), tf.float64))
    bounds = drawn * to_come[:, None, :]
    to_take = tf.broadcast_to(number, (num_rows, num_samples))
    taken = []
    for bound in tf.unstack(bounds, axis=2):
        taken.append(bound < to_take)
        to_take -= tf.cast(taken[-1], tf.float64)
    return tf.stack(taken, axis=2)


def substituted(
    history: tf.Tensor, replaced: tf.Tensor, substitutes: tf.Tensor
) -> tf.Tensor:
    """Puts substitutes where concepts are replaced.

    Args:
        history: [n, length] ids or [n, length, dim] vectors.
        replaced: [n, num_samples, length] bool, m of them true.
        substitutes: [m] ids or [m, dim] vectors, in the order of `tf.where(replaced)`.
    Returns:
        [n, num_samples, length] ids or [n, num_samples, length, dim] vectors.
    """
    samples = tf.repeat(history[:, None], tf.shape(replaced)[1], axis=1)
    return tf.tensor_scatter_nd_update(samples, tf.where(replaced), substitutes)


def samples_of(replaced: tf.Tensor) -> tf.Tensor:
    """Numbers the sample that each replaced concept is of, all rows' one after another.

    Args:
        replaced: [n, num_samples, length] bool, m of them true; num_samples is known
            in the graph.
    Returns:
        [m] int64 below n * num_samples, ascending.
    """
    at = tf.where(replaced)
    return at[:, 0] * replaced.shape[1] + at[:, 1]


def sums_of_samples(values: tf.Tensor, replaced: tf.Tensor) -> tf.Tensor:
    """Adds up what stands for the replaced concepts of each sample.

    Args:
        values: [m, dim] float, in the order of `tf.where(replaced)`.
        replaced: [n, num_samples, length] bool, m of them true; num_samples is known
            in the graph.
    Returns:
        [n * num_samples, dim] float, zeros for a sample with nothing replaced.
    """
    samples = tf.shape(replaced)[0] * replaced.shape[1]
    return tf.math.unsorted_segment_sum(values, samples_of(replaced), samples)


class Memory(tf.Module):
    """The last concepts met, first in, first out.

    What is in it has no gradient: a vector is as it was when it came. Of a model that
    owns it, it is part of the checkpoint.

    Attributes:
        size: How many it can hold.
        values: [size] int32 ids or [size, dim] float32 vectors, the oldest first.
        count: [] int64, how many of `values` are there yet; zeros follow them.
    """

    def __init__(
        self, size: int, dim: int | None = None, *, name: str = "memory"
    ) -> None:
        """Makes an empty memory.

        Args:
            size: How many it can hold.
            dim: Dimension of its vectors; None for a memory of ids.
            name: What its variables' names begin with.
        Raises:
            InputError: If the size is not positive.
        """
        if size < 1:
            raise InputError(f"`size` must be at least 1; got {size}.")
        super().__init__(name=name)
        self.size = size
        empty = (
            tf.zeros([size], tf.int32)
            if dim is None
            else tf.zeros([size, dim], tf.float32)
        )
        self.values = tf.Variable(empty, trainable=False, name=f"{name}_values")
        self.count = tf.Variable(
            0, dtype=tf.int64, trainable=False, name=f"{name}_count"
        )

    @property
    def is_empty(self) -> tf.Tensor:
        """[] bool, whether nothing has come yet."""
        return tf.equal(self.count, 0)

    def enqueue(self, values: tf.Tensor, exists: tf.Tensor) -> None:
        """Takes in new concepts; the oldest fall out where there is no place.

        Args:
            values: [...] ids or [..., dim] vectors, row after row from old to new.
            exists: [...] bool; the others are passed over.
        """
        new = tf.boolean_mask(values, exists)
        held = tf.concat([self.values[: self.count], new], axis=0)[-self.size :]
        count = tf.shape(held, tf.int64)[0]
        paddings = [[0, self.size - count], *[[0, 0]] * (held.shape.rank - 1)]
        self.values.assign(tf.pad(held, paddings))
        self.count.assign(count)

    def draw(self, words: tf.Tensor, shape: Sequence[int | tf.Tensor]) -> tf.Tensor:
        """Draws from what is in it, each with the same chance and put back.

        Args:
            words: [] uint64 or int64, used for nothing else.
            shape: Of the draws, at least one axis; axes may be scalar tensors.
        Returns:
            `shape` int64 places of `values`; 0 while nothing has come.
        """
        drawn = mixing.uniforms(_draws(words, shape))
        return tf.cast(drawn * tf.cast(self.count, tf.float64), tf.int64)


def _draws(words: tf.Tensor, shape: Sequence[int | tf.Tensor]) -> tf.Tensor:
    """Returns uint64 of a shape: [i, j, ...] is draw ... of draw j of draw i of words.

    So an entry depends on its own place alone, and not on how long the axes are.
    """
    drawn = tf.cast(words, tf.uint64)
    for size in shape:
        steps = tf.cast(tf.range(1, size + 1), tf.uint64)
        drawn = mixing.mix(drawn[..., None] + steps * tf.constant(GAMMA, tf.uint64))
    return drawn
