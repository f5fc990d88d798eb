"""What an exported model must answer, computed from the vectors without it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tfcausal.evaluation.ranking import ItemLists, rank_all
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.vectors import CausalVectors, Float32s
from tfcausal.stats.negatives import Int32s, Int64s
from tfcausal.stats.selection import Bools

_MORE_PLACES = 50
"""Places beyond k, so that nearly equal scores may change places."""


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
    """

    vectors: CausalVectors
    users: Sequence[str]
    items: Sequence[str]
    seen: ItemLists
    popularity: Int64s
    known: Bools

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
        nobody: list[list[str]] = [[] for _ in asked]
        usual = self.lists(indices, ones, k, nobody, exclude_seen=True)
        cases = [
            {
                "signature": "serving_default",
                "inputs": {"user_id": asked},
                "expected": {name: usual[name] for name in ("item_id", "score")},
            }
        ]
        best = [[row[0], "", "\N{REPLACEMENT CHARACTER}"] for row in usual["item_id"]]
        requests = [(ones, best, True, k)]
        for cause in self.vectors.causes:
            varied = np.linspace(0, 2, len(asked))
            requests.append((ones | {cause: varied}, best, False, k + 1))
        for weights, excluded, exclude_seen, length in requests:
            cases.append(
                {
                    "signature": "recommend",
                    "inputs": {
                        "user_id": asked,
                        "k": length,
                        "exclude_item_id": excluded,
                        "exclude_seen": exclude_seen,
                        **{
                            f"{cause}_weight": weight.tolist()
                            for cause, weight in weights.items()
                        },
                    },
                    "expected": self.lists(
                        indices, weights, length, excluded, exclude_seen=exclude_seen
                    ),
                }
            )
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

    def lists(
        self,
        users: Int32s,
        weights: Mapping[str, Any],
        k: int,
        excluded: Sequence[Sequence[str]],
        *,
        exclude_seen: bool,
    ) -> dict[str, Any]:
        """Returns what `recommend` must, with lists of at most k + 50 places.

        Args:
            users: [n] int32 whom the lists are for.
            weights: Each cause to [n] weights.
            k: Length of the lists.
            excluded: Ids of items that each list leaves out.
            exclude_seen: Whether lists leave out what their users have seen.
        """
        vectors, num_items = self.vectors, len(self.items) - 1
        scale = np.ones((len(users), 1, vectors.dim), np.float32)
        for cause, weight in weights.items():
            scale[:, :, vectors.causes[cause]] = weight[:, None, None]
        queries = vectors.queries[users] * scale
        masked = []
        for user, names in zip(users, excluded, strict=True):
            found = [self._item_index.get(name, UNKNOWN_INDEX) for name in names]
            if exclude_seen:
                found += self.seen.of(np.asarray([user]))[1].tolist()
            masked.append(np.unique([UNKNOWN_INDEX, *found]).astype(np.int32))
        lists = ItemLists(
            np.cumsum([0, *map(len, masked)]), np.concatenate(masked, dtype=np.int32)
        )
        rows = np.arange(len(users), dtype=np.int32)
        depth = min(k + _MORE_PLACES, num_items)
        scored = CausalVectors(queries, vectors.candidates, vectors.causes)
        blocks = list(rank_all(scored, rows, lists, depth))
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
