"""The feature tower against its formula in float64, and whose id it hides."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tfcausal.data.side_features import CategoryColumn, NumberColumn, SideFeatures
from tfcausal.layers.embedding import CausalEmbedding
from tfcausal.layers.feature_tower import FeatureTower

import tensorflow as tf  # isort: skip

NUM_ROWS = 7
LISTS = [
    # Of each row: codes of a plain column, codes of a list.
    ([0], [0]),
    ([1], [2, 1]),
    ([3], [0]),
    ([2], [3, 3, 1]),
    ([0], [1, 2, 3, 4]),
    ([1], [4]),
    ([3], [2]),
]
SIZES = (4, 5)


def features(*, categories: bool = True, numbers: bool = True) -> SideFeatures:
    lists = [one for row in LISTS for one in row] if categories else []
    values = np.random.default_rng(3).normal(size=(NUM_ROWS, 2)).astype(np.float32)
    names = (("city", ("a", "b", "c")), ("tags", ("d", "e", "f", "g")))
    return SideFeatures(
        tuple(CategoryColumn(name, name == "tags", given, 0) for name, given in names)
        if categories
        else (),
        tuple(NumberColumn(name, 0.0, 1.0) for name in ("x", "y")) if numbers else (),
        np.cumsum([0, *map(len, lists)]),
        np.asarray([code for one in lists for code in one], np.int32),
        values if numbers else values[:, :0],
    )


def make(
    given: SideFeatures | None = None, *, seed: int = 1, **options: Any
) -> FeatureTower:
    ids = CausalEmbedding(NUM_ROWS, {"a": 2, "b": 3}, seed=seed, name="users")
    ids.build(None)
    wanted: dict[str, Any] = {
        "feature_dim": 4,
        "hidden_dims": (6, 3),
        "unknown_share": 0.3,
    }
    tower = FeatureTower(
        ids,
        features() if given is None else given,
        seed=seed,
        name="users_features",
        **(wanted | options),
    )
    tower.build(None)
    return tower


def learned(tower: FeatureTower) -> FeatureTower:
    """Gives all weights values as if they had been learned."""
    random = np.random.default_rng(8)
    for variable in tower.trainable_variables:
        variable.assign(random.normal(size=variable.shape))
    return tower


def formula(
    tower: FeatureTower, row: int, owner: int | None = None
) -> npt.NDArray[np.float64]:
    """The vector of a row by the formula, one row at a time."""

    def float64(variable: Any) -> npt.NDArray[np.float64]:
        return np.asarray(variable.numpy(), np.float64)

    own = float64(tower.ids.table)[row if owner is None else owner]
    parts = [own]
    if tower.features.categories:
        tables = np.split(float64(tower.categories), [SIZES[0]])
        parts += [
            table[given].mean(axis=0)
            for table, given in zip(tables, LISTS[row], strict=True)
        ]
    hidden = np.concatenate([*parts, np.float64(tower.features.values[row])])
    *inner, (kernel, bias) = zip(tower.kernels, tower.biases, strict=True)
    for weights, offset in inner:
        hidden = np.maximum(hidden @ float64(weights) + float64(offset), 0)
    return np.asarray(own + hidden @ float64(kernel) + float64(bias))


@pytest.mark.parametrize("hidden_dims", [(), (6,), (6, 3)])
@pytest.mark.parametrize(
    ("categories", "numbers"), [(True, True), (True, False), (False, True)]
)
def test_vectors_follow_the_formula(
    hidden_dims: tuple[int, ...], categories: bool, numbers: bool
) -> None:
    given = features(categories=categories, numbers=numbers)
    tower = learned(make(given, hidden_dims=hidden_dims))
    found = tower(tf.constant([[1, 3, 0], [6, 4, 3]]))
    assert found.shape == (2, 3, 5)
    expected = [
        [formula(tower, row) for row in rows] for rows in ([1, 3, 0], [6, 4, 3])
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_it_begins_as_the_plain_table() -> None:
    tower = make()
    rows = tf.range(NUM_ROWS)
    assert np.array_equal(tower(rows), tower.ids(rows))
    first = tower.kernels[0].numpy()
    assert np.abs(first).max() <= (6 / (5 + 8 + 2 + 6)) ** 0.5
    assert np.abs(tower.categories.numpy()).max() <= 0.5
    assert np.array_equal(first, make().kernels[0].numpy())
    assert not np.array_equal(first, make(seed=2).kernels[0].numpy())


def test_codes_of_a_request_are_those_of_the_rows() -> None:
    tower = learned(make())
    rows = np.asarray([0, 3, 4, 2])
    # The padding stands behind or in front.
    tags = [np.roll([*LISTS[row][1], *[0] * 9][:9], row) for row in rows]
    codes = [
        tf.constant([LISTS[row][0] for row in rows], tf.int64),
        tf.constant(np.asarray(tags), tf.int64),
    ]
    values = tf.constant(tower.features.values[rows])
    owners = tf.constant([0, 3, 0, 5])
    found = tower.of_codes(owners, codes, values)
    expected = [
        formula(tower, row, owner)
        for row, owner in zip(rows, owners.numpy(), strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        tower(tf.constant(rows), owners), expected, rtol=1e-4, atol=1e-5
    )
    none = tf.zeros([4, 0], tf.int64)
    without = tower.of_codes(owners, [codes[0], none], values)
    zeros = tower.of_codes(owners, [codes[0], tf.zeros([4, 2], tf.int64)], values)
    np.testing.assert_array_equal(without, zeros)


def test_gradients_reach_all_weights_and_only_the_rows_met() -> None:
    tower = learned(make())
    rows = tf.constant([1, 3, 3])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(tower(rows)))
    weights = [tower.ids.table, tower.categories, *tower.kernels, *tower.biases]
    gradients = tape.gradient(loss, weights)
    for gradient in gradients[:2]:
        assert isinstance(gradient, tf.IndexedSlices)
    for gradient in gradients:
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0
    assert set(gradients[0].indices.numpy().tolist()) == {1, 3}
    # Codes 1 and 2 of the first column; of the second, behind it, 1, 2 and 3.
    assert set(gradients[1].indices.numpy().tolist()) == {1, 2, 5, 6, 7}


def test_a_gradient_is_the_slope() -> None:
    tower = learned(make())
    rows = tf.constant([4, 3])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tower(rows))
    gradient = tf.convert_to_tensor(tape.gradient(loss, tower.categories)).numpy()
    start = tower.categories.numpy()
    for place in ((0, 0), (6, 1), (8, 3)):
        sums = []
        for change in (1e-2, -1e-2):
            moved = start.copy()
            moved[place] += change
            tower.categories.assign(moved)
            sums.append(sum(formula(tower, row).sum() for row in (4, 3)))
        slope = (sums[0] - sums[1]) / 2e-2
        assert gradient[place] == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_hidden_ids_have_the_unknown_rows_vector() -> None:
    tower = learned(make(unknown_share=0.5))
    rows = tf.range(NUM_ROWS)
    for step in range(3):
        hidden = tower.hidden(rows, tf.constant(step)).numpy()
        assert 0 < hidden.sum() < NUM_ROWS
        expected = [
            formula(tower, row, 0 if hides else row)
            for row, hides in enumerate(hidden.tolist())
        ]
        found = tower(rows, step=tf.constant(step))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        # A row that is met twice in a step is hidden in both places or in none.
        again = tower(tf.constant([[5, 2, 5]]), step=tf.constant(step))[0]
        np.testing.assert_allclose(again, found.numpy()[[5, 2, 5]], rtol=1e-5)


def test_who_is_hidden_follows_from_seed_step_and_row() -> None:
    rows = tf.range(20_000)

    def hidden(step: int, **options: Any) -> npt.NDArray[np.bool_]:
        found: npt.NDArray[np.bool_] = (
            make(**options).hidden(rows, tf.constant(step)).numpy()
        )
        return found

    first = hidden(7)
    assert np.array_equal(first, hidden(7))
    assert np.mean(first) == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 20_000) ** 0.5)
    for other in (hidden(8), hidden(7, seed=2)):
        # As good as independent: 0.3 of those who were hidden are hidden again.
        assert np.mean(other[first]) == pytest.approx(0.3, abs=0.03)


def test_nobody_is_hidden_without_a_share_or_a_step() -> None:
    rows = tf.range(NUM_ROWS)
    never = learned(make(unknown_share=0.0))
    assert np.array_equal(never(rows, step=tf.constant(3)), never(rows))
    always = learned(make(unknown_share=0.9))
    assert np.array_equal(always(rows), never(rows))
