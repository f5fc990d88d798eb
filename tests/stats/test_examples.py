"""Hand-written tf.train.Example protos, read back by TensorFlow."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfcausal.stats.examples import encode_examples, frame_rows
from tfcausal.stats.triplet_blocks import TripletBlock


def block(width: int, *, log_q: bool = False) -> TripletBlock:
    generator = np.random.default_rng(width)
    shape = (50, width)
    return TripletBlock(
        users=generator.integers(0, 2**31, 50).astype(np.int32),
        positives=generator.integers(0, 200, 50).astype(np.int32),
        negatives=generator.integers(0, 2**31, shape).astype(np.int32),
        case=generator.integers(0, 3, shape).astype(np.int8),
        support=generator.integers(0, 70_000, shape).astype(np.int32),
        log_q=-generator.exponential(8, shape).astype(np.float32) if log_q else None,
    )


@pytest.mark.parametrize("width", [1, 4, 30])
def test_tensorflow_reads_every_field(tmp_path: Path, width: int) -> None:
    triplets = block(width)
    path = tmp_path / "rows.tfrecord"
    path.write_bytes(frame_rows(encode_examples(triplets)))
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    assert len(records) == 50
    for row, record in enumerate(records):
        example = tf.train.Example.FromString(record)
        found = {
            name: list(feature.int64_list.value)
            for name, feature in example.features.feature.items()
        }
        assert found == {
            "user": [triplets.users[row]],
            "positive": [triplets.positives[row]],
            "negative": triplets.negatives[row].tolist(),
            "case": triplets.case[row].tolist(),
            "support": triplets.support[row].tolist(),
        }


@pytest.mark.parametrize("width", [1, 4, 40])
def test_log_q_is_a_list_of_floats(width: int) -> None:
    triplets = block(width, log_q=True)
    assert triplets.log_q is not None
    for row, record in enumerate(encode_examples(triplets)):
        feature = tf.train.Example.FromString(record.tobytes()).features.feature
        assert list(feature["log_q"].float_list.value) == triplets.log_q[row].tolist()
        found = list(feature["negative"].int64_list.value)
        assert found == triplets.negatives[row].tolist()
        assert len(feature) == 6
