"""Weight decay at depth N as a penalty on singular values, and the certificate of a fit."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import exprel

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Penalty:
    """Smoothed weight decay f(σ) = λ ∫_0^σ (t + ε)^{2/N − 1} dt, for real N ≥ 1 and ``math.inf``.

    f = (λN/2) ((σ+ε)^{2/N} − ε^{2/N}) at N < ∞ and λ log(1 + σ/ε) at N = ∞, in one formula without
    cancellation: λ ε^{2ν} L exprel(2νL) with ν = 1/N, L = log(1 + σ/ε). ε (``floor``) only keeps
    the slope finite at σ = 0.

    >>> print(Penalty(2, 3.0, 1e-12).value(np.array([2.0])).round(6))
    [6.]
    """

    depth: float
    decay: float
    floor: float

    def value(self, s: Array) -> Array:
        log = np.log1p(s / self.floor)
        return self.decay * self.floor ** (2 / self.depth) * log * exprel(2 * log / self.depth)

    def slope(self, s: Array | float) -> Array:
        return self.decay * (np.asarray(s) + self.floor) ** (2 / self.depth - 1)

    def prox(self, z: Array, curvature: float) -> Array:
        """argmin_σ≥0 (c/2)(σ − z)² + f(σ) for a convex f (depth ≤ 2).

        By bisection on the increasing derivative.
        """
        low, high = np.zeros_like(z), z.copy()
        for _ in range(80):
            middle = (low + high) / 2
            right = curvature * (middle - z) + self.slope(middle) > 0
            low, high = np.where(right, low, middle), np.where(right, middle, high)
        return low


@dataclass(frozen=True)
class Certificate:
    """How stationary a fit is.

    ``tangent`` is relative (0 is exact); ``normal`` = ‖R_⊥‖₂ is to be held against ``limit`` =
    f'(0). It is an estimate from below, some 2 % at the edge of noise, up to a tenth for one spike
    just above many others: one that is barely below the limit does not settle it.

    tangent = 0 and normal ≤ limit are the first-order conditions; up to depth 2 they mean the
    global minimum.
    """

    tangent: float
    normal: float
    limit: float
