"""The check of a depth without JAX, for whose import completion need not wait."""

import sys
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from .errors import DepthError

if TYPE_CHECKING:
    from jaxtyping import ArrayLike

Depth = TypeVar("Depth", bound="ArrayLike")


def check_depth(depth: Depth, name: str = "depth", *, scalar: bool = False) -> Depth:
    """``depth`` unchanged if it is a real number ≥ 1 or ``math.inf``; `DepthError` otherwise.

    Arrays of depths pass if all entries do, except where the caller needs one number (``scalar``).

    A traced depth (inside ``jit``, ``vmap`` or ``grad``) has no value to look at; there
    `inverse_depth` turns a depth out of range into NaN.
    """
    if scalar and np.ndim(depth) != 0:
        raise DepthError(
            f"{name} must be one number here, got shape {np.shape(depth)}: use jax.vmap for "
            "several."
        )
    jax = sys.modules.get("jax")  # a traced depth has come from there
    if jax is not None and isinstance(depth, jax.core.Tracer):
        return depth
    try:
        if np.asarray(depth).dtype == bool:
            raise TypeError
        values = np.asarray(depth, dtype=float)
    except (TypeError, ValueError):
        raise DepthError(f"{name} must be a real number ≥ 1 or math.inf, got {depth!r}.") from None
    if not np.all(values >= 1):
        raise DepthError(
            f"{name} must be ≥ 1 (a real number or math.inf), got {depth!r}: use 1 for no depth at "
            "all."
        )
    return depth
