"""Whether the derivatives of an energy are its derivatives, by the order of Taylor's remainder."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, PRNGKeyArray

from ..checks import check_matrix
from ..energies import Energy
from ..errors import InputError
from .result import Check

# Slopes are fitted over about a decade of h.
_PER_DECADE = 8
_WINDOW = 9


def gradient_check(
    energy: Energy,
    W: ArrayLike,
    Z: ArrayLike | None = None,
    *,
    key: PRNGKeyArray | None = None,
) -> Check:
    """Whether the gradient G that JAX takes of an energy is its gradient.

    The remainder of Taylor's formula

        r(h) = |E(W ± hZ) − E(W) ∓ h ⟨G, Z⟩|      (the larger of both)

    must fall like h² (or faster). A wrong gradient, by a custom rule or a kink at W, shows as
    r ~ h, at small h above all: the slope of log r is taken over the decade of the smallest h at
    which r stands clear, a hundred times, of rounding. Where it nowhere does (an energy linear
    along Z), the gradient is exact and the check passes.

    **Arguments**: ``W`` m×n; ``Z`` a direction, scaled to the length of W; by default random
    (``key``). Steps h lie in 1e−8 … 1 (float32: 1e−4 … 1).

    **Figures**: ``slope``, ``h``, ``remainder``, ``noise`` (the rounding of r), ``window`` (the
    first and last h of the fit).

    **Normalization**: the gradient is the Euclidean E′(W). **Raises** `InputError`. **Source**: the
    test of Manopt's checkgradient (Boumal, *An Introduction to Optimization on Smooth Manifolds*,
    §4.8), with the window at the small end.

    >>> import jax.numpy as jnp, numpy as np, deeplinear as dl
    >>> W = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> check = dl.verify.gradient_check(lambda W: jnp.sum(jnp.sin(W)), W)
    >>> bool(check), round(check.figures["slope"], 1)
    (True, 2.0)
    """
    return _taylor("gradient", energy, W, Z, key, 2)


def hessian_check(
    energy: Energy,
    W: ArrayLike,
    Z: ArrayLike | None = None,
    *,
    key: PRNGKeyArray | None = None,
) -> Check:
    """Whether the Hessian product H Z, JAX's derivative of the gradient along Z, is right.

    The remainder

        r(h) = |E(W ± hZ) − E(W) ∓ h ⟨G, Z⟩ − ½ h² ⟨Z, H Z⟩|

    must fall like h³ or faster, or be rounding (a quadratic energy). Everything else as in
    `gradient_check`.

    >>> import jax.numpy as jnp, numpy as np, deeplinear as dl
    >>> W = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> bool(dl.verify.hessian_check(lambda W: jnp.sum(jnp.sin(W)), W))
    True
    >>> bool(dl.verify.hessian_check(lambda W: jnp.sum(W**2), W))
    True
    """
    return _taylor("hessian", energy, W, Z, key, 3)


@eqx.filter_jit
def _remainders(
    energy: Energy, W: Array, Z: Array, h: Array, order: int
) -> tuple[Array, Array, Array]:
    """r(h), the rounding of its terms, and E at W + h (1 + i/1000) Z, i = 0 … 6."""
    scalar = lambda X: jnp.reshape(energy(X), ())  # noqa: E731
    E, G = jax.value_and_grad(scalar)(W)
    # Taylor's polynomial at ±h is even ± odd
    odd, even = h * jnp.sum(G * Z), E + 0 * h
    if order == 3:
        even = even + 0.5 * h**2 * jnp.sum(Z * jax.jvp(jax.grad(scalar), (W,), (Z,))[1])
    steps = h[:, None] * (1 + 1e-3 * jnp.arange(7, dtype=W.dtype))
    values = jax.lax.map(lambda t: scalar(W + t * Z), steps.ravel()).reshape(steps.shape)
    back = jax.lax.map(lambda t: scalar(W - t * Z), h)
    # to both sides: at a kink the gradient may be right on one
    remainder = jnp.maximum(jnp.abs(values[:, 0] - (even + odd)), jnp.abs(back - (even - odd)))
    rounding = jnp.finfo(W.dtype).eps * (jnp.abs(values[:, 0]) + jnp.abs(even) + jnp.abs(odd))
    return remainder, rounding, values


def _noise(h: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The rounding inside of E at each h, by differences of order six: its smooth part cancels.

    A step at which E shows none, because it is quantized, gets that of the others (up to h = 0.1:
    far away E may be of another size).
    """
    difference = np.abs(np.diff(values, n=6, axis=1)[:, 0]) / math.sqrt(math.comb(12, 6))
    return np.maximum(difference, np.max(difference[h <= 0.1]))


def _taylor(
    name: str,
    energy: Energy,
    W: ArrayLike,
    Z: ArrayLike | None,
    key: PRNGKeyArray | None,
    order: int,
) -> Check:
    """The check that the remainder of Taylor's formula falls like h^order."""
    W = check_matrix(W)
    key = jax.random.key(0) if key is None else key
    Z = jax.random.normal(key, W.shape, W.dtype) if Z is None else check_matrix(Z, "Z")
    length = float(np.linalg.norm(Z))
    if Z.shape != W.shape or length == 0:
        raise InputError(
            f"Z must be a direction of the shape {W.shape} of W and not vanish, got shape "
            f"{Z.shape}."
        )
    Z = Z * ((float(np.linalg.norm(W)) or 1.0) / length)
    decades = 8 if W.dtype == jnp.float64 else 4
    h = np.logspace(-decades, 0, decades * _PER_DECADE + 1)
    remainder, rounding, values = map(
        np.asarray, list(_remainders(energy, W, Z, jnp.asarray(h, W.dtype), order))
    )
    noise = rounding + _noise(h, values.astype(float))
    figures: dict[str, float | np.ndarray | tuple[float, float]] = {
        "h": h,
        "remainder": remainder,
        "noise": noise,
    }
    if not np.isfinite(remainder).all():
        return Check(
            name, False, {**figures, "slope": np.nan}, "E or its derivatives are not finite near W."
        )
    # steps at which the remainder stands clear of rounding
    clear = np.flatnonzero(remainder > 100 * noise)
    if clear.size < _WINDOW:
        return Check(
            name,
            True,
            {**figures, "slope": np.inf},
            "Taylor's remainder is rounding: the derivatives are exact.",
        )
    window = clear[:_WINDOW]
    slope = float(np.polyfit(np.log(h[window]), np.log(remainder[window]), 1)[0])
    figures |= {"slope": slope, "window": (h[window[0]], h[window[-1]])}
    passed = slope > order - 0.15
    verdict = "as it must" if passed else "so that the derivatives are not those of E"
    return Check(
        name,
        passed,
        figures,
        f"Taylor's remainder falls like h^{slope:.2f} (h^{order} is right), {verdict}.",
    )
