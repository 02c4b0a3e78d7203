"""Checks of arguments: a typed error where values are known, equinox's runtime error under jit."""

import functools
import warnings
from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, PRNGKeyArray, PyTree

from .depths import check_depth as check_depth  # beside the other checks
from .errors import DepthError, InputError, PrecisionError, PrecisionWarning
from .reals import as_floats, as_reals, one_real, shown
from .reals import check_integer as check_integer
from .reals import check_not_negative as check_not_negative
from .reals import check_shape as check_shape

T = TypeVar("T")

#: What functions take for a random key: one of JAX's, or an integer seed.
RandomKey: TypeAlias = PRNGKeyArray | int | np.integer


def is_traced(*values: PyTree) -> bool:
    """Whether any array in the given pytrees is a tracer, which has no value to look at."""
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(values))


def as_array(x: ArrayLike, dtype: DTypeLike) -> Array:
    """``x`` as an array of this type; where values can be seen without an operation of JAX's, each
    of which is compiled first (also ``jnp.asarray``, for each shape).
    """
    return jnp.asarray(x, dtype) if is_traced(x) else jax.device_put(np.asarray(x, dtype))


def raise_if(value: T, condition: ArrayLike, error: Exception) -> T:
    """``value``, or ``error`` raised if ``condition`` holds anywhere.

    Inside jit the text of ``error`` is raised, by `equinox.error_if`.
    """
    if is_traced(condition):
        return eqx.error_if(value, condition, str(error))
    if np.asarray(condition).any():  # in NumPy: a small eager JAX operation would be compiled first
        raise error
    return value


@functools.cache
def _tell_of_rounding() -> None:
    """At the first such call of a process; those who mean it pass float32."""
    warnings.warn(
        "JAX computes in 32 bits here, and 64-bit data are rounded: call "
        "jax.config.update('jax_enable_x64', True) first, or pass float32 if that is meant.",
        PrecisionWarning,
        stacklevel=4,
    )


def check_matrix(W: ArrayLike, name: str = "W", *, batch: bool = False) -> Array:
    """``W`` as a floating JAX array with two axes and finite entries; `InputError` otherwise.

    ``batch``: leading axes are accepted.
    """
    if is_traced(W):  # possibly a list of traced numbers
        W = jnp.asarray(W)
    elif not isinstance(W, Array):
        W = as_reals(W, name)
    if np.ndim(W) < 2 or (np.ndim(W) > 2 and not batch) or 0 in np.shape(W):
        raise InputError(
            f"{name} must be a matrix with two non-empty axes, got shape {np.shape(W)}."
        )
    if W.dtype.kind not in "fiub" or (W.dtype.kind == "f" and W.dtype.itemsize == 2):
        raise InputError(
            f"{name} must hold real numbers of 32 or 64 bits, got dtype {W.dtype}: convert it to "
            "float64."
        )
    dtype = jax.dtypes.canonicalize_dtype(W.dtype if W.dtype.kind == "f" else float)
    if W.dtype.itemsize > dtype.itemsize:
        _tell_of_rounding()
    W = as_array(W, dtype)
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
    given, value = value, one_real(value)
    if not 0 < value < np.inf:
        raise InputError(f"{name} must be positive and finite, got {shown(given)}.")
    if value < 10 * jnp.finfo(dtype).eps:
        raise PrecisionError(
            f"{name} = {value:g} is beyond {jnp.dtype(dtype).name}: loosen it, or use float64 "
            "(jax.config.update('jax_enable_x64', True) before the arrays are made)."
        )
    return value


def check_known(value: object, name: str) -> None:
    """`InputError` where ``value`` is traced, and has no value to look at."""
    if is_traced(value):
        raise InputError(f"{name} must be known here: keep it out of jit, vmap and grad.")


def check_positive(value: object, name: str) -> float:
    """``value`` as a float if it is one positive, finite number; `InputError` otherwise."""
    check_known(value, name)
    number = one_real(value)
    if not (number > 0 and np.isfinite(number)):
        raise InputError(f"{name} must be one positive number, got {shown(value)}.")
    return number


def check_integer_depth(
    depth: object, why: str = "for factors", fix: str = "use gradient_flow for other depths"
) -> int:
    """``depth`` as an int if it is a whole number ≥ 1; `DepthError` otherwise."""
    if hasattr(depth, "ndim") and not is_traced(depth) and depth.ndim == 0:
        depth = np.asarray(depth)[()]
    whole = isinstance(depth, int | float | np.number) and not isinstance(depth, bool)
    if not whole or not float(depth).is_integer() or depth < 1:  # type: ignore
        raise DepthError(f"depth must be an integer ≥ 1 {why}, got {depth!r}: {fix}.")
    return int(depth)  # type: ignore


def check_widths(widths: Sequence[int]) -> list[int]:
    """Widths (d_0, …, d_N), N ≥ 1; `InputError` otherwise."""
    try:
        d = [check_integer(width, "widths") for width in widths]
    except TypeError:
        d = []
    if len(d) < 2:
        raise InputError(f"widths must be (d_0, …, d_N) with N ≥ 1, got {widths!r}.")
    return d


def check_numbers(value: ArrayLike, name: str, *, least: float = 0.0) -> np.ndarray:
    """``value`` as an array of finite float64 numbers ≥ ``least``; `InputError` otherwise."""
    check_known(value, name)
    numbers = as_floats(value, name)
    if not (np.isfinite(numbers) & (numbers >= least)).all():
        bound = f" and ≥ {least:g}" if np.isfinite(least) else ""
        raise InputError(f"{name} must be finite{bound}, got {shown(value)}.")
    return numbers


def check_key(key: object, name: str = "key") -> PRNGKeyArray:
    """``key`` as one JAX random key: itself, or that of an integer seed 0 … 2⁶³ − 1."""
    if isinstance(key, int | np.integer) and not isinstance(key, bool | np.bool_):
        if 0 <= key < 2**63:
            return jax.random.key(int(key))
    elif isinstance(key, Array | np.ndarray):
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ():
            return jnp.asarray(key)
        if key.dtype == np.uint32 and key.shape == jax.random.key_data(jax.random.key(0)).shape:
            return jax.random.wrap_key_data(jnp.asarray(key))
    raise InputError(
        f"{name} must be one JAX random key, such as jax.random.key(0), or an integer seed "
        f"0 … 2⁶³ − 1, got {key!r}."
    )


def one_precision(arrays: T) -> T:
    """A pytree of arrays with all of them in the widest floating type among them."""
    leaves = jax.tree.leaves(arrays)
    dtype = jnp.result_type(*leaves)
    if all(x.dtype == dtype for x in leaves):
        return arrays
    return jax.tree.map(lambda x: x.astype(dtype), arrays)
