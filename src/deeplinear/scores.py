"""The size of errors."""

import numpy as np
from numpy.typing import ArrayLike


def root_mean_square(x: ArrayLike) -> float:
    """√(mean x²) in 64 bits, without overflow or underflow on the way; 0 for nothing.

    NaN if x contains NaN, else infinity if x contains an infinity.

    >>> from deeplinear.scores import root_mean_square
    >>> root_mean_square([1e200, -1e200])
    1e+200
    """
    x = np.asarray(x)
    if x.dtype.kind != "f":  # the smallest integer has no negative
        x = x.astype(float)
    # the extremes rather than max |x|, which would need a copy of x
    largest = float(np.maximum(x.max(initial=0.0), -x.min(initial=0.0)))
    if not 0 < largest < np.inf:  # nothing but zeros, an infinity, or NaN
        return largest
    scaled = np.divide(x, largest, dtype=float)  # within [−1, 1], so that squares cannot overflow
    return largest * float(np.sqrt(np.mean(np.square(scaled, out=scaled))))
