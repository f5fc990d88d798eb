"""A confounding feature of training rows: where it stands, and how often each value."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.runtime.dataset_input import SplitDataset
from beam_jobs.runtime.item_values import Float64s, read_item_values
from beam_jobs.transforms.popularity import (
    Count,
    CountPositives,
    CountValues,
    part_paths,
    read_counted,
)
from tfcausal.errors import InputError, unknown_name
from tfcausal.schema import columns
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.dataset import TRAIN
from tfcausal.stats.discretisation import ValueCounts
from tfcausal.stats.popularity import Int64s

_VALUES = "confounder_values"
_LABELS = "labels"
_POSITIVES = "positives"


@dataclass(frozen=True)
class Confounder:
    """A numeric feature of items or of interactions.

    Attributes:
        column: Its name.
        label: A label of the interactions, if its rate by bin is wanted.
        of_items: [num_items] float64 its value for each item, NaN where there is none;
            or None where each row of training has its own.
    """

    column: str
    label: str | None
    of_items: Float64s | None

    @classmethod
    def open(
        cls, dataset: SplitDataset, column: str, label: str | None, file: Path | None
    ) -> "Confounder":
        """Looks for a feature.

        Args:
            dataset: The data set.
            column: The feature's name.
            label: A column of the interactions, or None.
            file: A table of items that has it; None to look among the data set's own
                features of items, then in its interactions.
        Raises:
            InputError: If it is not there or is no number.
        """
        schema = pq.read_schema(part_paths(dataset, TRAIN)[0])
        if label is not None:
            _require_number(schema, label)
        own = dataset.folder.item_features
        known = set(schema.names)
        if file is None and own.is_file():
            of_items = set(pq.read_schema(own).names) - {columns.ITEM_ID}
            file = own if column in of_items else None
            known |= of_items
        if file is not None:
            values = read_item_values(file, column, dataset.folder.items)
            return cls(column, label, values)
        if column not in schema.names:
            raise unknown_name("confounder", column, known)
        _require_number(schema, column)
        return cls(column, label, None)

    def counts(self, dataset: SplitDataset) -> list[Count]:
        """Returns what is to be counted in the rows."""
        label, wanted = self.label, {}
        if self.of_items is None:
            wanted[_VALUES] = CountValues(self.column, label)
        if label is not None:
            wanted[_LABELS] = CountValues(label, None)
            if self.of_items is not None:
                wanted[_POSITIVES] = CountPositives(dataset.num_items, label)
        paths = part_paths(dataset, TRAIN)
        return [Count(name, TRAIN, paths, fn) for name, fn in wanted.items()]

    def found(self, folder: Path, popularity: Int64s) -> ValueCounts:
        """Returns the training rows by their value.

        Args:
            folder: Where `counts` were kept.
            popularity: [num_items] interactions of each item in training.
        Raises:
            InputError: If values are infinite or too many, or a label is not 0 or 1.
        """
        if self.label is not None:
            labels = ValueCounts.from_records(read_counted(folder, _LABELS))
            wrong = labels.values[(labels.values != 0) & (labels.values != 1)]
            if labels.missing or len(wrong):
                raise InputError(
                    f"Labels in `{self.label}` must be 0 or 1; found "
                    f"{wrong[0] if len(wrong) else 'rows without one'}. Choose another "
                    "column."
                )
        if self.of_items is None:
            found = ValueCounts.from_records(read_counted(folder, _VALUES))
        else:
            values = self.of_items.copy()
            values[UNKNOWN_INDEX] = np.nan
            positives = (
                read_counted(folder, _POSITIVES) if self.label is not None else None
            )
            found = ValueCounts.of(values, popularity, positives)
        found.require_usable(self.column)
        return found


def _require_number(schema: pa.Schema, name: str) -> None:
    if name not in schema.names:
        raise unknown_name("column", name, schema.names)
    kind = schema.field(name).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise InputError(f"`{name}` must be a column of numbers; it is {kind}.")
