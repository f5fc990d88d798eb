"""What an exported model must answer, computed from the vectors without it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tfcausal.evaluation.ranking import ItemLists, rank_all
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.vectors import CausalVectors, Float32s
from tfcausal.serving.examples import serialized
from tfcausal.serving.presets import Presets
from tfcausal.stats.negatives import Int32s, Int64s
from tfcausal.stats.selection import Bools

_MORE_PLACES = 50
"""Places beyond k, so that nearly equal scores may change places."""


@dataclass(frozen=True)
class Wishes:
    """What a request for lists says beside whom they are for.

    Attributes:
        k: Length of the lists.
        weights: Each cause to [n] weights.
        exclude: Ids of items that each list leaves out.
        allow: Ids of items that each list is made of; all where none is named.
        exclude_seen: Whether lists leave out what their users have seen.
        do: Name of each row's preset; empty for none at all.
    """

    k: int
    weights: Mapping[str, Any]
    exclude: Sequence[Sequence[str]]
    allow: Sequence[Sequence[str]]
    exclude_seen: bool
    do: Sequence[str] = ()

    def inputs(self) -> dict[str, Any]:
        """Returns the inputs of a signature."""
        return {
            "k": self.k,
            "do": list(self.do) or [""] * len(self.exclude),
            "exclude_item_id": self.exclude,
            "allow_item_id": self.allow,
            "exclude_seen": self.exclude_seen,
            **{f"{cause}_weight": one.tolist() for cause, one in self.weights.items()},
        }


@dataclass(frozen=True)
class LiveAnswers:
    """Answers requests by numpy and `rank_all`.

    Attributes:
        vectors: Of all users and items.
        users: User ids by index, the unknown one at 0.
        items: Item ids by index, likewise.
        seen: Items of each user.
        popularity: [num_items] int64.
        known: [num_users] bool; the others are answered as unknown ones.
        presets: Weights of causes by name.
    """

    vectors: CausalVectors
    users: Sequence[str]
    items: Sequence[str]
    seen: ItemLists
    popularity: Int64s
    known: Bools
    presets: Presets = field(default_factory=dict)

    @cached_property
    def _item_index(self) -> dict[str, int]:
        return {item: index for index, item in enumerate(self.items)}

    def cases(self, k: int, *, num_users: int = 8) -> list[dict[str, Any]]:
        """Returns requests to every signature with their answers.

        Args:
            k: Length of the lists of `serving_default`.
            num_users: So many users at most, evenly over the vocabulary; one unknown
                user comes on top.
        Returns:
            Cases as `check_saved_model` reads them.
        """
        users = evenly(len(self.users), num_users)
        stranger = unused_name(self.users)
        asked = [*(self.users[user] for user in users.tolist()), stranger]
        answered = np.where(self.known[users], users, UNKNOWN_INDEX)
        indices = np.append(answered, UNKNOWN_INDEX).astype(np.int32)
        ones = dict.fromkeys(self.vectors.causes, np.ones(len(asked)))
        nothing = [[""] for _ in asked]
        usual = self.lists(
            indices, Wishes(k, ones, nothing, nothing, exclude_seen=True)
        )
        cases = [
            {
                "signature": "serving_default",
                "inputs": {"user_id": asked},
                "expected": {name: usual[name] for name in ("item_id", "score")},
            }
        ]
        best = [[row[0], "", "\N{REPLACEMENT CHARACTER}"] for row in usual["item_id"]]
        # Every other list is made of two items and one that there is none of.
        few = [self.items[one] for one in evenly(len(self.items), 2).tolist()]
        few.append(unused_name(self.items))
        allowed = [few if row % 2 else [""] * len(few) for row in range(len(asked))]
        requests = [Wishes(k, ones, best, nothing, exclude_seen=True)]
        for cause in self.vectors.causes:
            varied = ones | {cause: np.linspace(0, 2, len(asked))}
            requests.append(Wishes(k + 1, varied, best, allowed, exclude_seen=False))
        for name in self.presets:
            named = [name if row % 2 else "" for row in range(len(asked))]
            requests.append(
                Wishes(k, ones, nothing, nothing, exclude_seen=True, do=named)
            )
        listed = [
            {
                "signature": "recommend",
                "inputs": {"user_id": asked, **wishes.inputs()},
                "expected": self.lists(indices, wishes),
            }
            for wishes in requests
        ]
        cases += [*listed, in_examples(listed[-1])]
        return [*cases, *self._of_pairs(asked, indices)]

    def _of_pairs(self, asked: list[str], users: Int32s) -> list[dict[str, Any]]:
        items = np.resize(evenly(len(self.items), len(asked)), len(asked))
        names = [self.items[item] for item in items.tolist()]
        known = users != UNKNOWN_INDEX
        queries = self.vectors.queries[users]
        terms, scores = self._terms(queries, items[:, None])
        scores[~known, 0] = self.popularity[items[~known]]
        return [
            {
                "signature": "explain",
                "inputs": {"user_id": asked, "item_id": names},
                "expected": {
                    "score": scores[:, 0].tolist(),
                    "known_user": known.tolist(),
                    **{
                        name: (term[:, 0] * known).tolist()
                        for name, term in terms.items()
                    },
                },
            },
            {
                "signature": "user_embedding",
                "inputs": {"user_id": asked},
                "expected": {
                    "embedding": queries.tolist(),
                    "known_user": known.tolist(),
                },
            },
            {
                "signature": "item_embedding",
                "inputs": {"item_id": names},
                "expected": {"embedding": self.vectors.candidates[items].tolist()},
            },
        ]

    def lists(self, users: Int32s, wishes: Wishes) -> dict[str, Any]:
        """Returns what `recommend` must, with lists of at most k + 50 places.

        Args:
            users: [n] int32 whom the lists are for.
            wishes: The request, a row for each of them.
        """
        k, vectors, num_items = wishes.k, self.vectors, len(self.items) - 1
        scale = np.ones((len(users), 1, vectors.dim), np.float32)
        for cause, weight in wishes.weights.items():
            scale[:, :, vectors.causes[cause]] = weight[:, None, None]
        for place, name in enumerate(wishes.do):
            for cause, weight in self.presets.get(name, {}).items():
                scale[place, :, vectors.causes[cause]] *= weight
        queries = vectors.queries[users] * scale
        masked = []
        limits = zip(users, wishes.exclude, wishes.allow, strict=True)
        for user, excluded, allowed in limits:
            hidden = [UNKNOWN_INDEX, *self._indices(excluded)]
            if wishes.exclude_seen:
                hidden += self.seen.of(np.asarray([user]))[1].tolist()
            if any(allowed):
                everything = np.arange(len(self.items))
                hidden += np.setdiff1d(everything, self._indices(allowed)).tolist()
            masked.append(np.unique(hidden).astype(np.int32))
        lists = ItemLists(
            np.cumsum([0, *map(len, masked)]), np.concatenate(masked, dtype=np.int32)
        )
        places = np.arange(len(users), dtype=np.int32)
        depth = min(k + _MORE_PLACES, num_items)
        scored = CausalVectors(queries, vectors.candidates, vectors.causes)
        blocks = list(rank_all(scored, places, lists, depth))
        items = np.concatenate([block.items for block in blocks])
        scores = np.concatenate([block.scores for block in blocks])
        terms, _ = self._terms(queries, items)
        for row in np.flatnonzero(users == UNKNOWN_INDEX):
            popularity = self.popularity.astype(np.float64)
            popularity[masked[row]] = -np.inf
            items[row] = np.argsort(-popularity, kind="stable")[:depth]
            scores[row] = popularity[items[row]]
            items[row, np.isneginf(scores[row])] = UNKNOWN_INDEX
            for term in terms.values():
                term[row] = 0
        listed = items != UNKNOWN_INDEX
        length = min(k, num_items)
        return {
            "item_id": [[self.items[item] for item in row] for row in items.tolist()],
            "score": np.where(listed, scores, 0.0).tolist(),
            **{name: (term * listed).tolist() for name, term in terms.items()},
            "count": listed[:, :length].sum(axis=1).tolist(),
            "known_user": (users != UNKNOWN_INDEX).tolist(),
        }

    def _indices(self, names: Sequence[str]) -> list[int]:
        return [self._item_index.get(name, UNKNOWN_INDEX) for name in names]

    def _terms(self, queries: Float32s, items: Any) -> tuple[dict[str, Any], Any]:
        """Returns each cause's terms of the winning queries and the scores, [n, k]."""
        candidates = self.vectors.candidates[items].astype(np.float64)
        terms = {
            f"score_{cause}": np.einsum(
                "nqd,nkd->nkq", queries[:, :, part], candidates[:, :, part]
            )
            for cause, part in self.vectors.causes.items()
        }
        totals = np.sum(list(terms.values()), axis=0)
        winner = totals.argmax(axis=2)[:, :, None]

        def of_winner(values: Any) -> Any:
            return np.take_along_axis(values, winner, axis=2)[:, :, 0]

        return {name: of_winner(term) for name, term in terms.items()}, of_winner(
            totals
        )


def in_examples(case: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a request for lists, and its answer, in its form of serialized examples.

    Args:
        case: A case of the form whose inputs have names.
    """
    rows = len(case["expected"]["item_id"])
    examples = [
        serialized(
            {
                name: values[row] if isinstance(values, list) else values
                for name, values in case["inputs"].items()
            }
        )
        for row in range(rows)
    ]
    name = f"{case['signature']}_examples"
    return {**case, "signature": name, "inputs": {"examples": examples}}


def unused_name(known: Sequence[str]) -> str:
    """Returns an id that nobody has."""
    name, taken = "nobody", set(known)
    while name in taken:
        name += "?"
    return name


def evenly(size: int, count: int) -> Int32s:
    """Returns at most `count` indices from 1 to size - 1, evenly apart."""
    places = np.linspace(1, size - 1, min(count, size - 1))
    return np.unique(places.astype(np.int32))
