"""The towers of a method: where a step looks its users' and items' vectors up."""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from tfcausal.data.interactions import Interactions
from tfcausal.data.side_features import FeatureTables, SideFeatures
from tfcausal.errors import InputError
from tfcausal.layers.embedding import CausalEmbedding
from tfcausal.layers.feature_tower import FeatureTower
from tfcausal.layers.propagation import Propagation
from tfcausal.methods.options import TowerOptions

Lookup = Callable[[tf.Tensor], tf.Tensor]
"""From int32 rows of any shape to their vectors, float32 [..., dim]."""


@dataclass(frozen=True)
class Towers:
    """The vectors of users and items as they are during one step.

    Attributes:
        users: Looks users up.
        items: Looks items up.
        training: Whether the step is one of training, which draws dropout.
    """

    users: Lookup
    items: Lookup
    training: bool = False


def propagated(
    propagation: Propagation,
    users: CausalEmbedding,
    items: CausalEmbedding,
    dropout_seed: tf.Tensor | None,
) -> Towers:
    """Propagates both tables once, for all that a step looks up.

    Args:
        propagation: The graph.
        users: The table of users.
        items: The table of items.
        dropout_seed: [2] int64 seed of the feature dropout; None for none.
    """
    of_users, of_items = propagation(
        tf.convert_to_tensor(users.table),
        tf.convert_to_tensor(items.table),
        dropout_seed,
    )
    return Towers(
        lambda rows: tf.gather(of_users, rows),
        lambda rows: tf.gather(of_items, rows),
        dropout_seed is not None,
    )


def make_propagation(
    options: TowerOptions, rows: Interactions, num_users: int, num_items: int
) -> Propagation:
    """Makes LightGCN's graph of some rows.

    Args:
        options: The number of layers, self-loops and dropout.
        rows: The edges.
        num_users: Rows of the table of users.
        num_items: Rows of the table of items.
    """
    return Propagation(
        rows.users,
        rows.items,
        num_users=num_users,
        num_items=num_items,
        num_layers=options.graph_layers,
        self_loops=options.self_loops,
        dropout=options.feature_dropout,
    )


def make_feature_towers(
    options: TowerOptions,
    tables: FeatureTables | None,
    users: CausalEmbedding,
    items: CausalEmbedding,
    seed: int,
) -> tuple[FeatureTower | None, FeatureTower | None]:
    """Makes what features of users and of items add to their tables.

    Args:
        options: Which columns, and the perceptron's sizes.
        tables: Where the features are.
        users: The table of users.
        items: The table of items.
        seed: Seed of the initial values.
    Returns:
        Those of users and of items; None where these have no features.
    Raises:
        InputError: If neither has features.
    """
    if tables is None:
        raise InputError(
            "`features` must be given for backbone=features; got none. Make the "
            "method with `of_dataset`."
        )
    of_users = tables.read_users(options.user_columns, options.hash_buckets)
    of_items = tables.read_items(options.item_columns, options.hash_buckets)
    if of_users is None and of_items is None:
        raise InputError(
            f"`{tables.folder.root}` must have features of users or of items for "
            "backbone=features; there are none, or no column was asked for. Ingest "
            "with --user_features or --item_features."
        )

    def tower(
        ids: CausalEmbedding, features: SideFeatures | None
    ) -> FeatureTower | None:
        if features is None:
            return None
        made = FeatureTower(
            ids,
            features,
            feature_dim=options.feature_dim,
            hidden_dims=options.hidden_dims,
            unknown_share=options.unknown_share,
            seed=seed,
            name=f"{ids.name}_features",
        )
        made.build(None)
        return made

    return tower(users, of_users), tower(items, of_items)


def lookup(
    ids: CausalEmbedding, tower: FeatureTower | None, step: tf.Tensor | None
) -> Lookup:
    """Returns where one side is looked up: its table, or its features on top.

    Args:
        ids: The table.
        tower: What features add; None without them.
        step: [] int64 step of training, which hides some ids; None for none hidden.
    """
    if tower is None:
        return ids
    return lambda rows: tower(rows, step=step)
