"""An exported model in this process: lists and explanations for one user at a time."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfcausal.errors import InputError, unknown_name
from tfcausal.schema.manifest import read_manifest, require_input
from tfcausal.schema.vectors import Float32s
from tfcausal.serving.export import versions
from tfcausal.serving.item_index import ItemIndex, index_folder, load_index


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


class Recommender:
    """Answers as the exported model's signatures do, in plain Python."""

    def __init__(
        self, model: Any, causes: Mapping[str, slice], index: ItemIndex | None = None
    ) -> None:
        """Takes a loaded model, and the index to search through if there is one."""
        self._model = model
        self._index = index
        self.causes = dict(causes)

    def recommend(
        self,
        user_id: str,
        k: int = 10,
        weights: Mapping[str, float] | None = None,
        exclude: Collection[str] = (),
        *,
        exclude_seen: bool = True,
    ) -> list[Recommendation]:
        """Returns the best items of a user; of an unknown one the most popular items.

        Args:
            user_id: The user.
            k: Length of the list; shorter where there are no more items.
            weights: Cause to weight; do(cause = 0) is weight 0. The others keep 1.
            exclude: Item ids to leave out; unknown ones do nothing.
            exclude_seen: Whether to leave out what the user has seen.
        Returns:
            Items, best first.
        Raises:
            InputError: If k is below 1, a cause is unknown, or a weight is not finite
                or too large.
        """
        if k < 1:
            raise InputError(f"`k` must be at least 1; got {k}.")
        full = self._full_weights(weights or {})
        if self._index is not None and self.knows_user(user_id):
            return self._through_index(user_id, k, full, exclude, exclude_seen)
        answer = self._call(
            "recommend",
            user_id=tf.constant([user_id]),
            k=tf.constant(min(k, np.iinfo(np.int32).max)),
            exclude_item_id=tf.constant([["", *exclude]]),
            exclude_seen=tf.constant(exclude_seen),
            **{f"{cause}_weight": tf.constant([full[cause]]) for cause in self.causes},
        )
        return [
            Recommendation(
                answer["item_id"][0, place].decode(),
                float(answer["score"][0, place]),
                {
                    cause: float(answer[f"score_{cause}"][0, place])
                    for cause in self.causes
                },
            )
            for place in range(answer["count"][0])
        ]

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

    def knows_user(self, user_id: str) -> bool:
        """Returns whether the model was trained on the user."""
        answer = self._call("user_embedding", user_id=tf.constant([user_id]))
        return bool(answer["known_user"][0])

    def _through_index(
        self,
        user_id: str,
        k: int,
        weights: Mapping[str, float],
        exclude: Collection[str],
        exclude_seen: bool,
    ) -> list[Recommendation]:
        assert self._index is not None
        excluded = set(exclude)
        if exclude_seen:
            seen = self._model.seen_item_ids(tf.constant(user_id)).numpy().tolist()
            excluded |= {item.decode() for item in seen}
        answer = self._call("user_embedding", user_id=tf.constant([user_id]))
        queries: Float32s = answer["embedding"][0]
        for cause, part in self.causes.items():
            queries[:, part] *= np.float32(weights[cause])
        lists = self._index.search(queries, k, [excluded] * len(queries))
        found = sorted({item for one in lists for item, _ in one})
        if not found:
            return []
        vectors = self._call("item_embedding", item_id=tf.constant(found))["embedding"]
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
            for place in np.argsort(-best, kind="stable")[:k].tolist()
        ]

    def _full_weights(self, weights: Mapping[str, float]) -> dict[str, float]:
        for cause, weight in weights.items():
            if cause not in self.causes:
                raise unknown_name("cause", cause, self.causes)
            if not abs(weight) <= float(np.finfo(np.float32).max):
                raise InputError(
                    f"The weight of `{cause}` must be finite; got {weight}."
                )
        return dict.fromkeys(self.causes, 1.0) | dict(weights)

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


def load(model_dir: Path, *, index: bool = False) -> Recommender:
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
    version = find_version(model_dir)
    manifest = read_manifest(version, kind="export")
    bounds = sorted(manifest.details["causes"].items(), key=lambda part: part[1])
    causes = {cause: slice(*part) for cause, part in bounds}
    opened = None
    if index:
        folder = index_folder(version)
        opened = load_index(folder)
        promised = read_manifest(folder, kind="index")
        require_input(promised, "export", manifest.fingerprint, folder)
    return Recommender(tf.saved_model.load(str(version)), causes, opened)


def find_version(model_dir: Path) -> Path:
    """Returns `model_dir`, or its last version where it is a model's folder.

    Raises:
        InputError: If it is neither.
    """
    if (model_dir / "saved_model.pb").is_file():
        return model_dir
    found = versions(model_dir)
    if not found:
        raise InputError(
            f"`{model_dir}` must be an exported model or one version of it; it is not. "
            "Run `tfcausal export` first."
        )
    return model_dir / str(found[-1])
