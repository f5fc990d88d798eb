"""Requests as serialized tf.train.Example: one for each user, with names in it."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

_REQUIRED = "user_id"


def of_examples(
    function: Callable[..., Any],
    inputs: Mapping[str, tf.TensorSpec],
    usual: Mapping[str, Any],
) -> Callable[[tf.Tensor], Any]:
    """Returns a function of [B] serialized examples that calls another by their values.

    An input of rows is a feature with one value, and one of rows of lists a feature
    with any number of values. What is the same for all rows there is a feature of each
    example here, and arrives as [B].

    Args:
        function: Takes the inputs by name.
        inputs: Name to shape and type: string, float32, int32 or bool.
        usual: What a missing feature means. By default missing texts are "", missing
            numbers NaN and missing lists empty; `user_id` may not be missing.
    """
    features = {
        name: _feature(name, spec, usual.get(name)) for name, spec in inputs.items()
    }

    def call(examples: tf.Tensor) -> Any:
        parsed = tf.io.parse_example(examples, features)
        return function(
            **{name: _as(spec, parsed[name]) for name, spec in inputs.items()}
        )

    return call


def serialized(values: Mapping[str, Any]) -> bytes:
    """Returns a tf.train.Example with a feature for each name.

    Args:
        values: Name to a text, a number, a truth value, or a list of texts.
    """
    features = {}
    for name, value in values.items():
        listed = value if isinstance(value, list) else [value]
        feature = features[name] = tf.train.Feature()
        if isinstance(listed[0] if listed else "", str):
            feature.bytes_list.value.extend(one.encode() for one in listed)
        elif isinstance(value, float):
            feature.float_list.value.append(value)
        else:
            feature.int64_list.value.append(int(value))
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(example.SerializeToString())


def _feature(name: str, spec: tf.TensorSpec, usual: Any) -> Any:
    if spec.shape.rank == 2:
        return tf.io.VarLenFeature(spec.dtype)
    # Examples know no other numbers.
    dtype = tf.int64 if spec.dtype in (tf.int32, tf.bool) else spec.dtype
    if usual is None and name != _REQUIRED:
        usual = "" if spec.dtype == tf.string else float("nan")
    return tf.io.FixedLenFeature([], dtype, usual)


def _as(spec: tf.TensorSpec, values: Any) -> tf.Tensor:
    if isinstance(values, tf.SparseTensor):
        return tf.sparse.to_dense(values, default_value="")
    if spec.dtype == tf.int32:
        return tf.cast(tf.clip_by_value(values, tf.int32.min, tf.int32.max), tf.int32)
    return tf.cast(values, spec.dtype)
