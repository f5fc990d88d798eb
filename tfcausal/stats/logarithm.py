"""A natural logarithm that is the same on every machine.

numpy's own picks an implementation by the processor, and those differ in the last bit;
a row would then fall into another part of a split on another worker. This one uses only
operations that IEEE 754 rounds exactly.
"""

import numpy as np
import numpy.typing as npt

Float64s = npt.NDArray[np.float64]

_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_COEFFICIENTS = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
)


def log(values: Float64s) -> Float64s:
    """Returns the natural logarithm, within two units in the last place.

    The method of fdlibm's e_log.c (Sun Microsystems, 1993), without its special cases.

    Args:
        values: Positive finite float64, any shape.
    Returns:
        float64 of the same shape.
    """
    fraction, exponent = np.frexp(values)
    small = fraction < np.sqrt(0.5)
    fraction = np.where(small, fraction * 2.0, fraction)
    power = (exponent - small).astype(np.float64)
    f = fraction - 1.0
    s = f / (2.0 + f)
    z = s * s
    series = np.zeros_like(z)
    for coefficient in reversed(_COEFFICIENTS):
        series = (series + coefficient) * z
    half = 0.5 * f * f
    rest = s * (half + series) + power * _LN2_LOW
    result: Float64s = power * _LN2_HIGH - ((half - rest) - f)
    return result
