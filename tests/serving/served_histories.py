"""Small runs of methods of histories, and what their exports must answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfcausal import methods
from tfcausal.data.interactions import (
    CheckedDataset,
    read_part,
    read_popularity,
    read_vocabulary,
)
from tfcausal.evaluation.calibration import Calibration
from tfcausal.evaluation.ranking import ItemLists
from tfcausal.evaluation.validation import validator
from tfcausal.methods.histories import HistoryMethod
from tfcausal.schema.vectors import CausalVectors
from tfcausal.serving.history_answers import HistoryAnswers
from tfcausal.serving.live_answers import LiveAnswers
from tfcausal.training.options import TrainingOptions
from tfcausal.training.run import Run
from tfcausal.training.trainer import train

import tensorflow as tf  # isort: skip

MAX_LENGTH = 5
USERS = [3, 17, 50, 111]
WEIGHT, SHIFT = 0.5, 0.75


def train_small(
    dataset: CheckedDataset, name: str, folder: Path, epochs: int, **more: Any
) -> Run:
    wanted = {
        "embedding_dim": 8,
        "learning_rate": 0.01,
        "max_length": MAX_LENGTH,
        "num_sampled": 30,
        "hidden_dims": (16,),
        "num_interests": 3,
        "num_concepts": 4,
        "memory_size": 50,
        **more,
    }
    method = methods.get(name)
    known = method.options_class.__dataclass_fields__
    options = method.options_class(**{k: v for k, v in wanted.items() if k in known})
    training = TrainingOptions(epochs=epochs, batch_size=64, monitor="recall@20")
    validate = validator(dataset, monitor="recall@20")
    return train(dataset, name, options, training, folder, validate, verbose=0)


def calibration(weight: float, shift: float) -> Calibration:
    return Calibration(
        {"preference": weight},
        shift,
        "recall@20",
        None,
        {},
        {},
        "validation",
        "causerec",
        "",
        1,
    )


@dataclass(frozen=True)
class Served:
    """An exported model and what its answers are computed from in Python.

    Attributes:
        loaded: The SavedModel.
        method: The model as training had it.
        vectors: Of the run, calibrated if the export is.
        factor: What calibration multiplies queries by.
        dataset: What it was trained on.
    """

    loaded: Any
    method: HistoryMethod
    vectors: CausalVectors
    factor: float
    dataset: CheckedDataset

    @cached_property
    def histories(self) -> dict[int, list[str]]:
        rows = read_part(self.dataset.folder, ["train"])
        return {
            user: [f"i{item}" for item in rows.items[rows.users == user]]
            for user in USERS
        }

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        return read_popularity(self.dataset)

    def queries(self, history: Sequence[str]) -> npt.NDArray[np.float32]:
        """[num_queries, dim] of the last items, encoded by hand."""
        last = [int(item[1:]) for item in history][-MAX_LENGTH:]
        padded = [last + [0] * (MAX_LENGTH - len(last))]
        (trained,) = self.method.queries_of(tf.constant(padded, tf.int32)).numpy()
        ones = np.ones((len(trained), self.vectors.dim - trained.shape[1]))
        whole = np.concatenate([trained * self.factor, ones], axis=1)
        return whole.astype(np.float32)

    def scores(self, history: Sequence[str]) -> npt.NDArray[np.float64]:
        """[num_items] scores, the popularity where the history is empty."""
        if not history:
            return self.counts.astype(np.float64)
        products = self.queries(history).astype(np.float64) @ self.vectors.candidates.T
        best: npt.NDArray[np.float64] = products.max(axis=0)
        return best

    def cases(self) -> list[dict[str, Any]]:
        """What export verifies of histories."""
        folder = self.dataset.folder
        live = LiveAnswers(
            self.vectors,
            read_vocabulary(folder.users).to_pylist(),
            read_vocabulary(folder.items).to_pylist(),
            ItemLists.empty(self.dataset.num_users),
            self.counts,
            np.arange(self.dataset.num_users) > 0,
        )
        chosen = calibration(WEIGHT, SHIFT)

        def calibrated(vectors: CausalVectors) -> CausalVectors:
            if self.factor == 1.0:
                return vectors
            return chosen.apply(vectors, self.counts)

        return HistoryAnswers(self.method, live, calibrated).cases(10)

    def call(self, name: str, **inputs: Any) -> dict[str, Any]:
        signature = self.loaded.signatures[name]
        specs = signature.structured_input_signature[1]
        given = {
            key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()
        }
        return {key: value.numpy() for key, value in signature(**given).items()}

    def wishes(self, rows: int, **changed: Any) -> dict[str, Any]:
        return {
            "k": 10,
            "do": [""] * rows,
            "exclude_item_id": [[""]] * rows,
            "allow_item_id": [[""]] * rows,
            "exclude_seen": False,
            **{f"{cause}_weight": [1.0] * rows for cause in self.vectors.causes},
            **changed,
        }

    def recommend(self, histories: Any, **changed: Any) -> dict[str, Any]:
        wishes = self.wishes(len(histories), **changed)
        return self.call("recommend_of_history", history=histories, **wishes)

    def embedding(self, *histories: Sequence[str]) -> Any:
        return self.call("user_embedding_of_history", history=padded(*histories))[
            "embedding"
        ]


def padded(*histories: Sequence[str]) -> list[list[str]]:
    width = max(map(len, histories))
    return [[*one, *[""] * (width - len(one))] for one in histories]
