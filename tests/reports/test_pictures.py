"""Maps of items and of users: who is near stays near, and is drawn as what it is."""

from pathlib import Path

import numpy as np
import pytest

from tests.runs import random_vectors
from tfcausal.errors import InputError
from tfcausal.evaluation.ranking import ItemLists
from tfcausal.reports.pictures import (
    GROUPS,
    MARKERS,
    draw_item_map,
    draw_user_map,
    item_map,
    save_user_map,
    user_map,
)
from tfcausal.schema.vectors import CausalVectors

pytest.importorskip("sklearn")
NUM_USERS, NUM_ITEMS = 9, 121


def test_a_map_keeps_near_items_near() -> None:
    vectors = random_vectors(3, 121, causes={"interest": 6, "conformity": 1})
    # Two heaps of items by interest, one far from both by conformity.
    vectors.candidates[:, :6] += np.where(np.arange(121) < 61, 20, -20)[:, None]
    vectors.candidates[:, 6] += 9
    points = item_map(vectors, np.arange(1, 121, dtype=np.int32))
    assert list(points) == ["interest", "conformity"]
    heaps = [points["interest"][:60], points["interest"][60:], points["conformity"]]
    centres = [heap.mean(axis=0) for heap in heaps]
    for number, heap in enumerate(heaps):
        away = [np.linalg.norm(heap - centre, axis=1) for centre in centres]
        assert (np.argmin(away, axis=0) == number).all()
    with pytest.raises(InputError, match="must have at least 3 items; got 2"):
        item_map(vectors, np.arange(1, 3, dtype=np.int32))


def test_a_marker_for_each_cause_and_a_colour_for_each_group() -> None:
    from matplotlib.colors import to_rgb

    points = {
        "interest": np.asarray([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]]),
        "conformity": np.asarray([[8.0, 9.0], [1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
    }
    figure = draw_item_map(points, np.asarray([0, 2, 1, 2], np.int32))
    (axes,) = figure.axes
    drawn = {
        marks.get_label(): (
            np.asarray(marks.get_offsets()).tolist(),
            tuple(marks.get_facecolor()[0][:3]),
        )
        for marks in axes.collections
    }
    popular, normal, unpopular = map(to_rgb, GROUPS.values())
    assert drawn == {
        "interest, popular": ([[0.0, 1.0]], popular),
        "interest, normal": ([[4.0, 5.0]], normal),
        "interest, unpopular": ([[2.0, 3.0], [6.0, 7.0]], unpopular),
        "conformity, popular": ([[8.0, 9.0]], popular),
        "conformity, normal": ([[3.0, 4.0]], normal),
        "conformity, unpopular": ([[1.0, 2.0], [5.0, 6.0]], unpopular),
    }
    assert len(set(MARKERS)) == len(MARKERS)


def planted(num_queries: int = 1) -> tuple[CausalVectors, ItemLists]:
    """Returns users beside the 13 items that they chose; user 8 chose nothing."""
    vectors = random_vectors(NUM_USERS, NUM_ITEMS, num_queries=num_queries)
    centres = 30 * np.eye(NUM_USERS, vectors.dim, dtype=np.float32)
    chosen = []
    for user in range(1, NUM_USERS - 1):
        own = np.arange(1 + 13 * user, 14 + 13 * user, dtype=np.int32)
        vectors.queries[user] += centres[user]
        vectors.candidates[own] += centres[user]
        chosen.append(own)
    nothing = np.zeros(0, np.int32)
    rows = [nothing, *chosen, nothing]
    ends = np.cumsum([0, *map(len, rows)])
    return vectors, ItemLists(ends, np.concatenate(rows))


@pytest.mark.parametrize("num_queries", [1, 3])
def test_a_map_keeps_users_near_what_they_chose(num_queries: int) -> None:
    vectors, chosen = planted(num_queries)
    found = user_map(vectors, chosen)
    assert len(set(found.users.tolist())) == 6
    assert set(found.users.tolist()) <= set(range(1, NUM_USERS - 1))
    assert found.places.shape == (6, num_queries, 2)
    assert found.item_places.shape == (6, 10, 2)
    centres = found.item_places.mean(axis=1)
    away = np.linalg.norm(found.places[:, :, None] - centres, axis=3)
    assert (away.argmin(axis=2) == np.arange(6)[:, None]).all()
    again = user_map(vectors, chosen)
    np.testing.assert_array_equal(found.places, again.places)


def test_cosines_are_means_over_pairs() -> None:
    vectors, chosen = planted(2)
    found = user_map(vectors, chosen, num_users=3, num_items=4)

    def cosine(one: np.ndarray, other: np.ndarray) -> float:
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    own, others = [], []
    # Which items were drawn, their places do not say: of each user all are alike.
    everyone = user_map(vectors, chosen, num_users=3, num_items=13)
    for user in everyone.users:
        for other in everyone.users:
            for item in chosen.of(np.asarray([other], np.int32))[1]:
                best = max(
                    cosine(query, vectors.candidates[item])
                    for query in vectors.queries[user]
                )
                (own if user == other else others).append(best)
    assert everyone.own == pytest.approx(np.mean(own), abs=1e-6)
    assert everyone.others == pytest.approx(np.mean(others), abs=1e-6)
    assert found.own == pytest.approx(everyone.own, abs=0.02)


def test_a_star_for_each_query_and_points_of_the_same_colour() -> None:
    vectors, chosen = planted(2)
    found = user_map(vectors, chosen)
    (axes,) = draw_user_map(found).axes
    points, stars = axes.collections[::2], axes.collections[1::2]
    assert len(points) == len(stars) == 6
    for number, (items, star) in enumerate(zip(points, stars, strict=True)):
        assert star.get_label() == f"user {found.users[number]}"
        assert items.get_facecolor()[0].tolist() == star.get_facecolor()[0].tolist()
        np.testing.assert_array_equal(items.get_offsets(), found.item_places[number])
        np.testing.assert_array_equal(star.get_offsets(), found.places[number])
    assert f"own items {found.own:.3f}" in axes.get_xlabel()


def test_fewer_users_and_items_where_there_are_no_more(tmp_path: Path) -> None:
    vectors, chosen = planted()
    ends = np.asarray([0, 0, 3, 5, *[5] * (NUM_USERS - 3)])
    few = ItemLists(ends, chosen.items[:5])
    found = user_map(vectors, few)
    assert found.users.tolist() == [1, 2]
    assert found.item_places.shape == (2, 2, 2)
    save_user_map(vectors, few, tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"
    one = ItemLists(np.asarray([0, 0, *[3] * (NUM_USERS - 1)]), chosen.items[:3])
    with pytest.raises(InputError, match=r"must have at least 2 users .* got 1"):
        save_user_map(vectors, one, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
