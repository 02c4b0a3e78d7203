"""Checks of arguments: a typed error where values are known, equinox's runtime error under jit."""

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, PyTree

from .depths import check_depth as check_depth  # beside the other checks
from .errors import InputError, PrecisionError

T = TypeVar("T")


def is_traced(*values: PyTree) -> bool:
    """Whether any array in the given pytrees is a tracer, which has no value to look at."""
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(values))


def raise_if(value: T, condition: ArrayLike, error: Exception) -> T:
    """``value``, or ``error`` raised if ``condition`` holds anywhere.

    Inside jit the text of ``error`` is raised, by `equinox.error_if`.
    """
    if is_traced(condition):
        return eqx.error_if(value, condition, str(error))
    if np.asarray(condition).any():  # in NumPy: a small eager JAX operation would be compiled first
        raise error
    return value


def check_matrix(W: ArrayLike, name: str = "W", *, batch: bool = False) -> Array:
    """``W`` as a floating JAX array with two axes and finite entries; `InputError` otherwise.

    ``batch``: leading axes are accepted.
    """
    if not hasattr(W, "dtype"):
        W = np.asarray(W)
    if np.ndim(W) < 2 or (np.ndim(W) > 2 and not batch) or 0 in np.shape(W):
        raise InputError(
            f"{name} must be a matrix with two non-empty axes, got shape {np.shape(W)}."
        )
    if W.dtype.kind not in "fiub" or W.dtype.itemsize == 2:
        raise InputError(
            f"{name} must hold real numbers of 32 or 64 bits, got dtype {W.dtype}: convert it to "
            "float64."
        )
    W = jnp.asarray(W, W.dtype if jnp.issubdtype(W.dtype, jnp.floating) else float)
    # NumPy where values can be seen: small eager JAX operations would each be compiled first.
    bad = ~(jnp if is_traced(W) else np).isfinite(W)
    return raise_if(
        W,
        bad.any(),
        InputError(f"{name} must be finite, got NaN or infinite entries: remove them first."),
    )


def check_tolerance(value: float, dtype: DTypeLike, name: str) -> float:
    """``value`` if it is positive and within reach of ``dtype``.

    `InputError` or `PrecisionError` otherwise.
    """
    if is_traced(value):
        return value
    if not value > 0:
        raise InputError(f"{name} must be positive, got {value!r}.")
    if value < 10 * jnp.finfo(dtype).eps:
        raise PrecisionError(
            f"{name} = {value:g} is beyond {jnp.dtype(dtype).name}: loosen it, or use float64 "
            "(jax.config.update('jax_enable_x64', True) before the arrays are made)."
        )
    return value
