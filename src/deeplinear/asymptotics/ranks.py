"""Continuous stand-ins for the rank."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..checks import is_traced, raise_if
from ..compilation import program
from ..errors import InputError
from ..geometry.point import LogSVD, log_singular_values, log_spectrum
from ..spectrum import effective_rank_of


def effective_rank(W: ArrayLike | LogSVD) -> Float[Array, "*b"]:
    """The effective rank exp(−Σ p_i log p_i), p_i = σ_i / Σ_j σ_j.

    It lies between 1 and the rank, and is the rank where all σ_i > 0 are equal.

    **Shapes**: ``W`` is …×m×n with any leading axes, or a vector of k singular values, or a
    `LogSVD`; one number for each matrix. Independent of the scale of W, also at 1e−200;
    differentiable at full rank (a zero singular value counts as a constant).

    **Raises** `InputError` for a zero matrix, which has no effective rank (traced: NaN), and for
    entries that are not finite.

    **Source**: Roy, Vetterli, *The effective rank: a measure of effective dimensionality*, EUSIPCO
    2007.

    >>> import numpy as np, deeplinear as dl
    >>> round(float(dl.effective_rank(np.diag([3.0, 3.0, 0.0]))), 6)
    2.0
    """
    return _entropy_rank(_log_spectrum(W))


def stable_rank(W: ArrayLike | LogSVD) -> Float[Array, "*b"]:
    """The stable rank ‖W‖_F² / ‖W‖_2² = Σ σ_i² / σ_1².

    It lies between 1 and the rank, and hardly sees small singular values.

    **Shapes**, scale and **Raises** as for `effective_rank`.

    **Source**: Rudelson, Vershynin, *Sampling from large matrices*, J. ACM 54(4), 2007.

    >>> import numpy as np, deeplinear as dl
    >>> float(dl.stable_rank(np.diag([2.0, 1.0])))
    1.25
    """
    return _square_rank(_log_spectrum(W))


@program
def _entropy_rank(log_s: Array) -> Array:
    # Relative to the largest, so that the sum neither overflows nor underflows; the rank is blind
    # to the scale, and so the scale needs no derivative.
    top = jax.lax.stop_gradient(jnp.max(log_s, axis=-1, keepdims=True))
    present = ~jnp.isneginf(log_s)
    ratio = jnp.where(present, jnp.exp(jnp.where(present, log_s, 0.0) - top), 0.0)
    return jnp.where(present.any(-1), effective_rank_of(ratio, jnp), jnp.nan)


@program
def _square_rank(log_s: Array) -> Array:
    top = jnp.max(log_s, axis=-1, keepdims=True)
    present = ~jnp.isneginf(log_s)
    ratio = jnp.where(present, jnp.where(present, log_s, 0.0) - top, -jnp.inf)
    return jnp.where(present.any(-1), jnp.sum(jnp.exp(2 * ratio), axis=-1), jnp.nan)


def _log_spectrum(W: ArrayLike | LogSVD) -> Array:
    """log σ along the last axis, checked."""
    if isinstance(W, LogSVD):
        log_s = W.log_s
    else:
        s = W if isinstance(W, Array | np.ndarray) else np.asarray(W)
        if s.ndim == 0 or 0 in s.shape[-2:] or s.dtype.kind not in "fiub" or s.dtype.itemsize == 2:
            raise InputError(
                "W must be a real matrix of 32 or 64 bits, a stack of them, a vector of singular "
                f"values or a LogSVD, got shape {s.shape} and dtype {s.dtype}."
            )
        X = jnp.asarray(s, s.dtype if s.dtype.kind == "f" else float)
        finite = (jnp if is_traced(X) else np).isfinite(X)
        error = InputError("W must be finite, got NaN or infinite entries: remove them first.")
        X = raise_if(X, ~finite.all(), error)
        log_s = log_singular_values(X) if X.ndim == 1 else log_spectrum(X)
    if not is_traced(log_s):
        values = np.asarray(log_s)
        if np.isnan(values).any():
            raise InputError(
                "W must hold singular values ≥ 0 where it is a vector, got a negative one or NaN."
            )
        if np.isneginf(values).all(-1).any():
            raise InputError("W must not vanish: a zero matrix has no effective or stable rank.")
    return log_s
