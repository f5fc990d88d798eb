"""Small trained models whose towers take features."""

from pathlib import Path
from typing import Any

from tfcausal import methods
from tfcausal.data.interactions import CheckedDataset
from tfcausal.evaluation.validation import validator
from tfcausal.training.options import TrainingOptions
from tfcausal.training.run import Run
from tfcausal.training.trainer import train

OPTIONS = TrainingOptions(epochs=8, batch_size=64, monitor="recall@20")


def train_small(
    dataset: CheckedDataset, name: str, folder: Path, epochs: int, **more: Any
) -> Run:
    wanted = {
        "embedding_dim": 8,
        "learning_rate": 0.02,
        "margin": 3.0,
        "min_pool": 5,
        "popularity": "global",
        "adjusted": True,
        "hash_buckets": 5,
        "hidden_dims": (16,),
        "backbone": "features",
        **more,
    }
    method = methods.get(name)
    known = method.options_class.__dataclass_fields__
    options = method.options_class(**{k: v for k, v in wanted.items() if k in known})
    training = TrainingOptions(**{**vars(OPTIONS), "epochs": epochs})
    validate = validator(dataset, monitor="recall@20")
    return train(dataset, name, options, training, folder, validate, verbose=0)
