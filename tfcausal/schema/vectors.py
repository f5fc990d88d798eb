"""The one interface of all methods: vectors whose coordinates have causes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfcausal.errors import InputError, unknown_name
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.paths import is_store

Float32s = npt.NDArray[np.float32]

_QUERIES = "queries.npy"
_CANDIDATES = "candidates.npy"
_CAUSES = "causes.json"
POPULARITY_CAUSE = "popularity"
"""Name of the cause that `CausalVectors.shifted` adds."""
SHORTEST = np.float32(1e-6)
"""`CausalVectors.shortened` takes shorter vectors for as long as this."""


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

    def shortened(self, cause: str, norm_power: float) -> "CausalVectors":
        """Divides the items' vectors of a cause by their Euclidean norm to a power.

        What is met often grows long, so that norms of interest still know how popular
        items are. 0 leaves the vectors as they are; with 1 all are equally long, and
        the cause ranks by the cosine. Zeros stay zeros.

        Args:
            cause: Name of the cause.
            norm_power: From 0 to 1.
        Raises:
            InputError: If the cause is unknown, or the power not from 0 to 1.
        """
        if cause not in self.causes:
            raise unknown_name("cause", cause, self.causes)
        if not 0 <= norm_power <= 1:
            raise InputError(f"`norm_power` must be from 0 to 1; got {norm_power}.")
        part = self.causes[cause]
        candidates = np.array(self.candidates)
        norms = np.linalg.norm(candidates[:, part], axis=1, keepdims=True)
        candidates[:, part] /= np.maximum(norms, SHORTEST) ** np.float32(norm_power)
        return CausalVectors(self.queries, candidates, self.causes)

    def shifted(self, popularity: npt.NDArray[Any], weight: float) -> "CausalVectors":
        """Adds a last cause `popularity` of one coordinate, the same for every user.

        Queries have 1 there and items weight * z, so that the score is still the sum
        over causes, `weighted` can scale this one too, and an index needs nothing new.
        A negative weight lowers popular items; 0 adds a cause without effect.

        Formula: z = (log(1 + count) - mean) / standard deviation, mean and deviation
        over the known items; 0 for the unknown item, and for all where all are alike.
        `weight` is thus the change of score for one standard deviation of
        log-popularity, and no data set's size is in it.

        Args:
            popularity: [num_items] counts >= 0.
            weight: Finite weight.
        Raises:
            InputError: If there is a cause of that name, the counts are not the items',
                or the weight is not finite or too large.
        """
        if POPULARITY_CAUSE in self.causes:
            raise InputError(
                f"Shifted vectors must not have a cause `{POPULARITY_CAUSE}` already; "
                "these do. Weigh that cause instead."
            )
        least = popularity.min(initial=0)
        if popularity.shape != self.candidates.shape[:1] or least < 0:
            raise InputError(
                f"`popularity` must be a count >= 0 for each of "
                f"{len(self.candidates)} items; got {popularity.shape}, least "
                f"{least}. Count it on the run's data set."
            )
        logs = np.log1p(popularity.astype(np.float64))
        known = logs[UNKNOWN_INDEX + 1 :]
        spread = float(known.std())
        scaled = (logs - known.mean()) / (spread or 1.0)
        scaled[UNKNOWN_INDEX] = 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            column = (weight * scaled).astype(np.float32)
        if not np.isfinite(weight) or not _all_finite(column):
            raise InputError(
                f"The weight of `{POPULARITY_CAUSE}` must be finite and keep the "
                f"vectors in float32; got {weight}."
            )
        ones = np.ones((*self.queries.shape[:2], 1), np.float32)
        return CausalVectors(
            np.concatenate([self.queries, ones], axis=2),
            np.concatenate([self.candidates, column[:, None]], axis=1),
            {**self.causes, POPULARITY_CAUSE: slice(self.dim, self.dim + 1)},
        )

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

    def is_silent(self, cause: str) -> bool:
        """Returns whether a cause adds 0 to every score, so that it ranks nothing.

        Args:
            cause: Name of the cause.
        """
        part = self.causes[cause]
        return not (self.queries[:, :, part].any() and self.candidates[:, part].any())

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
