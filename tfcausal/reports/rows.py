"""What a table or a figure is made of: rows, what is tuned, and an axis.

Nothing here needs TensorFlow, so that `--help` and `--list` answer at once.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tfcausal.errors import unknown_name
from tfcausal.schema.protocol import protocol

ITEM_POP = "item_pop"
"""In place of a method: nothing is trained, everyone gets the most popular items."""
SLOTS = "slots"
"""What a row may need of a data set, as TRAIN_INTERVENED is: popularity by time."""
METRICS = ("recall@20", "hr@20", "ndcg@20", "recall@50", "hr@50", "ndcg@50")
SHOWN = (*METRICS, "popularity@20")
"""What a result says of each row, in this order."""
LEGACY = ("legacy_ndcg@20", "legacy_ndcg@50")
"""What comes on top where the protocol has it."""
IOU = "iou_itempop"
"""Overlap with the most popular items; at each k it is a metric of its own."""


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: Its name within the table.
        method: Name of the method, or ITEM_POP.
        fixed: Options of the method that make the row what it is.
        tuned: Options of the method or of training to the values that they are drawn
            from; the first of each is the default, which is tried first.
        published: The paper's data set to its figures, metric by metric, as shares.
        needs: TRAIN_INTERVENED or SLOTS where the data set must have them.
        otherwise: What is fixed besides where the data set lacks what is needed; None
            leaves the row out.
        line: Name of the line that it is a point of, in a figure over its own options.
    """

    name: str
    method: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    tuned: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    needs: str = ""
    otherwise: Mapping[str, Any] | None = None
    line: str = ""

    @property
    def is_trained(self) -> bool:
        """Whether there is anything to train."""
        return self.method != ITEM_POP

    @property
    def num_settings(self) -> int:
        """Number of different settings that can be drawn."""
        return math.prod(len(values) for values in self.tuned.values())

    def num_trainings(self, trials: int, seeds: int, *, calibrated: bool) -> int:
        """Returns how many trainings the row takes; the best trial is the first seed's.

        Args:
            trials: Settings to try, at most so many.
            seeds: Seeds of the best setting.
            calibrated: Whether it is calibrated too, which may choose another setting;
                where it chooses the same one, its seeds are there already.
        """
        if not self.is_trained:
            return 0
        return min(trials, self.num_settings) + (1 + calibrated) * (seeds - 1)


@dataclass(frozen=True)
class Axis:
    """What the lines of a figure are drawn over.

    Attributes:
        name: What varies: an option of the rows' method or of the split, or "k".
        over: Where its values come from: "rows" fix them; "splits" are data sets that
            are alike but for this option of their split; "parts" are the test sets of
            one split, whose option has the values; "ks" are lengths of lists, and what
            is drawn is the overlap with the most popular items, for each cause too.
        metrics: What is drawn, side by side.
        rule: splits, parts: the rule that the split must have.
        ks: ks: the lengths.
    """

    name: str
    over: Literal["rows", "splits", "parts", "ks"]
    metrics: tuple[str, ...] = ("recall@20", "ndcg@20")
    rule: str = ""
    ks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table or a figure to reproduce.

    Attributes:
        name: Its name on the command line.
        title: What it compares.
        source: The paper's table or figure, or "" for a comparison of our own.
        rows: Its rows.
        protocol: Name of the protocol that the paper evaluates by.
        calibrated: Whether each row is calibrated too, asked for or not.
        notes: What a reader of the result must know about the paper's table.
        axis: What lines are drawn over; None for a table.
        maps: Rows whose items are drawn as a map, by cause and popularity.
        user_maps: Rows of which some users are drawn with items that they chose.
    """

    name: str
    title: str
    source: str
    rows: tuple[Row, ...]
    protocol: str = "dice"
    calibrated: bool = False
    notes: tuple[str, ...] = ()
    axis: Axis | None = None
    maps: tuple[str, ...] = ()
    user_maps: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """The metrics of a result, in this order."""
        if self.axis is not None and self.axis.over == "ks":
            return self.axis.metrics
        return (*SHOWN, *LEGACY) if protocol(self.protocol).legacy_ndcg else SHOWN

    @property
    def tuned(self) -> frozenset[str]:
        """The options that rows are tuned over."""
        return frozenset(name for row in self.rows for name in row.tuned)

    @property
    def has_many_splits(self) -> bool:
        """Whether each value of the axis is a data set of its own."""
        return self.axis is not None and self.axis.over == "splits"

    def only(self, names: tuple[str, ...]) -> "Table":
        """Returns the table with these rows alone, in its own order; () keeps all.

        Raises:
            InputError: If there is no row of a name.
        """
        known = [row.name for row in self.rows]
        for name in names:
            if name not in known:
                raise unknown_name("row", name, known)
        if not names:
            return self
        return replace(self, rows=tuple(row for row in self.rows if row.name in names))

    def tuned_over(self, values: Mapping[str, tuple[Any, ...]]) -> "Table":
        """Returns the table with other values to tune an option over.

        Args:
            values: Option to its values, the first to be tried first; they go to all
                rows that tune the option.
        """
        rows = (
            replace(
                row,
                tuned={name: values.get(name, own) for name, own in row.tuned.items()},
            )
            for row in self.rows
        )
        return replace(self, rows=tuple(rows))

    def num_trainings(self, trials: int, seeds: int, *, calibrated: bool) -> int:
        """Returns how many trainings all rows take together."""
        calibrated = calibrated or self.calibrated
        return sum(
            row.num_trainings(trials, seeds, calibrated=calibrated) for row in self.rows
        )
