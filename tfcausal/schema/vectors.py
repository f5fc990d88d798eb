"""The one interface of all methods: vectors whose coordinates have causes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfcausal.errors import InputError, unknown_name
from tfcausal.schema.paths import is_store

Float32s = npt.NDArray[np.float32]

_QUERIES = "queries.npy"
_CANDIDATES = "candidates.npy"
_CAUSES = "causes.json"


@dataclass(frozen=True)
class CausalVectors:
    """What every method ends as.

    score(u, i) = max over q of <queries[u, q], candidates[i]>, which is a sum over
    causes of the products of their slices.

    Attributes:
        queries: [num_users, num_queries, dim] float32; row 0 is the unknown user.
        candidates: [num_items, dim] float32; row 0 is the unknown item, which is never
            recommended.
        causes: Ordered, name of the cause to its coordinates; together they cover dim.
    """

    queries: Float32s
    candidates: Float32s
    causes: Mapping[str, slice]

    def __post_init__(self) -> None:
        shapes = f"{self.queries.shape} and {self.candidates.shape}"
        if (
            self.queries.ndim != 3
            or self.candidates.ndim != 2
            or self.queries.shape[2] != self.candidates.shape[1]
        ):
            raise InputError(
                f"Vectors must be [users, queries, dim] and [items, dim]; got {shapes}."
            )
        for name in ("queries", "candidates"):
            values = getattr(self, name)
            if values.dtype != np.float32:
                raise InputError(f"`{name}` must be float32; got {values.dtype}.")
            if not _all_finite(values):
                row = int(np.argwhere(~np.isfinite(values))[0][0])
                raise InputError(
                    f"`{name}` must be finite; row {row} is not. Train again with a "
                    "smaller learning_rate."
                )
        end = 0
        for cause, part in self.causes.items():
            if part.start != end or part.stop <= part.start or part.step is not None:
                raise InputError(
                    f"Causes must cover the coordinates one after the other; `{cause}` "
                    f"is {part} after {end}."
                )
            end = part.stop
        if end != self.dim:
            raise InputError(f"Causes must cover {self.dim} coordinates; got {end}.")

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return int(self.candidates.shape[1])

    def weighted(self, weights: Mapping[str, float]) -> "CausalVectors":
        """Intervenes: scales the causes of the queries; do(conformity = 0) is weight 0.

        Args:
            weights: Cause to finite weight; causes that are not named keep weight 1.
        Raises:
            InputError: If a cause is unknown, or a weight is not finite or too large.
        """
        scale = np.ones(self.dim, np.float32)
        for cause, weight in weights.items():
            if cause not in self.causes:
                raise unknown_name("cause", cause, self.causes)
            if not np.isfinite(weight):
                raise InputError(
                    f"The weight of `{cause}` must be finite; got {weight}."
                )
            scale[self.causes[cause]] = weight
        with np.errstate(over="ignore"):
            queries = self.queries * scale
        if not _all_finite(queries):
            raise InputError(
                f"Weights must keep the vectors in float32; got {dict(weights)}. Lower "
                "them."
            )
        return CausalVectors(queries, self.candidates, self.causes)

    def only(self, cause: str) -> "CausalVectors":
        """Returns the vectors of one cause alone.

        Raises:
            InputError: If the cause is unknown.
        """
        if cause not in self.causes:
            raise unknown_name("cause", cause, self.causes)
        part = self.causes[cause]
        return CausalVectors(
            self.queries[:, :, part],
            self.candidates[:, part],
            {cause: slice(0, part.stop - part.start)},
        )

    def save(self, folder: Path) -> None:
        """Writes queries.npy, candidates.npy and causes.json into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / _QUERIES, self.queries, allow_pickle=False)
        np.save(folder / _CANDIDATES, self.candidates, allow_pickle=False)
        causes = {name: [part.start, part.stop] for name, part in self.causes.items()}
        (folder / _CAUSES).write_text(json.dumps(causes) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "CausalVectors":
        """Maps saved vectors into memory; those of an object store it reads.

        Raises:
            InputError: If a file is missing or is not what `save` writes.
        """

        def array(name: str) -> Any:
            path = folder / name
            if is_store(path):
                with path.open("rb") as stream:
                    return np.load(stream, allow_pickle=False)
            return np.load(path, mmap_mode="r", allow_pickle=False)

        try:
            causes = json.loads((folder / _CAUSES).read_text(encoding="utf-8"))
            parts = {name: slice(*bounds) for name, bounds in causes.items()}
            return cls(array(_QUERIES), array(_CANDIDATES), parts)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"`{folder}` must hold saved vectors; got {error}. Train again."
            ) from error


def _all_finite(values: Float32s) -> bool:
    # The sum is finite only if every value is, and needs no array of flags.
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(values.sum(dtype=np.float64)))
