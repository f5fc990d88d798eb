"""Several interests of one history, by dynamic routing."""

from typing import Any, Literal, get_args

import numpy as np
import tensorflow as tf

from tfcausal.errors import InputError, unknown_name
from tfcausal.keras_compat import keras
from tfcausal.layers.history import HistoryEncoder, items_first, require_positive
from tfcausal.schema.vectors import Float32s
from tfcausal.stats import mixing

Maps = Literal["shared", "positions"]
"""One linear map for all, or one for each position and interest."""
InitialLogits = Literal["random", "zeros"]
"""Of what routing begins with."""

_EPSILON = 1e-9
"""Under the root of a squared length, as in ComiRec's code: no NaN gradient at 0."""


@keras.utils.register_keras_serializable(package="tfcausal")
class RoutingEncoder(HistoryEncoder):
    """Several queries of a history: interests among which its items are routed.

    MIND is `maps="shared"` with `initial_logits="random"` (and `projection=True` for
    its data set of books), ComiRec-DR `maps="positions"` with
    `initial_logits="zeros"`.

    Symbols: x_t -> the vector of the t-th existing item; S -> map; u_tk -> what the
    item says to interest k; b_kt -> routing logit; w_kt -> weight; q_k -> interest.
    Formula: u_tk = x_t S ("shared") or x_t S_tk ("positions"). Then `iterations` times:
    w_kt = exp(b_kt) / (exp(b_1t) + ... + exp(b_Kt)), the interests share each item out;
    v = sum over t of w_kt u_tk; q_k = |v|^2 / (1 + |v|^2) v / sqrt(|v|^2 + 1e-9); and,
    but for the last time, b_kt <- b_kt + <u_tk, q_k>. With a projection the query is
    relu(q_k W + c), else q_k. Gradients flow through u_tk in the last iteration alone.
    Reference: Li et al., Multi-Interest Network with Dynamic Routing for Recommendation
    at Tmall (MIND), CIKM 2019, section 3.3 and Algorithm 1; Cen et al., Controllable
    Multi-Interest Framework for Recommendation (ComiRec), KDD 2020, section 3.2 and
    Algorithm 1, and their code of both.
    Deviations: ComiRec's code draws MIND's initial logits anew for every row at every
    call, so that a history's interests are never twice the same; here they are a table
    [num_interests, max_length] that is drawn once from the seed and kept with the
    weights, so that training, evaluation and serving agree. Its shared map has a bias
    by accident of an argument; here, as in the paper, it has none. All histories have
    `num_interests` interests, where MIND's paper makes fewer for short ones. Positions
    count from the first item, as in the code, also where pads come first.
    Cost: O(n * num_interests * max_length * dim) for each iteration; before that
    O(n * max_length * dim^2), with maps of positions num_interests times that.
    """

    def __init__(
        self,
        dim: int,
        num_interests: int = 4,
        *,
        max_length: int,
        maps: Maps,
        initial_logits: InitialLogits,
        iterations: int = 3,
        projection: bool = False,
        seed: int,
        **kwargs: Any,
    ) -> None:
        """Describes the encoder.

        Args:
            dim: Coordinates of the items' vectors and of the queries.
            num_interests: K, the queries of each history.
            max_length: How long histories may be, pads included.
            maps: "shared" or "positions".
            initial_logits: "random", of the normal law cut at 2, or "zeros".
            iterations: How often items are routed.
            projection: Whether a dense layer with relu stands behind the interests.
            seed: Seed of the initial values and of the routing logits.
            **kwargs: For keras.layers.Layer.
        Raises:
            InputError: If a size is below 1, an option is unknown, or nothing would
                tell the interests apart.
        """
        super().__init__(dim, num_interests, seed=seed, **kwargs)
        require_positive(
            num_interests=num_interests, max_length=max_length, iterations=iterations
        )
        if maps not in get_args(Maps):
            raise unknown_name("maps", maps, get_args(Maps))
        if initial_logits not in get_args(InitialLogits):
            raise unknown_name(
                "initial_logits", initial_logits, get_args(InitialLogits)
            )
        if maps == "shared" and initial_logits == "zeros" and num_interests > 1:
            raise InputError(
                '`initial_logits` must be "random" with `maps="shared"`; got "zeros", '
                "with which all interests stay equal."
            )
        self.max_length = max_length
        self.maps = maps
        self.initial_logits = initial_logits
        self.iterations = iterations
        self.projection = projection
        self._num_maps = 1 if maps == "shared" else num_interests

    def build(self, input_shape: Any) -> None:
        """Makes the maps and what stands before and behind the routing.

        The shared map and the projection are drawn by Glorot's law, maps of positions
        by the normal law of deviation 1, as in ComiRec's code.
        """
        if self.maps == "shared":
            self.map = self.add_kernel("map", self.dim, self.dim)
        else:
            widths = (self.max_length, self.dim, self.num_queries * self.dim)
            self.map = self.add_table("map", self._normal("map", widths))
        if self.initial_logits == "random":
            shape = (self.num_queries, self.max_length)
            self.logits = self.add_table(
                "logits", self._normal("logits", shape, cut=2.0), trainable=False
            )
        if self.projection:
            self.projection_kernel = self.add_kernel("projection", self.dim, self.dim)
            self.projection_bias = self.add_bias("projection_bias", self.dim)
        super().build(input_shape)

    def _normal(
        self, name: str, shape: tuple[int, ...], cut: float = np.inf
    ) -> Float32s:
        """Draws from the normal law of deviation 1 within +-cut."""
        start = np.asarray([mixing.stream(self.seed, self.purpose(name))], np.uint64)
        words = mixing.draws(start, np.arange(np.prod(shape)))
        # In the middle of its step, so that 0, the place of -infinity, does not occur.
        shares = mixing.uniforms(words) + 2.0**-54
        below = tf.math.erfc(tf.constant(cut / 2**0.5, tf.float64)) / 2
        normal = tf.math.ndtri(below + shares * (1 - 2 * below))
        drawn: Float32s = normal.numpy().astype(np.float32).reshape(shape)
        return drawn

    def encode(self, vectors: tf.Tensor, exists: tf.Tensor) -> tf.Tensor:
        """Returns [n, num_interests, dim] float32; zeros where no item is."""
        vectors, exists = items_first(vectors, exists, self.max_length)
        length = tf.shape(vectors)[1]
        said = self._said(vectors)
        fixed = tf.stop_gradient(said)
        shape = [tf.shape(vectors)[0], self.num_queries, length]
        logits = tf.zeros(shape)
        if self.initial_logits == "random":
            logits += self.logits[:, :length]
        for _ in range(self.iterations - 1):
            interests = self._interests(logits, exists, fixed)
            parts = tf.reshape(interests, self._by_map(self.dim))
            agreed = tf.matmul(parts, fixed, transpose_b=True)
            logits += tf.reshape(agreed, shape)
        interests = self._interests(logits, exists, said)
        if self.projection:
            interests = tf.tensordot(interests, self.projection_kernel, 1)
            interests = tf.nn.relu(interests + self.projection_bias)
        return interests

    def _said(self, vectors: tf.Tensor) -> tf.Tensor:
        """Returns u, [n, num_maps, length, dim] float32."""
        if self.maps == "shared":
            return tf.tensordot(vectors, self.map, 1)[:, None]
        length = tf.shape(vectors)[1]
        by_position = tf.transpose(vectors, [1, 0, 2])
        said = tf.matmul(by_position, self.map[:length])
        said = tf.reshape(said, [length, -1, self.num_queries, self.dim])
        return tf.transpose(said, [1, 2, 0, 3])

    def _by_map(self, width: Any) -> list[Any]:
        """Returns the shape of what is [n, num_interests, width], by maps.

        Interests of one map are the rows of one product, and no map is repeated.
        """
        return [-1, self._num_maps, self.num_queries // self._num_maps, width]

    def _interests(
        self, logits: tf.Tensor, exists: tf.Tensor, said: tf.Tensor
    ) -> tf.Tensor:
        """Returns q of the logits, [n, num_interests, dim] float32."""
        weights = tf.where(exists[:, None], tf.nn.softmax(logits, axis=1), 0.0)
        parts = tf.reshape(weights, self._by_map(tf.shape(logits)[2]))
        sums = tf.reshape(tf.matmul(parts, said), [-1, self.num_queries, self.dim])
        squares = tf.reduce_sum(tf.square(sums), axis=-1, keepdims=True)
        return squares / (1.0 + squares) * sums * tf.math.rsqrt(squares + _EPSILON)

    def get_config(self) -> dict[str, Any]:
        """Returns what rebuilds the layer."""
        return super().get_config() | {
            "num_interests": self.num_queries,
            "max_length": self.max_length,
            "maps": self.maps,
            "initial_logits": self.initial_logits,
            "iterations": self.iterations,
            "projection": self.projection,
        }
