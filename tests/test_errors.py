"""The wording of an unknown name."""

import pytest

from tfcausal.errors import unknown_name


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (
            ["margin", "l2"],
            "Unknown option `marigin`. Did you mean `margin`? Known: l2, margin.",
        ),
        (["l2"], "Unknown option `marigin`. Known: l2."),
        ([], "Unknown option `marigin`. There is none."),
    ],
)
def test_an_unknown_name_has_its_alternatives(known: list[str], expected: str) -> None:
    assert str(unknown_name("option", "marigin", known)) == expected
