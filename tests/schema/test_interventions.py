"""What weights and presets come to together, and which are refused."""

import math

import pytest

from tfcausal.errors import InputError
from tfcausal.schema.interventions import applied_weights

_CAUSES = ("interest", "conformity", "popularity")
_PRESETS = {"quiet": {"interest": 1.0, "conformity": 0.5}}


@pytest.mark.parametrize(
    ("weights", "do", "expected"),
    [
        ({}, "", (1.0, 1.0, 1.0)),
        ({"conformity": 0.0}, "", (1.0, 0.0, 1.0)),
        ({}, "quiet", (1.0, 0.5, 1.0)),
        ({"conformity": 3.0, "popularity": -2.0}, "quiet", (1.0, 1.5, -2.0)),
    ],
)
def test_weights_multiply_those_of_the_preset(
    weights: dict[str, float], do: str, expected: tuple[float, ...]
) -> None:
    found = applied_weights(_CAUSES, _PRESETS, weights, do)
    assert found == dict(zip(_CAUSES, expected, strict=True))


@pytest.mark.parametrize(
    ("weights", "do", "message"),
    [
        ({"intrest": 1.0}, "", "Did you mean `interest`?"),
        ({}, "quite", "Did you mean `quiet`?"),
        ({"interest": math.nan}, "", "`interest` must be finite in float32; got nan"),
        ({"interest": -1e39}, "", "`interest` must be finite in float32; got -1e.39"),
    ],
)
def test_refusals(weights: dict[str, float], do: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        applied_weights(_CAUSES, _PRESETS, weights, do)
