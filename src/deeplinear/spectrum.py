"""Numbers that summarize singular values, written once for NumPy and for JAX.

Each function takes ``xp``, the array module it computes with: ``numpy`` (the default) or
``jax.numpy``. This module itself loads NumPy alone, so that a fit can use it without JAX.
"""

from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import jax

ArrayT = TypeVar("ArrayT", np.ndarray, "jax.Array")  # the result is of the argument's kind


def effective_rank_of(s: ArrayT, xp: ModuleType = np) -> ArrayT:
    """The effective rank exp(−Σ p_i log p_i), p_i = s_i / Σ_j s_j; 0 where all s_i ≥ 0 are 0.

    **Shapes**: s is (…, k), the result (…). Any positive multiple of s gives the same; the caller
    scales s so that its sum neither overflows nor underflows.

    **Source**: Roy, Vetterli, *The effective rank: a measure of effective dimensionality*, EUSIPCO
    2007.

    >>> float(effective_rank_of(np.array([3.0, 3.0, 0.0]))), float(effective_rank_of(np.zeros(2)))
    (2.0, 0.0)
    """
    s = xp.asarray(s)
    total = xp.sum(s, axis=-1, keepdims=True)
    present = s > 0
    # Each logarithm and quotient gets a harmless argument where its value is discarded: a NaN there
    # would come back in derivatives.
    p = xp.where(present, s, 1.0) / xp.where(total > 0, total, 1.0)
    entropy = -xp.sum(xp.where(present, p * xp.log(p), 0.0), axis=-1)
    return xp.where(present.any(-1), xp.exp(entropy), 0.0)
