"""Adam that touches only the rows of a table that a batch has met."""

from typing import Any

import tensorflow as tf

from tfcausal.keras_compat import keras


class RowSparseAdam(keras.optimizers.Optimizer):
    """Adam whose moments and decay move only for rows with a gradient.

    The stock optimiser rewrites each table and both moments at every step; with 1.5
    million rows that is most of the step's time. Here rows without a gradient keep
    their value and moments until they are met again; the bias correction counts all
    steps. On dense gradients, and where every row has one, it is Adam.

    Formula: g <- g + l2 * p; m <- b1 * m + (1 - b1) * g; v <- b2 * v + (1 - b2) * g^2;
    with amsgrad v' <- max(v', v), else v' = v; m^ = m / (1 - b1^t),
    v^ = v' / (1 - b2^t); p <- p - lr * weight_decay * p - lr * m^ / (sqrt(v^) + eps).
    Reference: Kingma, Ba, Adam, ICLR 2015, Algorithm 1; Reddi, Kale, Kumar, On the
    convergence of Adam and beyond, ICLR 2018 (amsgrad); Loshchilov, Hutter, Decoupled
    weight decay regularization, ICLR 2019.
    Deviations: PyTorch's `weight_decay`, which DICE's authors set to 5e-8, is `l2`
    here, and acts on the batch's rows alone instead of on whole tables.
    """

    def __init__(
        self,
        learning_rate: float = 1e-3,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        amsgrad: bool = False,
        l2: float = 0.0,
        decoupled_weight_decay: float = 0.0,
        name: str = "row_sparse_adam",
        **kwargs: Any,
    ) -> None:
        """Describes the optimiser.

        Args:
            learning_rate: Step size.
            beta_1: Decay of the first moment.
            beta_2: Decay of the second moment.
            epsilon: Added to the denominator.
            amsgrad: Whether the denominator never falls.
            l2: Coupled L2: l2 * parameter is added to the gradient.
            decoupled_weight_decay: Decoupled decay, times the learning rate.
            name: Name of the optimiser.
            **kwargs: For the base class, such as clipnorm.
        """
        # The base class's own weight_decay must be None: with 0 it still rewrites every
        # table at each step.
        kwargs.pop("weight_decay", None)
        super().__init__(name=name, weight_decay=None, **kwargs)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.amsgrad = amsgrad
        self.l2 = l2
        self.decoupled_weight_decay = decoupled_weight_decay

    def build(self, var_list: Any) -> None:
        """Makes the moments of each variable."""
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self._built = True
        names = ["m", "v", "v_max"] if self.amsgrad else ["m", "v"]
        self._slots = [
            [self.add_variable_from_reference(variable, name) for name in names]
            for variable in var_list
        ]

    def update_step(self, gradient: Any, variable: Any) -> None:
        """Updates one variable from its gradient, dense or with distinct rows."""
        slots = self._slots[self._index_dict[self._var_key(variable)]]
        if isinstance(gradient, tf.IndexedSlices):
            rows = gradient.indices
            values = [tf.gather(table, rows) for table in (variable, *slots)]
            for table, value in zip(
                (variable, *slots), self._step(gradient.values, *values), strict=True
            ):
                table.scatter_update(tf.IndexedSlices(value, rows))
        else:
            for table, value in zip(
                (variable, *slots),
                self._step(gradient, variable, *slots),
                strict=True,
            ):
                table.assign(value)

    def _step(self, gradient: Any, value: Any, *slots: Any) -> list[Any]:
        rate = tf.cast(self.learning_rate, value.dtype)
        step = tf.cast(self.iterations + 1, value.dtype)
        correction_1 = 1.0 - tf.pow(tf.cast(self.beta_1, value.dtype), step)
        correction_2 = 1.0 - tf.pow(tf.cast(self.beta_2, value.dtype), step)
        if self.l2:
            gradient = gradient + self.l2 * value
        m, v, *v_max = slots
        m = m + (gradient - m) * (1.0 - self.beta_1)
        v = v + (tf.square(gradient) - v) * (1.0 - self.beta_2)
        v_max = [tf.maximum(largest, v) for largest in v_max]
        denominator = tf.sqrt((v_max or [v])[0] / correction_2) + self.epsilon
        change = (rate / correction_1) * m / denominator
        if self.decoupled_weight_decay:
            change = change + rate * self.decoupled_weight_decay * value
        return [value - change, m, v, *v_max]

    def get_config(self) -> dict[str, Any]:
        """Returns what rebuilds the optimiser."""
        config: dict[str, Any] = super().get_config()
        return config | {
            "learning_rate": self._serialize_hyperparameter(self._learning_rate),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
            "l2": self.l2,
            "decoupled_weight_decay": self.decoupled_weight_decay,
        }
