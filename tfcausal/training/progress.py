"""Where a training is: what a checkpoint holds besides weights and moments."""

import math
from typing import Any

import tensorflow as tf

from tfcausal.training.options import TrainingOptions


class Progress(tf.Module):
    """Position, best epoch and patience, as variables of a checkpoint.

    The schedule is that of DICE's authors: the learning rate falls on a plateau of the
    validation metric, and only at its least value does a plateau end the training.

    Attributes:
        epoch: [] int64, the epoch under way.
        step: [] int64, steps of it already taken.
        best_epoch: [] int64, the epoch with the best metric; -1 for none.
        best_value: [] float64, its metric.
        stopped: [] bool, whether training is over.
    """

    def __init__(self) -> None:
        super().__init__()
        self.epoch = _variable(0, tf.int64)
        self.step = _variable(0, tf.int64)
        self.best_epoch = _variable(-1, tf.int64)
        self.best_value = _variable(-math.inf, tf.float64)
        self.epochs_before_reduction = _variable(0, tf.int64)
        self.epochs_before_stop = _variable(0, tf.int64)
        self.stopped = _variable(False, tf.bool)

    def judge(self, value: float, optimizer: Any, options: TrainingOptions) -> bool:
        """Takes in an epoch's metric; lowers the learning rate or stops on a plateau.

        Args:
            value: The monitored metric; larger is better.
            optimizer: The Keras optimiser whose `learning_rate` is lowered.
            options: Patience and bounds.
        Returns:
            Whether this is the best epoch so far.
        """
        if value > float(self.best_value):
            self.best_value.assign(value)
            self.best_epoch.assign(self.epoch)
            self.epochs_before_reduction.assign(0)
            self.epochs_before_stop.assign(0)
            return True
        rate = optimizer.learning_rate
        lowest = min(options.min_learning_rate, float(rate))
        if float(rate) <= lowest * (1 + 1e-6):
            self.epochs_before_stop.assign_add(1)
            if int(self.epochs_before_stop) > options.stop_patience:
                self.stopped.assign(True)
            return False
        self.epochs_before_reduction.assign_add(1)
        if int(self.epochs_before_reduction) > options.reduce_patience:
            rate.assign(max(float(rate) * options.reduce_factor, lowest))
            self.epochs_before_reduction.assign(0)
        return False


def _variable(value: float | bool, dtype: tf.DType) -> tf.Variable:
    return tf.Variable(value, dtype=dtype, trainable=False)
