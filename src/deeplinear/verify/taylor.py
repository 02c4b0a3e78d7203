"""Whether the derivatives of an energy are its derivatives, by the order of Taylor's remainder."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, PRNGKeyArray

from ..checks import check_matrix
from ..errors import InputError
from .result import Check

# Slopes are fitted over about a decade of h.
_PER_DECADE = 8
_WINDOW = 9


def gradient_check(
    energy: Callable[[Array], Array], W: ArrayLike, Z: ArrayLike | None = None, *, key: PRNGKeyArray | None = None
) -> Check:
    """Whether the gradient G that JAX takes of an energy is its gradient: the remainder of Taylor's formula

        r(h) = |E(W + hZ) − E(W) − h ⟨G, Z⟩|

    must fall like h² (or faster). A wrong gradient, by a custom rule or a kink at W, shows as r ~ h, at small h above all: the slope of
    log r is taken over the decade of the smallest h at which r stands clear of rounding. Where it nowhere does (an energy linear
    along Z), the gradient is exact and the check passes.

    **Arguments**: ``W`` m×n; ``Z`` a direction, scaled to the length of W; by default random (``key``). Steps h lie in 1e−8 … 1
    (float32: 1e−4 … 1).

    **Figures**: ``slope``, ``h``, ``remainder``, ``noise`` (the rounding of r), ``window`` (the first and last h of the fit).

    **Normalization**: the gradient is the Euclidean E′(W). **Raises** `InputError`. **Source**: the test of Manopt's checkgradient (Boumal,
    *An Introduction to Optimization on Smooth Manifolds*, §4.8), with the window at the small end.

    >>> import jax.numpy as jnp, numpy as np, deeplinear as dl
    >>> check = dl.verify.gradient_check(lambda W: jnp.sum(jnp.sin(W)), np.array([[1.0, 2.0], [3.0, 4.0]]))
    >>> bool(check), round(check.figures["slope"], 1)
    (True, 2.0)
    """
    return _taylor("gradient", energy, W, Z, key, 2)


def hessian_check(
    energy: Callable[[Array], Array], W: ArrayLike, Z: ArrayLike | None = None, *, key: PRNGKeyArray | None = None
) -> Check:
    """Whether the Hessian product H Z, the derivative of the gradient by JAX along Z, is right: the remainder

        r(h) = |E(W + hZ) − E(W) − h ⟨G, Z⟩ − ½ h² ⟨Z, H Z⟩|

    must fall like h³ or faster, or be rounding (a quadratic energy). Everything else as in `gradient_check`.

    >>> import jax.numpy as jnp, numpy as np, deeplinear as dl
    >>> W = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> bool(dl.verify.hessian_check(lambda W: jnp.sum(jnp.sin(W)), W)), bool(dl.verify.hessian_check(lambda W: jnp.sum(W**2), W))
    (True, True)
    """
    return _taylor("hessian", energy, W, Z, key, 3)


@eqx.filter_jit
def _remainders(energy: Any, W: Array, Z: Array, h: Array, jitter: Array, order: int) -> tuple[Array, ...]:
    """r(h) and its rounding level."""
    scalar = lambda X: jnp.reshape(energy(X), ())  # noqa: E731
    E, G = jax.value_and_grad(scalar)(W)
    terms = [E + 0 * h, h * jnp.sum(G * Z)]
    if order == 3:
        terms.append(0.5 * h**2 * jnp.sum(Z * jax.jvp(jax.grad(scalar), (W,), (Z,))[1]))
    values = jax.lax.map(lambda t: scalar(W + t * Z), h)
    remainder = jnp.abs(values - sum(terms))
    # Rounding of the terms, and that of W inside of E, as a few roundings of W show it.
    moved = jnp.max(jnp.abs(jax.lax.map(lambda d: scalar(W + d), jitter) - E))
    noise = jnp.finfo(W.dtype).eps * (jnp.abs(values) + sum(map(jnp.abs, terms)))
    return remainder, noise + moved


def _taylor(name: str, energy: Any, W: ArrayLike, Z: Any, key: PRNGKeyArray | None, order: int) -> Check:
    W = check_matrix(W)
    seed, noise_seed = jax.random.split(jax.random.key(0) if key is None else key)
    Z = jax.random.normal(seed, W.shape, W.dtype) if Z is None else check_matrix(Z, "Z")
    length = float(np.linalg.norm(Z))
    if Z.shape != W.shape or length == 0:
        raise InputError(f"Z must be a direction of the shape {W.shape} of W and not vanish, got shape {Z.shape}.")
    Z = Z * ((float(np.linalg.norm(W)) or 1.0) / length)
    decades = 8 if W.dtype == jnp.float64 else 4
    h = np.logspace(-decades, 0, decades * _PER_DECADE + 1)
    signs = jax.random.rademacher(noise_seed, (8, *W.shape), W.dtype)
    jitter = signs * jnp.finfo(W.dtype).eps * jnp.abs(W)
    result = _remainders(energy, W, Z, jnp.asarray(h, W.dtype), jitter, order)
    remainder, noise = (np.asarray(x) for x in result)
    figures: dict[str, Any] = {"h": h, "remainder": remainder, "noise": noise}
    if not np.isfinite(remainder).all():
        return Check(name, False, {**figures, "slope": np.nan}, "E or its derivatives are not finite near W.")
    clear = np.flatnonzero(remainder > 30 * noise)
    if clear.size < _WINDOW // 2:
        return Check(
            name, True, {**figures, "slope": np.inf}, "Taylor's remainder is rounding: the derivatives are exact."
        )
    window = clear[:_WINDOW]
    slope = float(np.polyfit(np.log(h[window]), np.log(remainder[window]), 1)[0])
    figures |= {"slope": slope, "window": (h[window[0]], h[window[-1]])}
    passed = slope > order - 0.15
    verdict = "as it must" if passed else "so that the derivatives are not those of E"
    return Check(name, passed, figures, f"Taylor's remainder falls like h^{slope:.2f} (h^{order} is right), {verdict}.")
