"""Pictures of what a model has learned. Needs the extra `plots`."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tfcausal.errors import InputError
from tfcausal.evaluation.metrics import Float64s
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
    known = np.arange(UNKNOWN_INDEX + 1, len(popularity), dtype=np.int32)
    # Rows of items are sampled as those of users are.
    items = sample_users(known, num_items, "picture: items")
    groups = popularity_ranks(popularity) * len(GROUPS) // len(known)
    draw_item_map(item_map(vectors, items), groups[items]).savefig(path, dpi=150)


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
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    widths = [part.stop - part.start for part in vectors.causes.values()]
    # A plane needs two coordinates to begin with.
    rows = np.zeros((len(widths), len(items), max(*widths, 2)))
    for place, part in enumerate(vectors.causes.values()):
        rows[place, :, : widths[place]] = vectors.candidates[items, part]
    flat = rows.reshape(-1, rows.shape[2])
    tsne = TSNE(
        perplexity=min(NEIGHBOURS, (len(flat) - 1) / 3), init="pca", random_state=0
    )
    # Where cores are shared, its threads wait for each other ten times as long as they
    # work, and the map would hang on how many there are.
    with threadpool_limits(1):
        found = tsne.fit_transform(flat)
    points = found.astype(np.float64).reshape(len(widths), len(items), 2)
    return dict(zip(vectors.causes, points, strict=True))


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


def _require_extra() -> None:
    try:
        for name in ("matplotlib", "sklearn"):
            import_module(name)
    except ImportError as error:
        raise InputError(
            f"Pictures must have matplotlib and scikit-learn; got: {error}. Run "
            "pip install 'tfcausal[plots]'."
        ) from error
