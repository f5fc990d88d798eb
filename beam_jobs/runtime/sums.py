"""Adding arrays up, in Beam and without it."""

from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]


def summed(arrays: Iterable[Int64s]) -> Iterator[Int64s]:
    """Yields the sum, and nothing of nothing."""
    total: Int64s | None = None
    for array in arrays:
        total = array if total is None else total + array
    if total is not None:
        yield total


class SumArrays(beam.CombineFn):
    """Adds numpy arrays of one shape up; gives None where there is none."""

    def create_accumulator(self) -> Int64s | None:
        """Returns no array."""
        return None

    def add_input(self, total: Int64s | None, array: Int64s) -> Int64s:
        """Adds one."""
        return array if total is None else total + array

    def merge_accumulators(self, totals: Iterable[Int64s | None]) -> Int64s | None:
        """Adds all."""
        return next(summed(total for total in totals if total is not None), None)

    def extract_output(self, total: Int64s | None) -> Int64s | None:
        """Returns the sum."""
        return total
