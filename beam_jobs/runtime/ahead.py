"""Work done in a thread while the last piece of it is used."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(pieces: Iterator[T]) -> Iterator[T]:
    """Yields what an iterator yields, which makes the next one meanwhile.

    Worth it where both sides spend their time in libraries that leave Python's
    interpreter free, as Arrow and NumPy do. One piece more is in memory.

    Args:
        pieces: The iterator; never used by two threads at once.
    """
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, pieces, None)
        while (piece := following.result()) is not None:
            following = thread.submit(next, pieces, None)
            yield piece
