"""The check of a depth without JAX, for whose import completion need not wait."""

import sys
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from .errors import DepthError, InputError
from .reals import as_reals, shown

if TYPE_CHECKING:
    from jaxtyping import ArrayLike

Depth = TypeVar("Depth", bound="ArrayLike")


def check_depth(depth: Depth, name: str = "depth", *, scalar: bool = False) -> Depth:
    """``depth`` unchanged if it is a real number ≥ 1 or ``math.inf``; `DepthError` otherwise.

    Arrays of depths pass if all entries do, except where the caller needs one number (``scalar``).

    A traced depth (inside ``jit``, ``vmap`` or ``grad``) has no value to look at; there
    `inverse_depth` turns a depth out of range into NaN.
    """
    jax = sys.modules.get("jax")  # a traced depth has come from there
    traced = jax is not None and isinstance(depth, jax.core.Tracer)
    try:
        values = None if traced else as_reals(depth, name, booleans=False)
    except InputError:
        raise DepthError(
            f"{name} must be a real number ≥ 1 or math.inf, got {shown(depth)}."
        ) from None
    shape = np.shape(depth) if values is None else values.shape
    if scalar and shape:
        raise DepthError(
            f"{name} must be one number here, got shape {shape}: use jax.vmap for several."
        )
    if values is not None and not np.all(values >= 1):
        raise DepthError(
            f"{name} must be ≥ 1 (a real number or math.inf), got {depth!r}: use 1 for no depth at "
            "all."
        )
    return depth
