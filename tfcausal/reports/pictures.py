"""Pictures of what a model has learned. Needs the extra `plots`."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tfcausal.errors import InputError
from tfcausal.evaluation.metrics import Float64s
from tfcausal.evaluation.ranking import ItemLists
from tfcausal.evaluation.users import sample_users
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.vectors import CausalVectors
from tfcausal.stats.negatives import Int32s, Int64s
from tfcausal.stats.popularity import popularity_ranks

MARKERS = "xo^sDv"
"""Of the causes, in their order; a seventh begins again."""
GROUPS = {"popular": "tab:red", "normal": "tab:orange", "unpopular": "tab:blue"}
"""Thirds of the items by popularity, and their colours. Thirds of the interactions, as
a diagnosis has them, would leave the first ones with too few items to see."""
NEIGHBOURS = 30
"""t-SNE's perplexity: about so many items are kept near each other."""


def save_item_map(
    vectors: CausalVectors, popularity: Int64s, path: Path, *, num_items: int = 1_000
) -> None:
    """Draws where items lie by each cause, coloured by how popular they are.

    Reference: Zheng et al. (DICE), WWW 2021, Figure 5(b).

    Args:
        vectors: Of all users and items.
        popularity: [num_items] interactions in the train window.
        path: The picture, PNG or what else matplotlib writes by the name's end.
        num_items: At most so many items, always the same.
    Raises:
        InputError: If the extra is not installed, there are fewer than three items, or
            the picture's folder does not exist or its format is not known.
    """
    _require_picture(path)
    known = np.arange(UNKNOWN_INDEX + 1, len(popularity), dtype=np.int32)
    # Rows of items are sampled as those of users are.
    items = sample_users(known, num_items, "picture: items")
    groups = popularity_ranks(popularity) * len(GROUPS) // len(known)
    draw_item_map(item_map(vectors, items), groups[items]).savefig(path, dpi=150)


def save_user_map(vectors: CausalVectors, chosen: ItemLists, path: Path) -> None:
    """Draws some users with items that they chose, each user in a colour.

    Six users and ten items of each, or as many as enough users have; always the same.

    Reference: Zhang et al. (CauseRec), SIGIR 2021, Figure 3.

    Args:
        vectors: Of all users and items.
        chosen: Items of each user, of the test part.
        path: The picture, PNG or what else matplotlib writes by the name's end.
    Raises:
        InputError: If the extra is not installed, fewer than two users chose anything,
            or the picture's folder does not exist or its format is not known.
    """
    _require_picture(path)
    found = user_map(vectors, chosen)
    draw_user_map(found).savefig(path, dpi=150)


def item_map(vectors: CausalVectors, items: Int32s) -> dict[str, Float64s]:
    """Places items in the plane so that near ones stay near, all causes on one map.

    An item has a point for each cause. Causes of fewer coordinates than others are
    filled up with zeros.

    Reference: van der Maaten, Hinton, Visualizing data using t-SNE, JMLR 2008.

    Args:
        vectors: Of all users and items.
        items: [n] int32 items, at least 3.
    Returns:
        Cause to [n, 2] float64.
    Raises:
        InputError: If there are too few items.
    """
    if len(items) < 3:
        raise InputError(f"A map must have at least 3 items; got {len(items)}.")
    widths = [part.stop - part.start for part in vectors.causes.values()]
    # A plane needs two coordinates to begin with.
    rows = np.zeros((len(widths), len(items), max(*widths, 2)))
    for place, part in enumerate(vectors.causes.values()):
        rows[place, :, : widths[place]] = vectors.candidates[items, part]
    points = _in_plane(rows.reshape(-1, rows.shape[2]))
    points = points.reshape(len(widths), len(items), 2)
    return dict(zip(vectors.causes, points, strict=True))


@dataclass(frozen=True)
class UserMap:
    """Users in the plane with items that they chose.

    Attributes:
        users: [num_users] int32.
        places: [num_users, num_queries, 2] float64, of each user's queries.
        item_places: [num_users, num_items, 2] float64, of items that the user chose.
        own: Mean cosine of a user's nearest query and an item that the user chose.
        others: The same of items that the other users chose.
    """

    users: Int32s
    places: Float64s
    item_places: Float64s
    own: float
    others: float


def user_map(
    vectors: CausalVectors,
    chosen: ItemLists,
    *,
    num_users: int = 6,
    num_items: int = 10,
) -> UserMap:
    """Places users and items that they chose in the plane so that near ones stay near.

    Args:
        vectors: Of all users and items.
        chosen: Items of each user.
        num_users: At most so many users, always the same.
        num_items: At most so many items of each; fewer where not enough users have so
            many.
    Raises:
        InputError: If fewer than two users chose anything.
    """
    lengths = chosen.lengths
    most = np.sort(lengths[lengths > 0])[-num_users:]
    if len(most) < 2:
        raise InputError(
            f"A map must have at least 2 users who chose something; got {len(most)}."
        )
    count = min(num_items, int(most[0]))
    enough = np.flatnonzero(lengths >= count).astype(np.int32)
    users = sample_users(enough, num_users, "picture: users")
    items = np.stack(
        [
            sample_users(
                np.sort(chosen.of(user[None])[1]), count, "picture: items of a user"
            )
            for user in users
        ]
    )
    queries = vectors.queries[users].astype(np.float64)
    candidates = vectors.candidates[items].astype(np.float64)
    num_queries, dim = queries.shape[1:]
    flat = np.concatenate([queries.reshape(-1, dim), candidates.reshape(-1, dim)])
    points = _in_plane(flat)
    cut = len(users) * num_queries
    unit = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    cosines = (unit[:cut] @ unit[cut:].T).reshape(len(users), num_queries, -1)
    nearest = cosines.max(axis=1).reshape(len(users), len(users), count).mean(axis=2)
    same = np.eye(len(users), dtype=bool)
    return UserMap(
        users,
        points[:cut].reshape(len(users), num_queries, 2),
        points[cut:].reshape(len(users), count, 2),
        own=float(nearest[same].mean()),
        others=float(nearest[~same].mean()),
    )


def _in_plane(rows: Float64s) -> Float64s:
    """Returns [n, 2] float64, of [n, at least 2]."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    tsne = TSNE(
        perplexity=min(NEIGHBOURS, (len(rows) - 1) / 3), init="pca", random_state=0
    )
    # Where cores are shared, its threads wait for each other ten times as long as they
    # work, and the map would hang on how many there are.
    with threadpool_limits(1):
        found: Float64s = tsne.fit_transform(rows).astype(np.float64)
    return found


def draw_item_map(points: dict[str, Float64s], groups: Int32s) -> Any:
    """Draws a marker for each item and cause.

    Args:
        points: Cause to [n, 2] float64, as `item_map` gives them.
        groups: [n] int32 thirds by popularity, places in GROUPS.
    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    # The plain figure: no window, and no state beside it.
    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.add_subplot(xticks=[], yticks=[])
    for number, (cause, places) in enumerate(points.items()):
        for group, (name, colour) in enumerate(GROUPS.items()):
            chosen = places[groups == group]
            axes.scatter(
                chosen[:, 0],
                chosen[:, 1],
                s=12,
                linewidths=0.8,
                color=colour,
                marker=MARKERS[number % len(MARKERS)],
                label=f"{cause}, {name}",
            )
    figure.legend(fontsize="small", ncols=len(points), loc="outside lower center")
    axes.set_title("Items by cause (t-SNE), coloured by popularity")
    return figure


def draw_user_map(found: UserMap) -> Any:
    """Draws a star for each query of a user, and points for the user's items.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.add_subplot(xticks=[], yticks=[])
    for number, (places, items) in enumerate(
        zip(found.places, found.item_places, strict=True)
    ):
        colour = f"C{number}"
        axes.scatter(items[:, 0], items[:, 1], s=16, color=colour)
        axes.scatter(
            *(places[:, 0], places[:, 1]),
            s=160,
            color=colour,
            edgecolors="black",
            marker="*",
            label=f"user {found.users[number]}",
        )
    figure.legend(fontsize="small", ncols=3, loc="outside lower center")
    axes.set_title("Users (stars) and items that they chose (t-SNE)")
    axes.set_xlabel(
        f"mean cosine of a user with own items {found.own:.3f}, with those of the "
        f"others {found.others:.3f}"
    )
    return figure


def _require_picture(path: Path) -> None:
    _require_extra()
    from matplotlib.backend_bases import FigureCanvasBase

    if not path.parent.is_dir():
        raise InputError(
            f"`{path}` must lie in a folder that exists; `{path.parent}` does not. "
            "Make it first."
        )
    formats = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:] not in formats:
        raise InputError(
            f"`{path}` must end in a picture's format, such as .png; got "
            f"`{path.suffix}`. Known: {', '.join(sorted(formats))}."
        )


def _require_extra() -> None:
    try:
        for name in ("matplotlib", "sklearn"):
            import_module(name)
    except ImportError as error:
        raise InputError(
            f"Pictures must have matplotlib and scikit-learn; got: {error}. Run "
            "pip install 'tfcausal[plots]'."
        ) from error
