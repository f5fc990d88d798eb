"""Protocols: each switch counts, presets keep their differences."""

from dataclasses import replace
from typing import Any

import pytest

from tfcausal.errors import InputError
from tfcausal.schema.protocol import protocol, protocol_names

HISTORY = ("train", "train_intervened")


def test_presets_are_of_the_five_papers() -> None:
    assert protocol_names() == ["cadvae", "causerec", "dccl", "dcr", "dice"]
    assert all(protocol(name).name == name for name in protocol_names())
    assert len({protocol(name).hash for name in protocol_names()}) == 5


@pytest.mark.parametrize(
    ("name", "mask", "denominator", "ideal", "average_over", "candidates"),
    [
        # The table of the papers' protocols; both training parts are the history.
        ("dice", HISTORY, "positives", "min_k_positives", "users", "all"),
        ("dccl", (), "positives", "min_k_positives", "interactions", "all"),
        ("causerec", (), "positives", "min_k_positives", "users", "all"),
        ("dcr", (), "min_k_positives", "min_k_positives", "users", "observed"),
        (
            "cadvae",
            (*HISTORY, "validation_fold_in", "test_fold_in"),
            "min_k_positives",
            "min_k_positives",
            "users",
            "all",
        ),
    ],
)
def test_presets_say_what_the_papers_do(
    name: str,
    mask: tuple[str, ...],
    denominator: str,
    ideal: str,
    average_over: str,
    candidates: str,
) -> None:
    chosen = protocol(name)
    assert chosen.mask == mask
    assert chosen.recall_denominator == denominator
    assert chosen.ndcg_ideal == ideal
    assert chosen.average_over == average_over
    assert chosen.candidates == candidates
    assert chosen.users == "with_positives"
    assert chosen.legacy_ndcg == (name == "causerec")


@pytest.mark.parametrize(
    "change",
    [
        {"candidates": "observed"},
        {"mask": ()},
        {"recall_denominator": "min_k_positives"},
        {"ndcg_ideal": "hits"},
        {"users": "all"},
        {"average_over": "interactions"},
        {"ks": (20,)},
        {"legacy_ndcg": True},
    ],
)
def test_every_switch_is_in_the_hash(change: dict[str, Any]) -> None:
    dice = protocol("dice")
    assert replace(dice, **change).hash != dice.hash
    assert replace(dice).hash == dice.hash


def test_the_hash_stays_what_results_carry() -> None:
    assert protocol("dice").hash == "b9376d656fe2"


def test_refusals() -> None:
    with pytest.raises(InputError, match="Did you mean `dccl`"):
        protocol("dcl")
    for ks in ((), (0, 5), (5, 5), (10, 5)):
        with pytest.raises(InputError, match="must be positive and increasing"):
            replace(protocol("dice"), ks=ks)
    with pytest.raises(InputError, match="`average_over` must be users"):
        replace(protocol("dccl"), legacy_ndcg=True)
