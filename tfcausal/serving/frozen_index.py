"""An exported model whose lists ScaNN's operation finds, for servers that have it.

    saved_models/NAME-scann/VERSION/    a model of its own beside saved_models/NAME

It has the signatures `serving_default`, `recommend` and `recommend_examples` of the
stock model, with the same inputs and outputs. Stock TensorFlow Serving cannot load it:
the operation has to be built into the server.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.exported import ids_file
from tfcausal.schema.folders import refuse_existing, staged_folder
from tfcausal.schema.manifest import (
    Manifest,
    checksums,
    library_versions,
    read_manifest,
    require_input,
    write_manifest,
)
from tfcausal.serving.exact_search import Limits
from tfcausal.serving.export import read_back, verify
from tfcausal.serving.index_files import (
    read_ids,
    read_index,
    require_as_built,
    write_ids,
)
from tfcausal.serving.item_index import IndexedItems
from tfcausal.serving.live_answers import LiveAnswers
from tfcausal.serving.presets import Presets
from tfcausal.serving.scann_searcher import PARTS, part_tensors, scann_ops, searcher_of
from tfcausal.serving.signatures import ServingModel
from tfcausal.serving.versions import frozen_folder, index_folder
from tfcausal.serving.warmup import write_warmup

SIGNATURES = ("serving_default", "recommend", "recommend_examples")
OPERATIONS = "scann.scann_ops.py.scann_ops"
"""The module whose import brings the operation into a Python process."""
_SOUND = 0.8


class FrozenServingModel(ServingModel):
    """Searches the catalogue by ScaNN; everything else is as in the stock model.

    Exclusion is a true mask: as many more items are fetched as are excluded, those are
    taken out, and where the leaves that are looked into held too few others, all are.
    A request that allows certain items alone is answered by exact search: those few
    need not be among any number of nearest ones.
    """

    def __init__(self, base: IndexedItems, name: str, **stock: Any) -> None:
        """Makes the model's variables and tables.

        Args:
            base: The index of the items; row r is item r + 1.
            name: What no other index has: all signatures of the models of a process
                that say it share one searcher.
            stock: What `ServingModel` takes.
        """
        super().__init__(**stock)
        self._name_of_searcher = f"tfcausal-{name}"
        self._settings = base.searcher.settings
        parts = base.searcher.parts()
        self.vectors = tf.Variable(base.vectors, trainable=False, name="vectors")
        # What is absent is a constant, which a variable of no size could not be.
        self.parts = {
            name: tf.Variable(part, trainable=False, name=name)
            for name, part in zip(PARTS, part_tensors(parts), strict=True)
            if name in parts
        }
        popularity = stock["popularity"][UNKNOWN_INDEX + 1 :]
        order = np.argsort(-popularity, kind="stable")
        self.popular = tf.Variable(
            order + UNKNOWN_INDEX + 1, trainable=False, name="popular"
        )
        self.popularity = tf.Variable(
            popularity[order].astype(np.float32), trainable=False, name="popularity"
        )

    def signatures(self) -> dict[str, Any]:
        """Returns the concrete functions for `tf.saved_model.save`, by name."""
        found = super().signatures()
        return {name: found[name] for name in SIGNATURES}

    def _search(
        self, queries: tf.Tensor, users: tf.Tensor, limits: Limits, k: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        exact = super()._search

        def searched() -> tuple[tf.Tensor, tf.Tensor]:
            scores, items = self._nearest_left(queries, users, limits.hidden, k)
            return scores, tf.cast(items, tf.int32)

        scores, items = tf.cond(
            tf.reduce_any(limits.limited),
            lambda: exact(queries, users, limits, k),
            searched,
        )
        return scores, items

    def _nearest_left(
        self, queries: tf.Tensor, users: tf.Tensor, hidden: tf.Tensor, k: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns scores and items, [B, k], of what is not hidden."""
        batch = tf.shape(users, tf.int64)[0]
        keys = tf.sort(hidden[:, 0] * self._num_items + hidden[:, 1])
        # An item that is named twice counts twice: a few more are fetched then.
        named = tf.cast(hidden[:, 1] != UNKNOWN_INDEX, tf.int32)
        left_out = tf.math.unsorted_segment_sum(named, hidden[:, 0], batch)
        depth = tf.minimum(k + tf.reduce_max(left_out), self._num_items - 1)
        absent = part_tensors({})
        searcher = searcher_of(
            tf.convert_to_tensor(self.vectors),
            [
                tf.convert_to_tensor(self.parts.get(name, default))
                for name, default in zip(PARTS, absent, strict=True)
            ],
            self._name_of_searcher,
        )

        def found(*, everywhere: bool) -> tuple[tf.Tensor, tf.Tensor]:
            return self._found(searcher, queries, users, keys, k, depth, everywhere)

        usual = found(everywhere=False)
        if not self._settings.num_leaves:
            return usual
        scores, items = tf.cond(
            tf.reduce_all(usual[0] > -np.inf),
            lambda: usual,
            lambda: found(everywhere=True),
        )
        return scores, items

    def _found(
        self,
        searcher: tf.Tensor,
        queries: tf.Tensor,
        users: tf.Tensor,
        keys: tf.Tensor,
        k: tf.Tensor,
        depth: tf.Tensor,
        everywhere: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns scores and items, [B, k], of the `depth` nearest of each query."""
        scores, items = self._nearest(searcher, queries, depth, everywhere)
        num_queries = queries.shape[1]
        strange = (users == UNKNOWN_INDEX)[:, None]
        popular = tf.tile(self.popular[None, :depth], [1, num_queries])
        items = tf.where(strange, popular, items)
        popularity = tf.tile(self.popularity[None, :depth], [1, num_queries])
        scores = tf.where(strange, popularity, scores)
        owners = tf.range(tf.shape(users, tf.int64)[0])[:, None]
        masked = _among(owners * self._num_items + items, keys)
        scores = tf.where(masked, -np.inf, scores)
        if num_queries != 1:
            scores, items = _each_once(scores, items)
        best, places = tf.math.top_k(scores, k)
        return best, tf.gather(items, places, batch_dims=1)

    def _nearest(
        self,
        searcher: tf.Tensor,
        queries: tf.Tensor,
        depth: tf.Tensor,
        everywhere: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns scores and items of each user, [B, num_queries * depth]."""
        leaves, reorder = tf.constant(-1), tf.constant(-1)
        if self._settings.num_leaves:
            leaves = tf.constant(
                self._settings.num_leaves
                if everywhere
                else self._settings.leaves_to_search
            )
            reorder = tf.maximum(
                depth, self._num_items if everywhere else self._settings.reorder
            )
        batch, num_queries = tf.shape(queries)[0], queries.shape[1]
        flat = tf.reshape(queries[:, :, : self._dim], [batch * num_queries, self._dim])
        # No threads of its own: a server has a request for each of its threads.
        rows, scores = scann_ops().scann_search_batched(
            searcher, flat, depth, reorder, leaves, False
        )
        # ScaNN's operation says nothing of its shapes, and its rows are as long as what
        # the leaves held.
        missing = [[0, 0], [0, depth - tf.shape(rows)[1]]]
        scores = tf.where(tf.math.is_nan(scores), -np.inf, scores)
        scores = tf.pad(scores, missing, constant_values=-np.inf)
        items = tf.pad(tf.cast(rows, tf.int64) + UNKNOWN_INDEX + 1, missing)
        shape = [batch, num_queries * depth]
        return tf.reshape(scores, shape), tf.reshape(items, shape)


def build_frozen_index(version: Path, *, overwrite: bool = False) -> Path:
    """Writes the SavedModel of an export and its index, and checks it afresh.

    Args:
        version: Folder of an exported version that `build_index` has indexed.
        overwrite: Whether a frozen index that is there may be replaced.
    Returns:
        `saved_models`/NAME-scann/VERSION, for `saved_models`/NAME/VERSION.
    Raises:
        InputError: If there is no export, or no index of this very export.
        ImportError: If ScaNN is not installed.
        RuntimeError: If it does not answer as it must; then nothing is written.
    """
    version = version.resolve()
    target = frozen_folder(version)
    require_free(target, overwrite=overwrite)
    manifest = read_manifest(version, kind="export")
    folder = index_folder(version)
    promised = read_manifest(folder, kind="index")
    require_input(promised, "export", manifest.fingerprint, folder)
    require_as_built(folder, promised)
    index = read_index(folder, promised)
    live = _live_answers(version, index.base.items, manifest.details["presets"])
    k = manifest.options["k"]
    with staged_folder(target, overwrite=overwrite) as partial:
        _write(partial, index.base, promised.fingerprint, live, k)
        signatures = tf.saved_model.load(str(partial)).signatures
        cases = _sound_cases(signatures, live.cases(k))
        write_warmup(partial, target.parent.name, signatures, cases)
        verify(partial, cases, modules=[OPERATIONS])
        write_manifest(
            partial,
            Manifest(
                kind="frozen_index",
                options={"k": k},
                counts={"items": len(index)},
                inputs={"export": manifest.fingerprint, "index": promised.fingerprint},
                files=checksums(partial),
                details={
                    name: manifest.details[name] for name in ("causes", "presets")
                },
                versions=library_versions("tensorflow", "scann", "numpy"),
            ),
        )
    return target


def require_free(target: Path, *, overwrite: bool) -> None:
    """Raises InputError unless a frozen index may be written there."""
    if not overwrite:
        refuse_existing(target)
    elif target.exists():
        # An older export may have that name.
        read_manifest(target, kind="frozen_index")


def _live_answers(version: Path, items: Sequence[str], presets: Presets) -> LiveAnswers:
    vectors, seen, popularity = read_back(version)
    known = tf.saved_model.load(str(version)).known.numpy()
    users = read_ids(ids_file(version, "users"))
    return LiveAnswers(
        vectors, ["", *users], ["", *items], seen, popularity, known, presets
    )


def _write(
    folder: Path, base: IndexedItems, name: str, live: LiveAnswers, k: int
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        users, items = Path(scratch, "users.txt"), Path(scratch, "items.txt")
        write_ids(users, live.users[UNKNOWN_INDEX + 1 :])
        write_ids(items, live.items[UNKNOWN_INDEX + 1 :])
        model = FrozenServingModel(
            base,
            name,
            vectors=live.vectors,
            users=users,
            items=items,
            seen=live.seen,
            popularity=live.popularity,
            known=live.known,
            presets=live.presets,
            k=k,
        )
        tf.saved_model.save(model, str(folder), signatures=model.signatures())


def _sound_cases(
    signatures: Mapping[str, Any], exact: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Returns requests with a model's answers, of requests with the exact ones.

    Raises:
        RuntimeError: If less than most of what is found is in the exact lists. The
            index has shown its recall before; this finds rows that were mixed up.
    """
    asked = [case for case in exact if case["signature"] in signatures]
    cases = [{**case, "expected": _answer(signatures, case)} for case in asked]
    hits = total = 0
    for wanted, case in zip(asked, cases, strict=True):
        served = case["expected"]["item_id"]
        for best, listed in zip(wanted["expected"]["item_id"], served, strict=True):
            exact_places = {item for item in best[: len(listed)] if item}
            hits += len({item for item in listed if item} & set(best))
            total += len(exact_places)
    if hits < _SOUND * total:
        raise RuntimeError(
            f"The frozen index must list what exact search does; {hits} of {total} "
            "items are right, and it was not kept."
        )
    return cases


def _answer(signatures: Mapping[str, Any], case: Mapping[str, Any]) -> dict[str, Any]:
    signature = signatures[case["signature"]]
    specs = signature.structured_input_signature[1]
    answer = signature(
        **{
            name: tf.constant(values, specs[name].dtype)
            for name, values in case["inputs"].items()
        }
    )
    lists = {name: value.numpy() for name, value in answer.items()}
    ids = [[item.decode() for item in row] for row in lists["item_id"].tolist()]
    return {name: value.tolist() for name, value in lists.items()} | {"item_id": ids}


def _among(values: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
    """Returns which values are among keys that ascend, as bool of values' shape."""
    flat = tf.reshape(values, [-1])
    # A last key that no value has, so that every place is one of the keys.
    ended = tf.concat([keys, [keys.dtype.max]], axis=0)
    places = tf.searchsorted(ended, flat)
    return tf.reshape(tf.gather(ended, places) == flat, tf.shape(values))


def _each_once(scores: tf.Tensor, items: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the same lists, [B, width], with -inf for all of an item but its best."""
    by_score = tf.argsort(scores, axis=1, direction="DESCENDING", stable=True)
    items = tf.gather(items, by_score, batch_dims=1)
    scores = tf.gather(scores, by_score, batch_dims=1)
    by_item = tf.argsort(items, axis=1, stable=True)
    items = tf.gather(items, by_item, batch_dims=1)
    scores = tf.gather(scores, by_item, batch_dims=1)
    again = tf.pad(items[:, 1:] == items[:, :-1], [[0, 0], [1, 0]])
    return tf.where(again, -np.inf, scores), items
