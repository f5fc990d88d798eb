"""A finished run becomes a SavedModel that a server without this library can load."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfcausal import methods
from tfcausal.data.interactions import (
    CheckedDataset,
    read_part,
    read_popularity,
    read_vocabulary,
)
from tfcausal.errors import InputError
from tfcausal.evaluation.calibration import Calibration
from tfcausal.evaluation.ranking import ItemLists
from tfcausal.methods.base import Method
from tfcausal.methods.histories import HistoryMethod
from tfcausal.methods.triplets import TripletMethod
from tfcausal.schema.columns import UNKNOWN_INDEX
from tfcausal.schema.dataset import FOLD_IN_PARTS, TRAINING_PARTS, DatasetFolder
from tfcausal.schema.exported import causes_of
from tfcausal.schema.folders import staged_folder
from tfcausal.schema.manifest import (
    Manifest,
    checksums,
    library_versions,
    read_manifest,
    write_manifest,
)
from tfcausal.schema.vectors import CausalVectors
from tfcausal.serving.feature_answers import FeatureAnswers
from tfcausal.serving.feature_signatures import FeatureServingModel
from tfcausal.serving.history_answers import HistoryAnswers
from tfcausal.serving.history_signatures import HistoryServingModel
from tfcausal.serving.live_answers import LiveAnswers
from tfcausal.serving.model_card import encoded, write_card, write_golden
from tfcausal.serving.presets import (
    NEUTRAL,
    Neutral,
    Presets,
    known_presets,
    popularity_neutral,
)
from tfcausal.serving.signatures import DEFAULT_K, ServingModel
from tfcausal.serving.versions import INDEX_SUFFIX, next_version
from tfcausal.serving.warmup import write_warmup
from tfcausal.stats.negatives import Int64s
from tfcausal.stats.selection import Bools
from tfcausal.stats.sequences import PAD
from tfcausal.training.restored import load_model
from tfcausal.training.run import Run

_CHECK = Path(__file__).with_name("check_saved_model.py")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def export(
    run: Run,
    name: str,
    root: Path,
    *,
    k: int = DEFAULT_K,
    calibration: Calibration | None = None,
    neutral_popularity: float | None = None,
) -> Path:
    """Writes `root`/NAME/VERSION, the next version, and checks it in a fresh process.

    The folder appears only after a process that knows nothing of this library has
    loaded it and every signature has answered as the run's vectors do.

    Args:
        run: A finished run; its data set must be as it was in training.
        name: The model's name.
        root: Folder of all exported models.
        k: Length of the lists of `serving_default`.
        calibration: What to apply to the run's vectors first; None for the vectors as
            trained. The manifest keeps it, and weight 1 of a request means it.
        neutral_popularity: The mean popularity of the lists under the preset
            `popularity_neutral`; None for what users choose by themselves. See
            `presets.popularity_neutral`.
    Returns:
        The version's folder.
    Raises:
        InputError: If the name, the run or its data set does not fit, or the popularity
            that is asked for cannot be reached.
        RuntimeError: If the exported model does not answer as it must.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"`name` must be letters, digits, `_`, `-` and `.`; got {name}. It becomes "
            "the name of a folder and of the served model."
        )
    if name.endswith(INDEX_SUFFIX):
        raise InputError(
            f"`name` must not end in {INDEX_SUFFIX}, which is for the frozen index of "
            f"a model; got {name}. Choose another."
        )
    if k < 1:
        raise InputError(f"`k` must be at least 1; got {k}.")
    dataset = run.open_dataset()
    vectors = run.vectors()
    ids = {
        "users": _checked_ids(dataset.folder.users, len(vectors.queries)),
        "items": _checked_ids(dataset.folder.items, len(vectors.candidates)),
    }
    # Of users who are held out it is what is folded in.
    met = dataset.parts((*TRAINING_PARTS, *FOLD_IN_PARTS.values()))
    seen = ItemLists.from_interactions(
        read_part(dataset.folder, met), dataset.num_users
    )
    popularity = read_popularity(dataset)
    if calibration is not None:
        vectors = calibration.apply(vectors, popularity)
    # Who is new is answered by the towers, for which the vectors are not enough.
    with_method = run.options.get("backbone") == "features" or issubclass(
        methods.get(run.method), HistoryMethod
    )
    method = load_model(run, dataset) if with_method else None
    presets = known_presets(vectors, calibration)
    neutral = popularity_neutral(vectors, dataset, k, neutral_popularity)
    if neutral is not None:
        presets[NEUTRAL] = dict(neutral.weights)
    target = root / name / str(next_version(root / name))
    with staged_folder(target, "export") as folder:
        contents = _Contents(
            dataset.folder,
            vectors,
            ids,
            seen,
            popularity,
            _known_users(dataset, method, seen),
            presets,
            k,
            method,
            calibration,
        )
        signatures = _write(folder, name, int(target.name), contents)
        write_card(
            folder,
            f"{name}, version {target.name}",
            signatures,
            run,
            dataset,
            vectors,
            presets,
            neutral,
            calibration,
        )
        manifest = _manifest(folder, run, dataset, contents, neutral)
        write_manifest(folder, manifest)
    return target


def read_back(version: Path) -> tuple[CausalVectors, ItemLists, Int64s]:
    """Reads what an exported version answers from; its data set is not needed.

    Args:
        version: Folder of an exported version.
    Returns:
        The vectors, the items that each user has seen, and [num_items] int64
        popularity, exact below 2^24 as it is kept in float32.
    Raises:
        InputError: If it is no exported version.
    """
    manifest = read_manifest(version, kind="export")
    model = tf.saved_model.load(str(version))
    candidates = model.candidates.numpy()[: manifest.counts["items"]]
    return (
        CausalVectors(
            model.queries.numpy(),
            candidates[:, :-1],
            causes_of(manifest),
        ),
        ItemLists(model.seen_offsets.numpy(), model.seen_items.numpy()),
        candidates[:, -1].astype(np.int64),
    )


def verify(
    folder: Path, cases: Sequence[Mapping[str, Any]], *, modules: Sequence[str] = ()
) -> None:
    """Compares a SavedModel with live answers in a process without this library.

    Args:
        folder: The SavedModel's folder.
        cases: Requests and answers as `LiveAnswers.cases` gives them.
        modules: What the process imports first, for operations that are not stock.
    Raises:
        RuntimeError: If it does not load there, or an answer differs.
    """
    # On the CPU: this process may hold all memory of an accelerator.
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "cases.json")
        path.write_text(json.dumps(cases, default=encoded), encoding="utf-8")
        checked = subprocess.run(
            [sys.executable, "-I", str(_CHECK), str(folder), str(path), *modules],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
    if checked.returncode:
        reason = (checked.stdout.strip() or checked.stderr).strip()[-2000:]
        raise RuntimeError(
            f"The exported model must answer as the run's vectors do; it does not, and "
            f"was not kept: {reason}"
        )


@dataclass(frozen=True)
class _Contents:
    """What an exported model is made of."""

    dataset: DatasetFolder
    vectors: CausalVectors
    ids: Mapping[str, pa.Array]
    seen: ItemLists
    popularity: Int64s
    known: Bools
    presets: Presets
    k: int
    method: Method | None
    calibration: Calibration | None

    def model(self, users: Path, items: Path) -> ServingModel:
        made: Callable[..., ServingModel] = ServingModel
        calibration = self.calibration
        if isinstance(self.method, HistoryMethod):
            made = partial(
                HistoryServingModel, method=self.method, calibration=calibration
            )
        elif isinstance(self.method, TripletMethod):
            made = partial(
                FeatureServingModel, method=self.method, calibration=calibration
            )
        return made(
            self.vectors,
            users=users,
            items=items,
            seen=self.seen,
            popularity=self.popularity,
            known=self.known,
            presets=self.presets,
            k=self.k,
        )

    def cases(self) -> list[dict[str, Any]]:
        """Returns requests with the answers that must come."""
        users, items = (self.ids[kind].to_pylist() for kind in ("users", "items"))
        live = LiveAnswers(
            self.vectors,
            users,
            items,
            self.seen,
            self.popularity,
            self.known,
            self.presets,
        )
        cases = live.cases(self.k)
        if isinstance(self.method, HistoryMethod):
            cases += HistoryAnswers(self.method, live, self._calibrated).cases(self.k)
        elif isinstance(self.method, TripletMethod):
            powers = 0.0 if self.calibration is None else self.calibration.norm_power
            of_features = FeatureAnswers(
                self.method, self.dataset, live, self._calibrated, powers or 0.0
            )
            cases += of_features.cases(self.k)
        return cases

    def _calibrated(self, vectors: CausalVectors) -> CausalVectors:
        if self.calibration is None:
            return vectors
        return self.calibration.apply(vectors, self.popularity)


def _known_users(
    dataset: CheckedDataset, method: Method | None, seen: ItemLists
) -> Bools:
    """Returns whose vectors were learned, [num_users]; the others' are chance."""
    known = np.zeros(dataset.num_users, bool)
    if isinstance(method, TripletMethod) and method.serving_feature_towers()[0]:
        # Whoever has features has what was learned of them.
        known[UNKNOWN_INDEX + 1 :] = True
    elif isinstance(method, HistoryMethod):
        histories = method.window.read_histories(method.options.max_length)
        known[:] = (histories != PAD).any(axis=1)
    elif dataset.parts(list(FOLD_IN_PARTS.values())):
        # What is folded in was seen, but not learned from.
        trained = dataset.parts(TRAINING_PARTS)
        known[read_part(dataset.folder, trained).users] = True
    else:
        known[:] = seen.lengths > 0
    return known


def _write(
    folder: Path, name: str, version: int, contents: _Contents
) -> dict[str, Any]:
    """Writes a model that was found to answer as it must; returns its signatures."""
    with tempfile.TemporaryDirectory() as scratch:
        files = {kind: Path(scratch, f"{kind}.txt") for kind in contents.ids}
        for kind, path in files.items():
            known = contents.ids[kind].slice(UNKNOWN_INDEX + 1).to_pylist()
            path.write_text("".join(f"{one}\n" for one in known), encoding="utf-8")
        model = contents.model(**files)
        signatures = model.signatures()
        tf.saved_model.save(model, str(folder), signatures=signatures)
    cases = contents.cases()
    write_warmup(folder, name, signatures, cases)
    verify(folder, cases)
    write_golden(folder, name, version, signatures, cases)
    return signatures


def _manifest(
    folder: Path,
    run: Run,
    dataset: CheckedDataset,
    contents: _Contents,
    neutral: Neutral | None,
) -> Manifest:
    vectors = contents.vectors
    details: dict[str, Any] = {
        "causes": {
            cause: [part.start, part.stop] for cause, part in vectors.causes.items()
        },
        "presets": {name: dict(one) for name, one in contents.presets.items()},
    }
    if contents.calibration is not None:
        details["calibration"] = contents.calibration.to_json()
    if neutral is not None:
        details["neutral"] = asdict(neutral)
    return Manifest(
        kind="export",
        options={"k": contents.k, "method": run.method},
        counts={
            "users": len(vectors.queries),
            "items": len(vectors.candidates),
            "queries": vectors.queries.shape[1],
        },
        inputs={
            "run": run.manifest.fingerprint,
            "splits": dataset.splits.fingerprint,
        },
        files=checksums(folder),
        details=details,
        versions=library_versions("tensorflow", "numpy"),
    )


def _checked_ids(path: Path, count: int) -> pa.Array:
    """Reads a vocabulary whose ids can be the lines of a file."""
    ids = read_vocabulary(path)
    if len(ids) != count:
        raise InputError(
            f"`{path}` must have a row for each of {count} vectors; got {len(ids)}. "
            "Train again."
        )
    known = ids.slice(UNKNOWN_INDEX + 1)
    if not len(known):
        raise InputError(f"`{path}` must name at least one; got none.")
    if len(known.unique()) != len(known):
        raise InputError(f"`{path}` must name each once; an id is there twice.")
    texts = known.to_pylist()
    wrong = next((one for one in texts if not one or "\n" in one or "\r" in one), None)
    if wrong is not None:
        raise InputError(
            f"`{path}` must hold ids of one line each; got {wrong!r}. Name it "
            "otherwise and ingest again."
        )
    return ids
