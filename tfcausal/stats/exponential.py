"""An exponential that is the same on every machine, for the reason of `logarithm`."""

import numpy as np

from tfcausal.stats.logarithm import Float64s, log

_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_INVERSE_LN2 = 1.44269504088896338700e00
_COEFFICIENTS = (
    1.66666666666666019037e-01,
    -2.77777777770155933842e-03,
    6.61375632143793436117e-05,
    -1.65339022054652515390e-06,
    4.13813679705723846039e-08,
)
_SMALLEST, _LARGEST = -746.0, 709.0


def exp(values: Float64s) -> Float64s:
    """Returns e to the power of each value, within one unit in the last place.

    The method of fdlibm's e_exp.c (Sun Microsystems, 1993).

    Args:
        values: float64 up to 709, any shape.
    Returns:
        float64 of the same shape, 0 far below 0.
    """
    bounded = np.clip(values, _SMALLEST, _LARGEST)
    power = np.rint(bounded * _INVERSE_LN2)
    high = bounded - power * _LN2_HIGH
    low = power * _LN2_LOW
    rest = high - low
    square = rest * rest
    series = np.zeros_like(square)
    for coefficient in reversed(_COEFFICIENTS):
        series = (series + coefficient) * square
    c = rest - series
    fraction = 1.0 - ((low - (rest * c) / (2.0 - c)) - high)
    result: Float64s = np.ldexp(fraction, power.astype(np.int32))
    return result


def powers(bases: Float64s, exponent: float) -> Float64s:
    """Returns each base to the power of `exponent`.

    Args:
        bases: Positive finite float64, any shape.
        exponent: A finite number.
    """
    return exp(exponent * log(bases))
