"""What is made ahead is what would be made otherwise."""

import threading
from collections.abc import Iterator

import pytest

from beam_jobs.runtime.ahead import ahead


def test_the_next_piece_is_made_while_one_is_used() -> None:
    made = [threading.Event() for _ in range(3)]

    def pieces() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    for number in ahead(pieces()):
        assert all(event.wait(10) for event in made[: number + 2])
    assert not list(ahead(iter(())))


def test_an_error_comes_after_the_pieces_before_it() -> None:
    def pieces() -> Iterator[str]:
        yield "good"
        raise ValueError("bad")

    found = ahead(pieces())
    assert next(found) == "good"
    with pytest.raises(ValueError, match="bad"):
        next(found)
