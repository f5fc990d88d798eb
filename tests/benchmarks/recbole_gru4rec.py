"""Trains RecBole's GRU4Rec; runs where RecBole is installed, and needs nothing of ours.

    python recbole_gru4rec.py FOLDER

FOLDER has what `tests.benchmarks.gru4rec` wrote: options.json, samples.npz and
histories.npy. Writes queries.npy and candidates.npy, and prints the seconds of `fit`.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

NAME = "sequences"
BLOCK_ROWS = 4096


def write_interactions(folder: Path, num_items: int) -> None:
    """Writes RecBole's own files: a line for each sample, and one for each item."""
    samples = np.load(folder / "samples.npz")
    lines = [
        f"{user}\t{' '.join(map(str, history[:length]))}\t{target}"
        for user, history, length, target in zip(
            samples["users"].tolist(),
            samples["histories"].tolist(),
            samples["lengths"].tolist(),
            samples["targets"].tolist(),
            strict=True,
        )
    ]
    head = "user_id:token\titem_id_list:token_seq\titem_id:token"
    place = folder / NAME
    place.mkdir(exist_ok=True)
    # It wants a validation and a test set, which are not looked at here.
    for part, rows in (("train", lines), ("valid", lines[:1]), ("test", lines[:1])):
        text = "\n".join([head, *rows]) + "\n"
        (place / f"{NAME}.{part}.inter").write_text(text)
    items = "\n".join(["item_id:token", *map(str, range(1, num_items))]) + "\n"
    (place / f"{NAME}.item").write_text(items)


def main(folder: Path) -> None:
    # RecBole writes its logs into the folder that it runs in.
    folder = folder.resolve()
    os.chdir(folder)
    options = json.loads((folder / "options.json").read_text())
    num_items = options.pop("num_items")
    write_interactions(folder, num_items)
    given: dict[str, Any] = {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "saved"),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {
            "inter": ["user_id", "item_id_list", "item_id"],
            "item": ["item_id"],
        },
        "alias_of_item_id": ["item_id_list"],
        "train_neg_sample_args": None,
        "use_gpu": False,
        "state": "WARNING",
        "show_progress": False,
        **options,
    }
    # RecBole reads the command line too.
    sys.argv = sys.argv[:1]
    config = Config(model="GRU4Rec", dataset=NAME, config_dict=given)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train_data, _, _ = data_preparation(config, dataset)
    model = get_model(config["model"])(config, train_data.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    begin = time.perf_counter()
    trainer.fit(train_data, None, saved=False, show_progress=False)
    seconds = time.perf_counter() - begin

    model.eval()
    tokens = [str(item) for item in range(1, num_items)]
    # Item 0 is the unknown one here, and the pad there.
    ids = np.concatenate([[0], dataset.token2id("item_id", tokens)])
    histories = np.load(folder / "histories.npy")
    lengths = np.maximum((histories > 0).sum(axis=1), 1)
    queries = []
    with torch.no_grad():
        for first in range(0, len(histories), BLOCK_ROWS):
            rows = slice(first, first + BLOCK_ROWS)
            queries.append(
                model(
                    torch.from_numpy(ids[histories[rows]]),
                    torch.from_numpy(lengths[rows]),
                ).numpy()
            )
        candidates = model.item_embedding.weight.numpy()[ids]
    np.save(folder / "queries.npy", np.concatenate(queries))
    np.save(folder / "candidates.npy", candidates)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
