"""What vectors are read against: the test part, or each point of a figure's axis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tfcausal.data.interactions import CheckedDataset
from tfcausal.errors import InputError
from tfcausal.evaluation.evaluator import evaluate
from tfcausal.evaluation.validation import evaluation_set
from tfcausal.reports.rows import IOU, Axis
from tfcausal.schema.dataset import TEST, popular_test_part
from tfcausal.schema.protocol import EvaluationProtocol
from tfcausal.schema.vectors import CausalVectors


@dataclass(frozen=True)
class Reading:
    """What one training shows at one point.

    Attributes:
        metrics: Metric to its value.
        num_users: Users averaged over.
        point: Where on the axis; None without one, and where rows are points.
        cause: The cause that ranked alone; "" for the whole score.
    """

    metrics: Mapping[str, float]
    num_users: int
    point: float | None = None
    cause: str = ""


class Reader:
    """Reads vectors on the test part, or at the points that lie on this data set."""

    def __init__(
        self, dataset: CheckedDataset, axis: Axis | None, chosen: EvaluationProtocol
    ) -> None:
        """Reads what vectors are compared with.

        Args:
            dataset: A data set that has been split and whose popularity is counted.
            axis: The figure's axis; None for a table.
            chosen: The protocol.
        Raises:
            InputError: If a part is missing, or the split is not the axis's.
        """
        self._axis = axis
        self._chosen = chosen
        parts: dict[float | None, str] = {None: TEST}
        if axis is not None and axis.over == "splits":
            parts = {split_value(axis, dataset): TEST}
        elif axis is not None and axis.over == "parts":
            _require_rule(axis, dataset)
            shares = sorted(dataset.splits.options[axis.name])
            parts = {share: popular_test_part(share) for share in shares}
        self._sets = {
            point: evaluation_set(dataset, part, chosen)
            for point, part in parts.items()
        }

    def read(self, vectors: CausalVectors) -> tuple[Reading, ...]:
        """Returns what vectors show at each point, always in the same order.

        Args:
            vectors: Of all users and items.
        """
        if self._axis is not None and self._axis.over == "ks":
            return self._overlaps(vectors, self._axis.ks)
        found = {
            point: evaluate(vectors, against, self._chosen)
            for point, against in self._sets.items()
        }
        return tuple(
            Reading(result.metrics, result.num_users, point)
            for point, result in found.items()
        )

    def _overlaps(
        self, vectors: CausalVectors, ks: tuple[int, ...]
    ) -> tuple[Reading, ...]:
        (against,) = self._sets.values()
        result = evaluate(vectors, against, replace(self._chosen, ks=ks), causes=True)
        scores = {"": result.metrics}
        # A cause without another is the whole score.
        if len(vectors.causes) > 1:
            scores |= result.causes
        return tuple(
            Reading({IOU: metrics[f"{IOU}@{k}"]}, result.num_users, float(k), cause)
            for cause, metrics in scores.items()
            for k in ks
        )


def split_value(axis: Axis, dataset: CheckedDataset) -> float:
    """Returns the point of a data set: the value that its split has of the option.

    Raises:
        InputError: If the split is by another rule.
    """
    _require_rule(axis, dataset)
    options = dataset.splits.options
    if axis.name in options:
        return float(options[axis.name])
    # Without a share of all rows, train_intervened has its share of the pool.
    share, *_ = options["intervened_shares"]
    return round(float(options["pool_fraction"] * share), 6)


def require_points(axis: Axis | None, datasets: Sequence[CheckedDataset]) -> None:
    """Raises unless data sets are what is to be drawn, each a point of its own.

    Args:
        axis: The figure's axis; None for a table.
        datasets: One for a table and for a figure of one split; for a figure over
            splits at least one, alike but for the axis's option.
    Raises:
        InputError: If they are not.
    """
    if axis is None or axis.over != "splits":
        if len(datasets) > 1:
            raise InputError(
                "`--dataset` must be given once, for this is trained on one split; got "
                f"{len(datasets)}. Give one of them."
            )
        return
    first, *_ = datasets
    found: dict[float, CheckedDataset] = {}
    for dataset in datasets:
        point = split_value(axis, dataset)
        if point in found:
            raise InputError(
                f"`--dataset` must have splits of different {axis.name}; "
                f"`{found[point].folder.root}` and `{dataset.folder.root}` both have "
                f"{point:g}. Split one anew, or leave it away."
            )
        found[point] = dataset
        for name in sorted(_others(axis, first).keys() | _others(axis, dataset)):
            own, others = (
                _others(axis, one).get(name, "none") for one in (dataset, first)
            )
            if own != others:
                raise InputError(
                    f"`--dataset` must have splits that differ in {axis.name} alone; "
                    f"`{dataset.folder.root}` has {name} {own}, and "
                    f"`{first.folder.root}` {others}. Split copies of one data set."
                )


def _others(axis: Axis, dataset: CheckedDataset) -> dict[str, Any]:
    """Returns what must not vary: other options of the split, and the rows split."""
    rest = {
        name: value
        for name, value in dataset.splits.options.items()
        if name != axis.name
    }
    return {**rest, "dataset": dataset.manifest.fingerprint[:12]}


def _require_rule(axis: Axis, dataset: CheckedDataset) -> None:
    rule = dataset.splits.options.get("rule", "none")
    if rule != axis.rule:
        raise InputError(
            f"`{dataset.folder.root}` must be split by the rule {axis.rule}; its split "
            f"is by {rule}. Run python -m beam_jobs.split --rule={axis.rule} on a copy "
            "of it."
        )
