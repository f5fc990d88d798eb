"""LightGCN's propagation: users and items take on their neighbours' vectors.

Reference: He, Deng, Wang, Li, Zhang, Wang, LightGCN: Simplifying and Powering Graph
Convolution Network for Recommendation, SIGIR 2020: one layer Eq. 3, the mean of all
layers Eq. 4, in matrices Eq. 6 to 8. Self-loops and dropout: the code of Zheng et al.,
DICE, WWW 2021.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.ops.linalg.sparse.sparse_csr_matrix_ops import (
    CSRSparseMatrix,
    matmul,
)

from tfcausal.stats.graph import Edges, Float32s, Int32s, edge_values, loop_values

_Sides = tuple[tf.Tensor, tf.Tensor]
"""Users' and items' vectors, float32 [num_users, dim] and [num_items, dim]."""


class Propagation:
    """The mean of layers 0 to K, each the product of the graph and the layer before.

    Symbols: A -> the graph, with self-loops A + I; D -> its degrees on the diagonal;
    E_k -> layer k; M_k -> the kept coordinates of layer k over 1 - dropout.
    Formula: E_k = M_k * (D^-1/2 A D^-1/2 E_(k-1)), result (E_0 + ... + E_K) / (K + 1).
    A node without neighbours has zeros from layer 1 on, but for its self-loop.

    All coordinates are propagated at once. As no coordinate looks at another, and
    dropout draws each by itself, causes that lie side by side in one table are
    propagated as in tables of their own (DICE's LGNDICE).

    The graph has edges between users and items alone, so that a product is two of half
    the size, and it is symmetric, so that the gradient takes the same two products,
    from the last layer to the first. Sums have a fixed order: equal inputs give equal
    bytes.

    Cost: O(num_layers * num_edges * dim) time, 16 bytes for an edge.
    """

    def __init__(
        self,
        users: Int32s,
        items: Int32s,
        *,
        num_users: int,
        num_items: int,
        num_layers: int,
        self_loops: bool = False,
        dropout: float = 0.0,
    ) -> None:
        """Builds the graph; a pair that comes again counts once.

        Args:
            users: [n] int32 users of the interactions.
            items: [n] int32 their items.
            num_users: Rows of the users' table.
            num_items: Rows of the items' table.
            num_layers: K, the number of products.
            self_loops: Whether every node is its own neighbour too.
            dropout: Share of the coordinates set to zero after each product; the others
                are divided by 1 - dropout.
        """
        self.num_layers = num_layers
        self.dropout = dropout
        by_user, by_item = Edges.of_pairs(users, items), Edges.of_pairs(items, users)
        user_degrees = np.bincount(by_user.rows, minlength=num_users).astype(np.int32)
        item_degrees = np.bincount(by_item.rows, minlength=num_items).astype(np.int32)
        self._of_items = _matrix(by_user, user_degrees, item_degrees, self_loops)
        self._of_users = _matrix(by_item, item_degrees, user_degrees, self_loops)
        self._loops: _Sides | None = None
        if self_loops:
            self._loops = (
                tf.constant(loop_values(user_degrees)[:, None]),
                tf.constant(loop_values(item_degrees)[:, None]),
            )

    def __call__(
        self, users: tf.Tensor, items: tf.Tensor, seed: tf.Tensor | None = None
    ) -> _Sides:
        """Propagates whole tables.

        Args:
            users: [num_users, dim] float32.
            items: [num_items, dim] float32.
            seed: [2] int64 from which dropout draws; None for no dropout.
        Returns:
            Both tables propagated, of the same shapes.
        """
        drops = self._drops(users, items, seed)

        @tf.custom_gradient
        def propagate(users: tf.Tensor, items: tf.Tensor) -> tuple[_Sides, Any]:
            layer = total = (users, items)
            for drop in drops:
                layer = drop(self._product(layer))
                total = _sum(total, layer)

            def gradient(*upstream: tf.Tensor) -> _Sides:
                # Rows that a step has not looked up have no gradient yet.
                above = tuple(tf.convert_to_tensor(side) for side in upstream)
                found = above
                for drop in reversed(drops):
                    found = _sum(above, self._product(drop(found)))
                return self._mean(found)

            return self._mean(total), gradient

        result: _Sides = propagate(users, items)
        return result

    def _product(self, layer: _Sides) -> _Sides:
        """Returns the normalised graph times a layer."""
        users, items = layer
        product = (matmul(self._of_items, items), matmul(self._of_users, users))
        if self._loops is None:
            return product
        return _sum(product, (self._loops[0] * users, self._loops[1] * items))

    def _mean(self, total: _Sides) -> _Sides:
        scale = 1.0 / (self.num_layers + 1)
        return total[0] * scale, total[1] * scale

    def _drops(
        self, users: tf.Tensor, items: tf.Tensor, seed: tf.Tensor | None
    ) -> list[Callable[[_Sides], _Sides]]:
        """Returns each layer's dropout, the same each time that it is called."""
        if seed is None or not self.dropout:
            return [lambda layer: layer] * self.num_layers

        def drop(keep: _Sides) -> Callable[[_Sides], _Sides]:
            scale = 1.0 / (1.0 - self.dropout)
            return lambda layer: (
                tf.where(keep[0], layer[0] * scale, 0.0),
                tf.where(keep[1], layer[1] * scale, 0.0),
            )

        def kept(table: tf.Tensor, number: int) -> tf.Tensor:
            own = tf.random.experimental.stateless_fold_in(seed, number)
            # The same numbers on every kind of device.
            draws = tf.random.stateless_uniform(tf.shape(table), own, alg="philox")
            return draws >= self.dropout

        return [
            drop((kept(users, 2 * layer), kept(items, 2 * layer + 1)))
            for layer in range(self.num_layers)
        ]


def _matrix(
    edges: Edges, row_degrees: Int32s, column_degrees: Int32s, self_loops: bool
) -> CSRSparseMatrix:
    """Returns one side's rows of the normalised graph.

    TensorFlow's class for such matrices is not among its public names, but knows their
    shape also in a traced step, which the raw operations do not. It shares the rows of
    a product out among threads, and each is the work of one. The public
    `tf.sparse.sparse_dense_matmul` takes several times as long; see
    tests/benchmarks/propagation.py.
    """
    values: Float32s = edge_values(
        row_degrees[edges.rows],
        column_degrees[edges.columns],
        "symmetric",
        self_loops=self_loops,
    )
    places = np.stack([edges.rows, edges.columns], axis=1).astype(np.int64)
    shape = (len(row_degrees), len(column_degrees))
    return CSRSparseMatrix(tf.SparseTensor(places, values, shape))


def _sum(first: _Sides, second: _Sides) -> _Sides:
    return first[0] + second[0], first[1] + second[1]
