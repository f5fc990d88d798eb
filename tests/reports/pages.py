"""Reads a written page as its script does, in plain Python."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tfcausal.reports.model_page import ModelPage

NASTY = '</script><b>"&<!--\u2028'
_BEGIN, _END = '<script type="application/json" id="data">', "</script>"


class Listed(NamedTuple):
    item_id: str
    score: float
    causes: dict[str, float]


def read_data(path: Path) -> dict[str, Any]:
    """Returns what a page holds."""
    _, _, rest = path.read_text(encoding="utf-8").partition(_BEGIN)
    data: dict[str, Any] = json.loads(rest.partition(_END)[0])
    return data


def shown(
    data: Mapping[str, Any], person: int, weights: Mapping[str, float]
) -> list[Listed]:
    """Returns the list that a page shows to a person at some weights."""
    asked, steps = data["people"][person], data["weights"]
    chosen = [weights.get(cause, 1.0) for cause in data["causes"]]
    combination = 0
    for weight in chosen:
        combination = combination * len(steps) + steps.index(weight)
    found = []
    for entry in asked["lists"][asked["at"][combination]]:
        place, *terms = asked["entries"][entry]
        causes = {
            cause: term * weight
            for cause, term, weight in zip(data["causes"], terms, chosen, strict=True)
        }
        item_id = data["items"][place]["item_id"]
        found.append(Listed(item_id, sum(causes.values()), causes))
    return found


def marked_up(page: ModelPage) -> ModelPage:
    """Returns a page whose every text from data is NASTY."""
    return replace(
        page,
        model=NASTY,
        items=[replace(item, item_id=NASTY, title=NASTY) for item in page.items],
        people=[replace(one, name=NASTY) for one in page.people],
    )
