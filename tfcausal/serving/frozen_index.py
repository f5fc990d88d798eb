"""An exported model whose lists ScaNN's operation finds, for servers that have it.

    saved_models/NAME-scann/VERSION/    a model of its own beside saved_models/NAME

It has the signatures `serving_default`, `recommend` and `recommend_examples` of the
stock model, with the same inputs and outputs. Stock TensorFlow Serving cannot load it:
the operation has to be built into the server.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
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
Ranked = tuple[tf.Tensor, tf.Tensor]
"""Scores and items, float32 and integers of one shape."""
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
    ) -> Ranked:
        exact = super()._search
        batch, hidden = tf.shape(users, tf.int64)[0], limits.hidden
        keys = tf.sort(hidden[:, 0] * self._num_items + hidden[:, 1])
        # An item that is named twice counts twice: a few more are fetched then.
        named = tf.cast(hidden[:, 1] != UNKNOWN_INDEX, tf.int32)
        left_out = tf.math.unsorted_segment_sum(named, hidden[:, 0], batch)
        # The largest of nothing is the smallest integer: nobody may ask.
        most = tf.maximum(tf.reduce_max(left_out), 0)
        depth = tf.minimum(k + most, self._num_items - 1)
        searcher = self._searcher()

        def nearest(*, everywhere: bool) -> Ranked:
            return self._nearest(searcher, queries, depth, everywhere)

        def left(ranked: Ranked) -> Ranked:
            return self._left(ranked, queries, keys, k)

        near = nearest(everywhere=False)
        usual = left(near)
        short = tf.constant(False)
        if self._settings.num_leaves:
            short = ~tf.reduce_all(usual[0] > -np.inf)
        strange = users == UNKNOWN_INDEX

        def of_all() -> Ranked:
            found = _either(short, lambda: nearest(everywhere=True), lambda: near)
            return left(self._popular_for(strange, found, depth))

        # One decision on the usual way: each costs as much as some twenty operations.
        seldom = short | tf.reduce_any(strange)
        if limits.limited is None:
            return _either(seldom, of_all, lambda: usual)
        limited = tf.reduce_any(limits.limited)
        return _either(
            limited | seldom,
            lambda: _either(limited, lambda: exact(queries, users, limits, k), of_all),
            lambda: usual,
        )

    def _searcher(self) -> tf.Tensor:
        absent = part_tensors({})
        return searcher_of(
            tf.convert_to_tensor(self.vectors),
            [
                tf.convert_to_tensor(self.parts.get(name, default))
                for name, default in zip(PARTS, absent, strict=True)
            ],
            self._name_of_searcher,
        )

    def _popular_for(
        self, strange: tf.Tensor, found: Ranked, depth: tf.Tensor
    ) -> Ranked:
        """Returns what was found, but for strange users the most popular items.

        Args:
            strange: [B] bool.
            found: [B, num_queries * depth] each.
            depth: [] int32.
        """
        scores, items = found
        strangers = strange[:, None]
        copies = [1, tf.shape(items)[1] // depth]
        return (
            tf.where(strangers, tf.tile(self.popularity[None, :depth], copies), scores),
            tf.where(strangers, tf.tile(self.popular[None, :depth], copies), items),
        )

    def _left(
        self, found: Ranked, queries: tf.Tensor, keys: tf.Tensor, k: tf.Tensor
    ) -> Ranked:
        """Returns the k best of each row that are not hidden, [B, k]."""
        scores, items = found
        owners = tf.range(tf.shape(items, tf.int64)[0])[:, None]
        masked = _among(owners * self._num_items + items, keys)
        scores = tf.where(masked, -np.inf, scores)
        if queries.shape[1] != 1:
            there = scores > -np.inf
            items = tf.where(there, items, tf.cast(UNKNOWN_INDEX, items.dtype))
            # The query that scores an item highest may not have found it.
            _, highest = self._terms(queries, items)
            scores, items = _each_once(tf.where(there, highest, scores), items)
        best, places = tf.math.top_k(scores, k)
        return best, tf.cast(tf.gather(items, places, batch_dims=1), tf.int32)

    def _nearest(
        self,
        searcher: tf.Tensor,
        queries: tf.Tensor,
        depth: tf.Tensor,
        everywhere: bool,
    ) -> Ranked:
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
        count = batch * num_queries
        flat = tf.reshape(queries[:, :, : self._dim], [count, self._dim])
        # The operation refuses to search for nobody.
        flat = tf.pad(flat, [[0, tf.cast(tf.equal(count, 0), tf.int32)], [0, 0]])
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
        return tf.reshape(scores[:count], shape), tf.reshape(items[:count], shape)


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
    with staged_folder(target, "frozen_index", overwrite=overwrite) as partial:
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


def _either(
    condition: tf.Tensor, one: Callable[[], Ranked], other: Callable[[], Ranked]
) -> Ranked:
    scores, items = tf.cond(condition, one, other)
    return scores, items


def _among(values: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
    """Returns which values are among keys that ascend, as bool of values' shape."""
    flat = tf.reshape(values, [-1])
    # A last key that no value has, so that every place is one of the keys.
    ended = tf.concat([keys, [keys.dtype.max]], axis=0)
    places = tf.searchsorted(ended, flat)
    return tf.reshape(tf.gather(ended, places) == flat, tf.shape(values))


def _each_once(scores: tf.Tensor, items: tf.Tensor) -> Ranked:
    """Returns the same lists, [B, width], with -inf for all of an item but one.

    Args:
        scores: [B, width] float32, the same wherever a row has an item.
        items: [B, width] int64.
    """
    by_item = tf.argsort(items, axis=1, stable=True)
    items = tf.gather(items, by_item, batch_dims=1)
    scores = tf.gather(scores, by_item, batch_dims=1)
    again = tf.pad(items[:, 1:] == items[:, :-1], [[0, 0], [1, 0]])
    return tf.where(again, -np.inf, scores), items
