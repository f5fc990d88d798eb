"""An exported model in this process: lists and explanations for one user at a time."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfcausal.errors import InputError
from tfcausal.schema.exported import causes_of, find_version, ids_file
from tfcausal.schema.interventions import applied_weights
from tfcausal.schema.manifest import read_manifest, require_input
from tfcausal.schema.vectors import Float32s
from tfcausal.serving.index_files import read_ids
from tfcausal.serving.live_index import LiveIndex
from tfcausal.serving.presets import Presets
from tfcausal.serving.versions import index_folder


class Recommendation(NamedTuple):
    """One item of a list.

    Attributes:
        item_id: The item.
        score: Its score; the item's popularity where the user is unknown.
        causes: Cause to its weighted term of the score.
    """

    item_id: str
    score: float
    causes: dict[str, float]


class LeftOut(NamedTuple):
    """What an item would have, were one place of the history empty.

    Attributes:
        item_id: What stands in the place.
        score_without: The item's score then; None where nothing known is left.
        rank_without: The item's rank then; by popularity where nothing known is left.
    """

    item_id: str
    score_without: float | None
    rank_without: int


class HistoryExplanation(NamedTuple):
    """What the items of a history do for one item.

    Attributes:
        item_id: The item.
        score: Its score.
        rank: Its rank among all items, those of the history too; 1 is the best.
        history: The places of the history, in order.
    """

    item_id: str
    score: float
    rank: int
    history: list[LeftOut]


@dataclass(frozen=True)
class Asker:
    """Whom a list is for; `Recommender.user` and `Recommender.history` make it.

    Attributes:
        suffix: What the signatures that take them have behind their names.
        known: The output that says whether the model knows them.
        inputs: What names them to a signature.
        seen: Reads the ids of the items that they have met.
    """

    suffix: str
    known: str
    inputs: Mapping[str, tf.Tensor]
    seen: Callable[[], Sequence[str]]


@dataclass(frozen=True)
class _Wishes:
    """What a list is to be like; see `Recommender.recommend`."""

    k: int
    exclude: Collection[str] = ()
    allow: Collection[str] = ()
    exclude_seen: bool = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"`k` must be at least 1; got {self.k}.")


class Recommender:
    """Answers as the exported model's signatures do, in plain Python.

    Attributes:
        index: What lists are searched in, None for the model itself. Items that are
            upserted into it are listed, deleted ones are not.
        causes: Cause to its coordinates.
    """

    def __init__(
        self,
        model: Any,
        causes: Mapping[str, slice],
        presets: Presets,
        index: LiveIndex | None = None,
        items: Sequence[str] = (),
    ) -> None:
        """Takes a loaded model, and the index to search through if there is one.

        Args:
            model: The loaded SavedModel.
            causes: Cause to its coordinates.
            presets: Weights of causes by name.
            index: What known users' lists are searched in.
            items: The model's items, where there is an index.
        """
        self._items = items
        self._gone: tuple[Any, list[str]] = (None, [])
        self._model = model
        self.index = index
        self.causes = dict(causes)
        self.presets = {name: dict(one) for name, one in presets.items()}

    def applied_weights(
        self, weights: Mapping[str, float], do: str = ""
    ) -> dict[str, float]:
        """Returns the weight of every cause: those of a preset, times the given ones.

        Args:
            weights: Cause to weight; the others keep 1.
            do: Name of one of `presets`, or "".
        Raises:
            InputError: If there is no such cause or preset, or a weight is not finite.
        """
        return applied_weights(self.causes, self.presets, weights, do)

    def recommend(
        self,
        user_id: str,
        k: int = 10,
        weights: Mapping[str, float] | None = None,
        exclude: Collection[str] = (),
        *,
        allow: Collection[str] = (),
        exclude_seen: bool = True,
        do: str = "",
    ) -> list[Recommendation]:
        """Returns the best items of a user; of an unknown one the most popular items.

        Args:
            user_id: The user.
            k: Length of the list; shorter where there are no more items.
            weights: Cause to weight; do(cause = 0) is weight 0. The others keep 1.
            exclude: Item ids to leave out; unknown ones do nothing.
            allow: Item ids that the list is made of; empty for all.
            exclude_seen: Whether to leave out what the user has seen.
            do: Name of one of `presets`, which the weights then multiply.
        Returns:
            Items, best first.
        Raises:
            InputError: If k is below 1, a cause or a preset is unknown, or a weight is
                not finite or too large.
        """
        full = self.applied_weights(weights or {}, do)
        wishes = _Wishes(k, exclude, allow, exclude_seen)
        return self._listed(self.user(user_id), full, wishes)

    def recommend_history(
        self,
        history: Sequence[str],
        k: int = 10,
        weights: Mapping[str, float] | None = None,
        exclude: Collection[str] = (),
        *,
        allow: Collection[str] = (),
        exclude_seen: bool = True,
        do: str = "",
    ) -> list[Recommendation]:
        """Returns the best items after a history; the most popular if none is known.

        Args:
            history: Item ids, the latest last; unknown ones are passed over.
            k: Length of the list; shorter where there are no more items.
            weights: Cause to weight; do(cause = 0) is weight 0. The others keep 1.
            exclude: Item ids to leave out; unknown ones do nothing.
            allow: Item ids that the list is made of; empty for all.
            exclude_seen: Whether to leave out all items of the history.
            do: Name of one of `presets`, which the weights then multiply.
        Returns:
            Items, best first.
        Raises:
            InputError: If the model takes no histories, k is below 1, a cause or a
                preset is unknown, or a weight is not finite or too large.
        """
        full = self.applied_weights(weights or {}, do)
        wishes = _Wishes(k, exclude, allow, exclude_seen)
        return self._listed(self.history(history), full, wishes)

    def explain(self, user_id: str, item_id: str) -> Recommendation:
        """Returns the score of an item for a user and each cause's term of it.

        Raises:
            InputError: If the user or the item is unknown.
        """
        if not self.knows_user(user_id):
            raise InputError(
                f"`user` must be one the model was trained on; got {user_id}. Unknown "
                "users are answered by popularity, which has no causes."
            )
        answer = self._call(
            "explain", user_id=tf.constant([user_id]), item_id=tf.constant([item_id])
        )
        causes = {cause: float(answer[f"score_{cause}"][0]) for cause in self.causes}
        return Recommendation(item_id, float(answer["score"][0]), causes)

    def explain_history(
        self, history: Sequence[str], item_id: str
    ) -> HistoryExplanation:
        """Returns an item's score after a history, and without each of its places.

        Args:
            history: Item ids, the latest last; leaving out an unknown one, or one that
                is too long ago to count, changes nothing.
            item_id: The item.
        Raises:
            InputError: If the model takes no histories, or knows no item of this one,
                or not the item.
        """
        answer = self._call(
            "explain_history",
            item_id=tf.constant([item_id]),
            **self.history(history).inputs,
        )
        if not answer["known_history"][0]:
            raise InputError(
                "`history` must have an item that the model knows; got "
                f"{', '.join(history) or 'none'}. Others are answered by popularity, "
                "whatever stands in them."
            )
        places = zip(
            history,
            answer["score_without"][0].tolist(),
            answer["rank_without"][0].tolist(),
            answer["known_without"][0].tolist(),
            strict=True,
        )
        return HistoryExplanation(
            item_id,
            float(answer["score"][0]),
            int(answer["rank"][0]),
            [
                LeftOut(left_out, score if known else None, rank)
                for left_out, score, rank, known in places
            ],
        )

    def knows_user(self, user_id: str) -> bool:
        """Returns whether the model was trained on the user."""
        return self.knows(self.user(user_id))

    def knows_history(self, history: Sequence[str]) -> bool:
        """Returns whether the model knows an item of the history.

        Raises:
            InputError: If the model takes no histories.
        """
        return self.knows(self.history(history))

    def knows(self, asker: Asker) -> bool:
        """Returns whether the model has learned something of whom a list is for."""
        return self._embedded(asker)[1]

    def lists(
        self, asker: Asker, k: int, weightings: Sequence[Mapping[str, float]]
    ) -> list[list[Recommendation]]:
        """Returns the lists of many weightings in one request, without what was met.

        The model answers them, also where an index was loaded.

        Args:
            asker: Whom they are for.
            k: Their length; shorter where there are no more items.
            weightings: Cause to weight, as `recommend` takes it, for each list.
        Returns:
            A list for each weighting.
        Raises:
            InputError: If k is below 1, a cause is unknown, or a weight is not finite
                or too large.
        """
        full = [self.applied_weights(one) for one in weightings]
        return self._answered(asker, _Wishes(k), full)

    def terms(self, asker: Asker, item_ids: Sequence[str]) -> dict[str, Float32s]:
        """Returns what each cause adds to the scores of items at weight 1.

        Args:
            asker: Whom the scores are for.
            item_ids: The items.
        Returns:
            Cause to [num_queries, n] float32; the score is the largest sum over a
            query's terms.
        Raises:
            InputError: If an item is unknown.
        """
        queries, _ = self._embedded(asker)
        answer = self._call("item_embedding", item_id=tf.constant(item_ids, tf.string))
        vectors = answer["embedding"]
        return {
            cause: queries[:, part] @ vectors[:, part].T
            for cause, part in self.causes.items()
        }

    def user(self, user_id: str) -> Asker:
        """Returns a user as one whom lists are for, known or not."""

        def seen() -> list[str]:
            ids = self._model.seen_item_ids(tf.constant(user_id)).numpy().tolist()
            return [item.decode() for item in ids]

        return Asker("", "known_user", {"user_id": tf.constant([user_id])}, seen)

    def history(self, history: Sequence[str]) -> Asker:
        """Returns whoever has met these items, the latest last, likewise.

        Raises:
            InputError: If the model takes no histories.
        """
        if "recommend_of_history" not in self._model.signatures:
            raise InputError(
                "`history` must be given to a model whose users are histories; the "
                "users of this one are ids. Give a user, or export a run of a method "
                "of histories."
            )
        rows = tf.constant([list(history)], tf.string)
        return Asker("_of_history", "known_history", {"history": rows}, lambda: history)

    def _embedded(self, asker: Asker) -> tuple[Float32s, bool]:
        """Returns [num_queries, dim], and whether the model knows whose they are."""
        answer = self._call(f"user_embedding{asker.suffix}", **asker.inputs)
        return answer["embedding"][0], bool(answer[asker.known][0])

    def _listed(
        self, asker: Asker, weights: Mapping[str, float], wishes: _Wishes
    ) -> list[Recommendation]:
        if self.index is not None:
            queries, known = self._embedded(asker)
            if known:
                met = asker.seen() if wishes.exclude_seen else ()
                return self._through_index(queries, weights, wishes, met)
            wishes = replace(wishes, exclude=[*wishes.exclude, *self._deleted()])
        return self._answered(asker, wishes, [weights])[0]

    def _deleted(self) -> list[str]:
        """Returns the model's items that the index no longer has."""
        assert self.index is not None
        index = self.index.snapshot()
        if self._gone[0] is not index:
            self._gone = (index, [item for item in self._items if item not in index])
        return self._gone[1]

    def _answered(
        self,
        asker: Asker,
        wishes: _Wishes,
        weightings: Sequence[Mapping[str, float]],
    ) -> list[list[Recommendation]]:
        """Returns what the model itself answers to full weights, a list for each."""
        rows = len(weightings)
        answer = self._call(
            f"recommend{asker.suffix}",
            k=tf.constant(min(wishes.k, np.iinfo(np.int32).max)),
            do=tf.fill([rows], ""),
            exclude_item_id=tf.constant([["", *wishes.exclude]] * rows),
            allow_item_id=tf.constant([["", *wishes.allow]] * rows),
            exclude_seen=tf.constant(wishes.exclude_seen),
            **{
                f"{cause}_weight": tf.constant(
                    [weights[cause] for weights in weightings], tf.float32
                )
                for cause in self.causes
            },
            **{
                name: tf.repeat(one, rows, axis=0) for name, one in asker.inputs.items()
            },
        )
        return [
            [
                Recommendation(
                    answer["item_id"][row, place].decode(),
                    float(answer["score"][row, place]),
                    {
                        cause: float(answer[f"score_{cause}"][row, place])
                        for cause in self.causes
                    },
                )
                for place in range(answer["count"][row])
            ]
            for row in range(rows)
        ]

    def _through_index(
        self,
        queries: Float32s,
        weights: Mapping[str, float],
        wishes: _Wishes,
        met: Collection[str],
    ) -> list[Recommendation]:
        assert self.index is not None
        # One state for the lists and the vectors, whatever changes in between.
        index = self.index.snapshot()
        for cause, part in self.causes.items():
            queries[:, part] *= np.float32(weights[cause])
        excluded = {*wishes.exclude, *met}
        lists = index.search(
            queries, wishes.k, [excluded] * len(queries), wishes.allow or None
        )
        found = sorted({item for one in lists for item, _ in one})
        if not found:
            return []
        vectors = index.vectors(found)
        scores = vectors @ queries.T
        winner = scores.argmax(axis=1)
        best = scores.max(axis=1)
        return [
            Recommendation(
                found[place],
                float(best[place]),
                {
                    cause: float(vectors[place, part] @ queries[winner[place], part])
                    for cause, part in self.causes.items()
                },
            )
            for place in np.argsort(-best, kind="stable")[: wishes.k].tolist()
        ]

    def _call(self, signature: str, **inputs: tf.Tensor) -> dict[str, Any]:
        try:
            answer = self._model.signatures[signature](**inputs)
        except tf.errors.InvalidArgumentError as error:
            _, assertion, message = str(error).partition("assertion failed: ")
            if not assertion:
                raise
            words = message.splitlines()[0].replace("[", "").replace("]", "")
            raise InputError(f"{words}.") from error
        return {name: value.numpy() for name, value in answer.items()}


def load(model_dir: Path | str, *, index: bool = False) -> Recommender:
    """Loads an exported model.

    Args:
        model_dir: `saved_models/NAME/VERSION`, or `saved_models/NAME` for its last.
        index: Whether to search through the ScaNN index beside it.
    Returns:
        The model; it stays in memory.
    Raises:
        InputError: If there is no exported model or no index of this very export.
        ImportError: If the index is asked for and ScaNN is not installed.
    """
    version = find_version(Path(model_dir))
    manifest = read_manifest(version, kind="export")
    opened = None
    if index:
        folder = index_folder(version)
        if not folder.exists():
            raise InputError(
                f"`{version}` must have an index to search through; it has none. Run "
                f"`tfcausal index --model={version}`."
            )
        opened = LiveIndex.open(folder)
        promised = read_manifest(folder, kind="index")
        require_input(promised, "export", manifest.fingerprint, folder)
    model = tf.saved_model.load(str(version))
    items = read_ids(ids_file(version, "items")) if index else []
    presets = manifest.details["presets"]
    return Recommender(model, causes_of(manifest), presets, opened, items)
