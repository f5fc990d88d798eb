"""Options of training refuse what no training could use."""

import math

import pytest

from tfcausal.errors import InputError
from tfcausal.training.options import TrainingOptions


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("epochs", 0, ">= 1"),
        ("batch_size", 0, ">= 1"),
        ("beta_1", 1.0, "in [0, 1)"),
        ("beta_2", -0.1, "in [0, 1)"),
        ("l2", -1e-5, ">= 0 and finite"),
        ("l2", math.nan, ">= 0 and finite"),
        ("min_learning_rate", math.inf, ">= 0 and finite"),
        ("stop_patience", -1, ">= 0 and finite"),
        ("reduce_factor", 1.0, "in (0, 1)"),
        ("triplets", "files", "graph or shards"),
        ("draw_positives", "users", "each or by_user"),
    ],
)
def test_an_option_out_of_bounds_is_named(
    name: str, value: object, expected: str
) -> None:
    with pytest.raises(InputError) as caught:
        TrainingOptions(**{name: value})
    assert f"`{name}` must be {expected}; got {value}." in str(caught.value)


def test_shards_hold_each_row_once() -> None:
    with pytest.raises(InputError, match="`draw_positives` must be each with"):
        TrainingOptions(draw_positives="by_user", triplets="shards")
