"""What an intervention comes to: the weight of every cause of an exported model."""

from collections.abc import Collection, Mapping

import numpy as np

from tfcausal.errors import InputError, unknown_name


def applied_weights(
    causes: Collection[str],
    presets: Mapping[str, Mapping[str, float]],
    weights: Mapping[str, float],
    do: str = "",
) -> dict[str, float]:
    """Returns the weight of every cause: those of a preset, times the given ones.

    Args:
        causes: The causes of the model.
        presets: The weights that the model has by name.
        weights: Cause to weight; the others keep 1.
        do: Name of one of `presets`, or "".
    Raises:
        InputError: If there is no such cause or preset, or a weight is not finite in
            float32.
    """
    if do and do not in presets:
        raise unknown_name("do", do, presets)
    named = presets.get(do, {})
    for cause, weight in weights.items():
        if cause not in causes:
            raise unknown_name("cause", cause, causes)
        if not abs(weight) <= float(np.finfo(np.float32).max):
            raise InputError(
                f"The weight of `{cause}` must be finite in float32; got {weight}."
            )
    return {cause: weights.get(cause, 1.0) * named.get(cause, 1.0) for cause in causes}
