"""splitmix64 in TensorFlow, equal bit for bit to `tfcausal.stats.mixing`."""

import tensorflow as tf

from tfcausal.stats.mixing import GAMMA, MULTIPLIER_1, MULTIPLIER_2


def _word(value: int) -> tf.Tensor:
    return tf.constant(value, tf.uint64)


def mix(words: tf.Tensor) -> tf.Tensor:
    """Applies splitmix64's finaliser to uint64 words of any shape."""
    xor, shift = tf.bitwise.bitwise_xor, tf.bitwise.right_shift
    mixed = xor(words, shift(words, _word(30))) * _word(MULTIPLIER_1)
    mixed = xor(mixed, shift(mixed, _word(27))) * _word(MULTIPLIER_2)
    return xor(mixed, shift(mixed, _word(31)))


def draws(words: tf.Tensor, number: int) -> tf.Tensor:
    """Returns draw `number` of each key, uint64 of the keys' shape."""
    return mix(words + _word((number + 1) * GAMMA % 2**64))


def word_of_step(stream: int, step: tf.Tensor) -> tf.Tensor:
    """Returns what the draws of one step of training follow from, [] uint64.

    Args:
        stream: Of the purpose, from `tfcausal.stats.mixing.stream`.
        step: [] int64.
    """
    return mix(_word(stream) + tf.cast(step + 1, tf.uint64) * _word(GAMMA))


def uniforms(words: tf.Tensor) -> tf.Tensor:
    """Maps words to float64 in [0, 1); exact, so that no platform rounds otherwise."""
    upper = tf.bitwise.right_shift(words, _word(11))
    return tf.cast(upper, tf.float64) * tf.constant(2.0**-53, tf.float64)
