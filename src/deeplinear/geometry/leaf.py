"""Isotropic leaves: balanced networks and all others whose imbalances are multiples of I.

Gradient flow on the factors conserves D_p = W_{p+1}ᵀW_{p+1} − W_pW_pᵀ. Where it is
(c_{p+1} − c_p) I, the theory of balanced factors holds with the root x(σ) of
P(x) = ∏_p (x + c_p) = σ² in the place of σ^{2/N}.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..checks import check_integer_depth, check_known
from ..errors import InputError

# Newton's method for the root is monotone, and the error squares: more never changed a digit.
_STEPS = 30


def check_imbalance(imbalance: ArrayLike | Sequence[int | float], depth: int | None) -> np.ndarray:
    """(c_1, …, c_N) with min c = 0, of a sequence or of a number δ for c_p = (p − 1)δ.

    `InputError` where c is no vector of N finite numbers, `DepthError` where N is no integer.
    """
    check_known(imbalance, "imbalance")
    check_known(depth, "depth")
    try:
        c = np.asarray(imbalance, float)
    except (TypeError, ValueError):
        raise InputError(
            f"imbalance must be a finite number or vector, got {imbalance!r}."
        ) from None
    if depth is not None:
        depth = check_integer_depth(depth)
    if c.ndim == 0 and depth is None:
        raise InputError("imbalance must be (c_1, …, c_N), or depth given beside a number.")
    if c.ndim == 0 and depth is not None:
        c = c * np.arange(depth)
    if c.ndim != 1 or c.size == 0 or not np.isfinite(c).all():
        raise InputError(f"imbalance must be a finite number or vector, got {imbalance!r}.")
    if depth is not None and c.size != depth:
        raise InputError(f"imbalance must hold depth = {depth} numbers, got {c.size}.")
    return c - c.min()


def log_root(log_s: Float[Array, "..."], c: Float[ArrayLike, " N"]) -> Float[Array, "..."]:
    """log x of the root x ≥ 0 of ∏_p (x + c_p) = σ², from log σ and c with min c = 0.

    Σ_p log(e^ℓ + c_p) is convex and increasing in ℓ = log x, so that Newton's method comes down to
    the root from any point above it. Differentiable in log σ; −∞ at σ = 0.
    """
    return _log_root(log_s, jnp.asarray(c, log_s.dtype))


@jax.custom_jvp
def _log_root(log_s: Array, c: Array) -> Array:
    present = ~jnp.isneginf(log_s)
    goal = 2 * jnp.where(present, log_s, 0.0)[..., None]
    # two bounds: every factor is at least x, and at least its own c
    zeros = jnp.sum(c == 0)
    rest = jnp.sum(jnp.log(jnp.where(c == 0, 1.0, c)))
    start = jnp.minimum(goal / c.size, (goal - rest) / zeros)

    def step(_: int, l: Array) -> Array:
        # log(e^ℓ + c) = max(ℓ, log c) + log(1 + e^{−|ℓ − log c|})
        excess = jnp.sum(jnp.logaddexp(l, jnp.log(c)), -1, keepdims=True) - goal
        return l - excess / _slope(l, c)[..., None]

    root = jax.lax.fori_loop(0, _STEPS, step, start)[..., 0]
    return jnp.where(present, root, -jnp.inf)


def _slope(l: Array, c: Array) -> Array:
    """d log P / d log x = Σ_p x/(x + c_p), between the number of zeros among c and N."""
    return jnp.sum(jax.nn.sigmoid(l - jnp.log(c)), -1)


@_log_root.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    log_s, c = primals
    root = _log_root(log_s, c)
    finite = jnp.where(jnp.isneginf(root), 0.0, root)
    return root, 2 * tangents[0] / _slope(finite[..., None], c)


def leaf_kernel(x: Array, y: Array, c: Float[ArrayLike, " N"]) -> Array:
    """λ^c = (P(x) − P(y)) / (N (x − y)) of two roots x, y.

    As (1/N) Σ_p ∏_{q<p} (x + c_q) ∏_{q>p} (y + c_q) it is a sum of positive terms, exact at ties.
    **Normalization**: [CMV]'s, with 1/N.
    """
    c = jnp.asarray(c, x.dtype)
    lower = [jnp.ones_like(x)]
    upper = [jnp.ones_like(y)]
    for p in range(c.size - 1):
        lower.append(lower[-1] * (x + c[p]))
        upper.append(upper[-1] * (y + c[c.size - 1 - p]))
    products = [a * b for a, b in zip(lower, reversed(upper), strict=True)]
    return jnp.sum(jnp.stack(products), axis=0) / c.size
