"""DCCL's contrasts on a tfrs.Model of one's own, whose towers read features.

    python examples/own_model.py DATASET

DATASET is a folder that ingest, split and popularity have filled; `make demo` leaves
one in demo/dataset. Before, the model had `tfrs.tasks.Retrieval()` and one vector for
each side. Now each tower ends in two halves, interest and conformity; the softmax takes
the place of the task, and the contrasts are added to it, with weights that did well on
ml-1m. On the demo's data it printed, both times it was run on one machine:

    do(conformity = 0.0)  recall@20 0.0983  popularity of what is shown 206
    do(conformity = 0.5)  recall@20 0.1220  popularity of what is shown 524
    do(conformity = 1.0)  recall@20 0.1153  popularity of what is shown 995

The same machine and versions give the same figures, by the seed; others may round
otherwise and end elsewhere, as another seed does: by some five thousandths of recall.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

# TensorFlow's notes at its start read like failures; what fails raises in any case. It
# must be set before TensorFlow is imported; the command line does the same.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tfcausal
from tfcausal.keras_compat import keras, tfrs

import tensorflow as tf  # isort: skip

HALF = 32
SEED = 0


def tower(num_ids: int, buckets: int) -> Any:
    """Returns a tower of an id and of how active, or popular, that id is."""
    row = keras.Input((), dtype=tf.int32, name="id")
    activity = keras.Input((), dtype=tf.int32, name="activity")
    both = tf.concat(
        [
            keras.layers.Embedding(num_ids, 2 * HALF)(row),
            keras.layers.Embedding(buckets, 8)(activity),
        ],
        axis=-1,
    )
    return keras.Model([row, activity], keras.layers.Dense(2 * HALF)(both))


class OwnModel(tfrs.Model):
    """Two feature towers that learn interest and conformity apart."""

    def __init__(self, users: Any, items: Any, popularity: Any) -> None:
        super().__init__()
        self.users, self.items = users, items
        self.softmax = tfcausal.InBatchSoftmax(popularity, temperature=0.2, log_q=1.0)
        self.contrast = tfcausal.PopularityContrast(popularity)

    def compute_loss(self, features: Any, training: bool = False) -> Any:
        """Returns the loss of a batch of clicks."""
        batch = tfcausal.InBatch.of(features["user"], features["item"])
        # Items are embedded once for all rows that have them; a feature of an item is
        # taken from the first of these.
        first = batch.first_rows
        halves = {"interest": slice(0, HALF), "conformity": slice(HALF, 2 * HALF)}
        queries, candidates = (
            tfcausal.similar(vectors, halves, "cosine")
            for vectors in (
                self.users([features["user"], features["user_activity"]]),
                self.items(
                    [batch.items, tf.gather(features["item_popularity"], first)]
                ),
            )
        )
        interest, conformity = self.contrast(queries, candidates, batch)
        click = self.softmax(queries, candidates, batch)
        return click + 0.3 * interest + 0.3 * conformity


def main(folder: Path) -> None:
    """Trains for a few epochs and shows what each half is worth by itself."""
    keras.utils.set_random_seed(SEED)
    dataset = tfcausal.open_dataset(folder)
    train = pq.read_table(folder / "splits" / "train", columns=["user", "item"])
    clicks = {name: train[name].to_numpy() for name in ("user", "item")}
    counted = pq.read_table(folder / "features" / "popularity" / "popularity.parquet")
    popularity = counted["popularity"].to_numpy()
    activity = np.bincount(clicks["user"], minlength=dataset.num_users)
    # Powers of two make even buckets of a long tail.
    buckets = {
        "user_activity": np.log2(1 + activity).astype(np.int32),
        "item_popularity": np.log2(1 + popularity).astype(np.int32),
    }
    clicks["user_activity"] = buckets["user_activity"][clicks["user"]]
    clicks["item_popularity"] = buckets["item_popularity"][clicks["item"]]
    model = OwnModel(
        tower(dataset.num_users, 32), tower(dataset.num_items, 32), popularity
    )
    model.compile(optimizer=tfcausal.RowSparseAdam(0.01))
    rows = tf.data.Dataset.from_tensor_slices(clicks).shuffle(1 << 20, seed=SEED)
    model.fit(rows.batch(1024, drop_remainder=True), epochs=5, verbose=2)

    vectors = tfcausal.CausalVectors(
        queries=model.users(
            [tf.range(dataset.num_users), buckets["user_activity"]]
        ).numpy()[:, None],
        candidates=model.items(
            [tf.range(dataset.num_items), buckets["item_popularity"]]
        ).numpy(),
        causes={"interest": slice(0, HALF), "conformity": slice(HALF, 2 * HALF)},
    )
    protocol = tfcausal.protocol("dice")
    test = tfcausal.evaluation_set(dataset, "test", protocol)
    for point in tfcausal.weight_curve(
        vectors, test, protocol, cause="conformity", weights=[0, 0.5, 1]
    ):
        print(
            f"do(conformity = {point['weight']:3.1f})  "
            f"recall@20 {point['recall@20']:.4f}  "
            f"popularity of what is shown {point['popularity@20']:.0f}"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
