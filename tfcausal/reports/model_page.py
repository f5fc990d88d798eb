"""All that the page of an exported model shows."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfcausal.errors import InputError
from tfcausal.evaluation.diagnosis import GROUPS
from tfcausal.evaluation.ranking import ItemLists
from tfcausal.reports.titles import TitleFile
from tfcausal.reports.weight_grid import GridAnswers, ask_grid, weight_steps
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.exported import find_version, ids_file
from tfcausal.schema.manifest import read_manifest
from tfcausal.serving.client import Asker, Recommender, load
from tfcausal.serving.export import read_back
from tfcausal.serving.index_files import read_ids
from tfcausal.stats.negatives import Int32s, Int64s
from tfcausal.stats.popularity import popularity_groups

MAX_K = 100
NUM_USERS = 5
"""So many users where nobody is named."""


@dataclass(frozen=True)
class PageItem:
    """An item that the page names.

    Attributes:
        item_id: Its id.
        title: What it is called; "" where that is not known.
        popularity: Interactions in the train window; None where the model does not
            know the item.
        group: Place in GROUPS, likewise.
    """

    item_id: str
    title: str
    popularity: int | None
    group: int | None


@dataclass(frozen=True)
class Profile:
    """How popular items are.

    Attributes:
        popularity: Their mean popularity.
        shares: Share of each of the GROUPS.
    """

    popularity: float
    shares: list[float]


@dataclass(frozen=True)
class Person:
    """Whom lists are for, and the lists.

    Attributes:
        kind: Whether a user's id or a history asks.
        name: The id; "" for a history.
        met: Places in the page's items: a history in its order, what a user has met
            with the most popular first.
        entries: What lists are made of: the place in the page's items, then each
            cause's term at weight 1.
        lists: As `GridAnswers` has them.
        at: Likewise.
    """

    kind: Literal["user", "history"]
    name: str
    met: list[int]
    entries: list[list[float]]
    lists: list[list[int]]
    at: list[int]


@dataclass(frozen=True)
class ModelPage:
    """All that the page shows.

    Attributes:
        model: Name of the exported model.
        version: Its version.
        method: The method that it was trained by.
        calibrated: Whether weight 1 is a calibrated weight.
        k: Length of the lists.
        causes: Names of the causes.
        weights: What each may weigh, ascending and evenly apart.
        groups: Names of the groups of items by popularity.
        catalogue: All items.
        interactions: The items of all interactions.
        items: Items that are named anywhere.
        people: Whom lists are for.
    """

    model: str
    version: str
    method: str
    calibrated: bool
    k: int
    causes: list[str]
    weights: tuple[float, ...]
    groups: tuple[str, ...]
    catalogue: Profile
    interactions: Profile
    items: list[PageItem]
    people: list[Person]

    def to_json(self) -> dict[str, Any]:
        """Returns plain dictionaries for JSON."""
        return asdict(self)


def model_page(
    model_dir: Path,
    users: Sequence[str] = (),
    history: Sequence[str] = (),
    *,
    k: int = 10,
    titles: TitleFile | None = None,
) -> ModelPage:
    """Asks an exported model for all that its page shows.

    Args:
        model_dir: `saved_models/NAME/VERSION`, or `saved_models/NAME` for its last.
        users: Ids of the users. With neither users nor a history: NUM_USERS users that
            the model knows, evenly over the vocabulary.
        history: Items that one more person has met, the latest last.
        k: Length of the lists.
        titles: Where items have titles.
    Raises:
        InputError: If there is no such model, it takes no histories or knows nothing
            of whom lists are for, it has too many causes, or `k` or the titles do not
            fit.
    """
    if not 1 <= k <= MAX_K:
        raise InputError(f"`k` must be 1 to {MAX_K} on a page; got {k}.")
    version = find_version(model_dir).resolve()
    manifest = read_manifest(version, kind="export")
    recommender = load(version)
    weights = weight_steps(len(recommender.causes))
    _, seen, popularity = read_back(version)
    if not users and not history:
        users = _some_users(recommender, _ids(version, "users"), seen)
    catalogue = _Catalogue.of(_ids(version, "items"), popularity)
    asked = [
        _Asked("user", user, asker, catalogue.by_popularity(asker.seen()))
        for user, asker in _known_users(recommender, users)
    ]
    if history:
        asker = _known_history(recommender, history)
        asked.append(_Asked("history", "", asker, history))
    answers = [ask_grid(recommender, one.asker, k) for one in asked]
    named = _named(asked, answers)
    return ModelPage(
        model=version.parent.name,
        version=version.name,
        method=manifest.options["method"],
        calibrated="calibration" in manifest.details,
        k=k,
        causes=list(recommender.causes),
        weights=weights,
        groups=GROUPS,
        catalogue=catalogue.profile(np.ones_like(popularity)),
        interactions=catalogue.profile(popularity),
        items=catalogue.items(named, {} if titles is None else titles.read(named)),
        people=[
            one.person(found, named) for one, found in zip(asked, answers, strict=True)
        ],
    )


@dataclass(frozen=True)
class _Catalogue:
    """What is known of all items, by row; ids to rows."""

    rows: dict[str, int]
    popularity: Int64s
    groups: Int32s

    @classmethod
    def of(cls, ids: Sequence[str], popularity: Int64s) -> "_Catalogue":
        rows = {item_id: row for row, item_id in enumerate(ids, UNKNOWN_INDEX + 1)}
        return cls(rows, popularity, popularity_groups(popularity, len(GROUPS)))

    def by_popularity(self, item_ids: Iterable[str]) -> list[str]:
        """Returns items of the catalogue, the most popular first."""
        return sorted(item_ids, key=lambda one: -self.popularity[self.rows[one]])

    def profile(self, times: Int64s) -> Profile:
        """Returns the profile of all items, each taken some times."""
        known = slice(UNKNOWN_INDEX + 1, None)
        shares = np.bincount(self.groups[known], times[known], len(GROUPS))
        return Profile(
            float(np.average(self.popularity[known], weights=times[known])),
            (shares / times[known].sum()).tolist(),
        )

    def items(self, item_ids: Iterable[str], titles: dict[str, str]) -> list[PageItem]:
        found = []
        for item_id in item_ids:
            row = self.rows.get(item_id)
            known = row is not None
            found.append(
                PageItem(
                    item_id,
                    titles.get(item_id, ""),
                    int(self.popularity[row]) if known else None,
                    int(self.groups[row]) if known else None,
                )
            )
        return found


@dataclass(frozen=True)
class _Asked:
    """One whom lists are for, and what they have met."""

    kind: Literal["user", "history"]
    name: str
    asker: Asker
    met: Sequence[str]

    def person(self, found: GridAnswers, places: dict[str, int]) -> Person:
        return Person(
            self.kind,
            self.name,
            [places[item_id] for item_id in self.met],
            [
                # What float32 holds, in its shortest form.
                [places[item_id], *(float(f"{term:.7g}") for term in terms)]
                for item_id, terms in zip(
                    found.items, found.terms.tolist(), strict=True
                )
            ],
            found.lists,
            found.at,
        )


def _ids(version: Path, kind: Literal["users", "items"]) -> list[str]:
    return read_ids(ids_file(version, kind))


def _named(asked: Iterable[_Asked], answers: Iterable[GridAnswers]) -> dict[str, int]:
    """Returns the items that anybody has met or is shown, and their places."""
    named = [item for one in asked for item in one.met]
    named += [item for found in answers for item in found.items]
    return {item_id: place for place, item_id in enumerate(dict.fromkeys(named))}


def _some_users(
    recommender: Recommender, user_ids: Sequence[str], seen: ItemLists
) -> list[str]:
    """Returns the first known user of each of NUM_USERS parts of the vocabulary."""
    have_met = np.flatnonzero(seen.lengths[UNKNOWN_INDEX + 1 :])
    firsts = (
        next(filter(recommender.knows_user, (user_ids[row] for row in part)), None)
        for part in np.array_split(have_met, NUM_USERS)
    )
    users = [user for user in firsts if user is not None]
    if not users:
        raise InputError(
            "The model must know a user who has met an item; it knows none. Pass "
            "--history to a model whose users are histories."
        )
    return users


def _known_users(
    recommender: Recommender, users: Iterable[str]
) -> Iterable[tuple[str, Asker]]:
    for user in dict.fromkeys(users):
        asker = recommender.user(user)
        if not recommender.knows(asker):
            raise InputError(
                f"`--user` must be one the model was trained on; got {user}. Unknown "
                "users are answered by popularity, which has no causes."
            )
        yield user, asker


def _known_history(recommender: Recommender, history: Sequence[str]) -> Asker:
    asker = recommender.history(history)
    if not recommender.knows(asker):
        raise InputError(
            "`--history` must have an item that the model knows; got "
            f"{', '.join(history)}. Others are answered by popularity, which has no "
            "causes."
        )
    return asker
