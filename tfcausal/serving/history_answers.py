"""What the signatures that take histories must answer, computed without them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfcausal.evaluation.ranking import ItemLists
from tfcausal.methods.histories import HistoryMethod
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.vectors import CausalVectors, Float32s
from tfcausal.serving.live_answers import (
    LiveAnswers,
    Wishes,
    evenly,
    in_examples,
    unused_name,
)
from tfcausal.stats.negatives import Int32s
from tfcausal.stats.sequences import PAD


@dataclass(frozen=True)
class HistoryAnswers:
    """Answers by the encoder as training had it, from items instead of ids.

    Attributes:
        method: The model, with its encoder.
        live: Answers by id, from vectors that are calibrated or as trained.
        calibrated: Makes such vectors of those as trained.
    """

    method: HistoryMethod
    live: LiveAnswers
    calibrated: Callable[[CausalVectors], CausalVectors]

    def cases(self, k: int) -> list[dict[str, Any]]:
        """Returns requests to every signature of histories with their answers.

        Histories are of all lengths from none to more than the model keeps, one of
        them with an unknown id and an empty one between its items. Explanations are
        asked of the shortest, as they score all items once for each place.

        Args:
            k: Length of the lists.
        Returns:
            Cases as `check_saved_model` reads them.
        """
        longest = self.method.options.max_length + 3
        known = evenly(len(self.live.items), 2 * longest)
        rows = [np.resize(known, length) for length in (0, 1, 2, longest // 2, longest)]
        stranger = unused_name(self.live.items)
        texts = [[self.live.items[item] for item in row.tolist()] for row in rows]
        texts[2][1:1] = [stranger, ""]
        width = max(map(len, texts))
        given = [[*row, *[""] * (width - len(row))] for row in texts]
        histories = np.full((len(rows), longest), PAD, np.int32)
        for place, row in enumerate(rows):
            histories[place, : len(row)] = row
        is_known = [bool(len(row)) for row in rows]
        queries = self._queries(histories)
        mixed = texts[2]
        listed = self._lists(given, rows, queries, k)
        return [
            {
                "signature": "user_embedding_of_history",
                "inputs": {"history": given},
                "expected": {
                    "embedding": queries.tolist(),
                    "known_history": is_known,
                },
            },
            listed,
            in_examples(listed),
            # Apart, or popularity would say how nearly other scores must agree.
            self._explanations([[""]]),
            self._explanations([texts[1]]),
            self._explanations([mixed, mixed[::-1]]),
        ]

    def _lists(
        self,
        given: list[list[str]],
        rows: list[Int32s],
        queries: Float32s,
        k: int,
    ) -> dict[str, Any]:
        # Whoever has nothing is the unknown user, and gets what is popular.
        places = np.asarray(
            [place + 1 if len(row) else 0 for place, row in enumerate(rows)]
        )
        met = [np.unique(row) for row in [rows[0], *rows]]
        answers = replace(
            self.live,
            vectors=replace(
                self.live.vectors,
                queries=np.concatenate([np.zeros_like(queries[:1]), queries]),
            ),
            users=["", *map(str, range(len(rows)))],
            seen=ItemLists(
                np.cumsum([0, *map(len, met)]),
                np.concatenate(met).astype(np.int32),
            ),
        )
        weights = {
            cause: np.linspace(0, 2, len(rows)) if place else np.ones(len(rows))
            for place, cause in enumerate(self.live.vectors.causes)
        }
        excluded = [[self.live.items[-1], ""] for _ in rows]
        nothing = [[""] for _ in rows]
        wishes = Wishes(k, weights, excluded, nothing, exclude_seen=True)
        lists = answers.lists(places.astype(np.int32), wishes)
        lists["known_history"] = lists.pop("known_user")
        return {
            "signature": "recommend_of_history",
            "inputs": {"history": given, **wishes.inputs()},
            "expected": lists,
        }

    def _explanations(self, given: list[list[str]]) -> dict[str, Any]:
        """Returns a request for scores with each place, and what must come.

        Of each history the item is asked for whose scores stand farthest from others,
        so that its ranks do not hang on rounding.
        """
        index = {item: place for place, item in enumerate(self.live.items)}
        asked = []
        found: dict[str, list[Any]] = {"score": [], "rank": [], "known": []}
        for row in given:
            variants = [row] + [
                [*row[:place], "", *row[place + 1 :]] for place in range(len(row))
            ]
            items = np.asarray(
                [[index.get(one, PAD) for one in variant] for variant in variants],
                np.int32,
            )
            known = (items != PAD).any(axis=1)
            queries = self._queries(items)
            scores = (queries @ self.live.vectors.candidates.T).max(axis=1)
            scores[~known] = self.live.popularity
            asked.append(_farthest_apart(scores, known))
            own = scores[:, asked[-1], None]
            found["score"].append(own[:, 0])
            found["rank"].append(1 + (scores[:, UNKNOWN_INDEX + 1 :] > own).sum(axis=1))
            found["known"].append(known)
        score, rank, known = (np.asarray(values) for values in found.values())
        return {
            "signature": "explain_history",
            "inputs": {
                "history": given,
                "item_id": [self.live.items[item] for item in asked],
            },
            "expected": {
                "score": score[:, 0].tolist(),
                "score_without": score[:, 1:].tolist(),
                "rank": rank[:, 0].tolist(),
                "rank_without": rank[:, 1:].tolist(),
                "known_history": known[:, 0].tolist(),
                "known_without": known[:, 1:].tolist(),
            },
        }

    def _queries(self, histories: Int32s) -> Float32s:
        """Returns the queries of the last items of histories, [n, num_queries, dim]."""
        length = self.method.options.max_length
        lasts = np.full((len(histories), length), PAD, np.int32)
        for place, row in enumerate(histories):
            last = row[row != PAD][-length:]
            lasts[place, : len(last)] = last
        trained = self.method.queries_of(tf.constant(lasts)).numpy()
        dim = trained.shape[2]
        return self.calibrated(
            CausalVectors(
                trained,
                self.live.vectors.candidates[:, :dim],
                self.method.causes(),
            )
        ).queries


def _farthest_apart(scores: Float32s, matters: npt.NDArray[np.bool_]) -> int:
    """Returns the known item whose score is farthest from all others in some rows.

    Args:
        scores: [n, num_items] float32.
        matters: [n] bool, which rows they are.
    """
    order = np.argsort(scores, axis=1)
    steps = np.diff(np.take_along_axis(scores, order, axis=1), axis=1)
    either_side = np.pad(steps, ((0, 0), (1, 1)), constant_values=np.inf)
    gaps = np.empty_like(scores)
    np.put_along_axis(
        gaps, order, np.minimum(either_side[:, :-1], either_side[:, 1:]), axis=1
    )
    gaps[~matters] = np.inf
    return UNKNOWN_INDEX + 1 + int(gaps[:, UNKNOWN_INDEX + 1 :].min(axis=0).argmax())
