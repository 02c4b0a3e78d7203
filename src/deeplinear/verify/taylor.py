"""Whether the derivatives of an energy are its derivatives, by the order of Taylor's remainder."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from ..checks import RandomKey, check_key, check_matrix, one_precision
from ..compilation import program
from ..energies import Energy, check_energy
from ..errors import InputError
from ..transforms import needs_values
from .result import Check

# Steps h, relative to W: so many a decade, over so many decades below 1 (64 and 32 bits), and up to
# a length of 1 where W is smaller. The smallest serve energies that vary fast beside the size of W.
_PER_DECADE = 8
_DECADES = {8: 14, 4: 6}
_LONGEST = 8
# Slopes are fitted over about a decade of h.
_WINDOW = 9
# Extrapolation to h = 0 by a polynomial in h² through every second of nine steps.
_NODES = np.arange(0, 9, 2)
# The rounding of E shows in its differences from so many steps on, of those where it shows in E.
_AHEAD = 20
# A check that resolves less than this sees nothing.
_BLIND = 1e-2


@needs_values
def gradient_check(
    energy: Energy,
    W: ArrayLike,
    Z: ArrayLike | None = None,
    *,
    key: RandomKey | None = None,
) -> Check:
    """Whether the gradient G that JAX takes of an energy is its gradient.

    The remainder of Taylor's formula

        r(h) = |E(W ± hZ) − E(W) ∓ h ⟨G, Z⟩|      (the larger of both)

    must fall like h² (or faster). A wrong gradient, by a custom rule or a kink at W, shows as
    r ~ h, at small h above all: the slope of log r is taken over the decade of the smallest h at
    which r stands clear, a hundred times, of rounding. Where it nowhere does (an energy linear
    along Z), there is no slope to judge. An error too small for that shows beside the symmetric
    differences (E(W + hZ) − E(W − hZ))/2h, extrapolated to h = 0 from the scale at which they are
    most accurate: ⟨G, Z⟩ must agree with them to ten times their own error. What this
    ``resolution`` is, relative to the slope of E, the result says; a check that resolves less than
    1e−2 (an energy that is rounded too much, or varies faster than W is known) fails.

    **Arguments**: ``W`` m×n; ``Z`` a direction, scaled to the length of W; by default random
    (``key``, a JAX random key or an integer seed). Steps h lie in 1e−14 … 1 (float32: 1e−6 … 1),
    and further up to a length of 1 where W is smaller.

    **Figures**: ``slope``, ``h``, ``remainder``, ``noise`` (the rounding of r), ``window`` (the
    first and last h of the fit); ``difference`` (of ⟨G, Z⟩ and the extrapolated differences) and
    ``resolution``, both relative to the larger of ‖G‖‖Z‖ and the slope of E over the steps used.

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


@needs_values
def hessian_check(
    energy: Energy,
    W: ArrayLike,
    Z: ArrayLike | None = None,
    *,
    key: RandomKey | None = None,
) -> Check:
    """Whether the Hessian product H Z, JAX's derivative of the gradient along Z, is right.

    The remainder

        r(h) = |E(W ± hZ) − E(W) ∓ h ⟨G, Z⟩ − ½ h² ⟨Z, H Z⟩|

    must fall like h³ or faster, or be rounding (a quadratic energy), and ⟨Z, H Z⟩ must agree with
    the second differences of E. Everything else as in `gradient_check`.

    >>> import jax.numpy as jnp, numpy as np, deeplinear as dl
    >>> W = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> bool(dl.verify.hessian_check(lambda W: jnp.sum(jnp.sin(W)), W))
    True
    >>> bool(dl.verify.hessian_check(lambda W: jnp.sum(W**2), W))
    True
    """
    return _taylor("hessian", energy, W, Z, key, 3)


class _Samples(NamedTuple):
    """E along a line: at W, its derivatives there as JAX has them, and at the steps h."""

    E: np.ndarray
    first: np.ndarray  # ⟨G, Z⟩
    second: np.ndarray  # ⟨Z, H Z⟩, where it was asked for
    size: np.ndarray  # ‖G‖ ‖Z‖
    values: np.ndarray  # E(W + h (1 + i/1000) Z), i = 0 … 6
    back: np.ndarray  # E(W − h Z)


@program
def _samples(energy: Energy, W: Array, Z: Array, h: Array, order: int) -> tuple[Array, ...]:
    scalar = lambda X: jnp.reshape(energy(X), ())  # noqa: E731
    E, G = jax.value_and_grad(scalar)(W)
    second = jnp.sum(Z * jax.jvp(jax.grad(scalar), (W,), (Z,))[1]) if order == 3 else 0 * E
    steps = h[:, None] * (1 + 1e-3 * jnp.arange(7, dtype=W.dtype))
    values = jax.lax.map(lambda t: scalar(W + t * Z), steps.ravel()).reshape(steps.shape)
    back = jax.lax.map(lambda t: scalar(W - t * Z), h)
    size = jnp.linalg.norm(G) * jnp.linalg.norm(Z)
    return E, jnp.sum(G * Z), second, size, values, back


def _noise(values: np.ndarray) -> np.ndarray:
    """The rounding inside of E at each h, by differences of order six: its smooth part cancels.

    A step at which E shows none, because it is quantized, gets that of smaller ones and of the next
    ones. (Farther away E may be of another size, or not smooth at the scale of the step.)
    """
    difference = np.abs(np.diff(values, n=6, axis=1)[:, 0]) / math.sqrt(math.comb(12, 6))
    difference = np.where(np.isnan(difference), 0.0, difference)
    ahead = np.minimum(np.arange(difference.size) + _AHEAD, difference.size - 1)
    return np.maximum.accumulate(difference)[ahead]


def _extrapolated(
    h: np.ndarray, quotient: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The limits h → 0 of even functions, from each window of nine steps, and their errors."""
    # the same nodes in each window, up to scale: one set of weights, and one without the largest
    ratio = 10.0 ** (2 * _NODES / _PER_DECADE)
    weights = [_weights_at_zero(ratio), np.append(_weights_at_zero(ratio[:-1]), 0.0)]
    index = np.arange(h.size - _NODES[-1])[:, None] + _NODES
    with np.errstate(invalid="ignore", over="ignore"):
        fine, coarse = (quotient[index] @ w for w in weights)
        truncation = np.abs(fine - coarse)
        drift = np.abs(np.diff(fine, prepend=fine[:1], append=fine[-1:]))
        beside = np.maximum(drift[1:], drift[:-1])
        error = np.maximum(truncation, beside) + noise[index] @ np.abs(weights[0])
    return fine, np.where(np.isfinite(error), error, np.inf)


def _weights_at_zero(x: np.ndarray) -> np.ndarray:
    """The weights of the polynomial through (x, y) at 0, by Lagrange."""
    return np.array([np.prod(np.delete(x, i) / (np.delete(x, i) - x[i])) for i in range(x.size)])


def _agreement(
    h: np.ndarray, sampled: _Samples, noise: np.ndarray, order: int
) -> tuple[bool, float, float]:
    """Whether the derivative agrees with the differences; the difference, and what is resolved."""
    forth, back = sampled.values[:, 0], sampled.back
    power = order - 1
    if order == 2:
        value, size, difference = sampled.first, float(sampled.size), (forth - back) / 2
    else:
        value, size = sampled.second, 0.0
        difference, noise = (forth - sampled.E) + (back - sampled.E), 4 * noise
    limit, error = _extrapolated(h, difference / h**power, noise / h**power)
    gap = np.abs(limit - value)
    rise = np.maximum(np.abs(forth - sampled.E), np.abs(back - sampled.E))[_NODES[-1] :]
    scale = rise / h[_NODES[-1] :] ** power
    # Where E varies faster than the steps its differences say nothing about its derivative.
    error = np.where((error <= _BLIND / 10 * scale) | (rise == 0), error, np.inf)
    best = int(np.argmin(error))
    # Agreement at a smaller scale wins, where it is sharper than the gap at this one: what varies
    # at that scale is noise at this one.
    finer = np.flatnonzero((gap[:best] <= 10 * error[:best]) & (100 * error[:best] < gap[best]))
    if finer.size:
        best = int(finer[np.argmin(error[finer])])
    unit = max(size, float(abs(value)), float(scale[best])) or 1.0
    resolution = float(10 * error[best] / unit)
    return bool(gap[best] <= 10 * error[best]), float(gap[best] / unit), resolution


def _taylor(
    name: str,
    energy: Energy,
    W: ArrayLike,
    Z: ArrayLike | None,
    key: RandomKey | None,
    order: int,
) -> Check:
    """The check that the remainder of Taylor's formula falls like h^order."""
    W, Z = _line(energy, W, Z, key)
    length = float(np.linalg.norm(W)) or 1.0
    down, up = _DECADES[W.dtype.itemsize], min(max(0, math.ceil(-math.log10(length))), _LONGEST)
    h = np.logspace(-down, up, (down + up) * _PER_DECADE + 1)
    sampled = _Samples(
        *(np.asarray(x, float) for x in _samples(energy, W, Z, jnp.asarray(h, W.dtype), order))
    )
    # Taylor's polynomial at ±h is even ± odd
    odd, even = h * sampled.first, sampled.E + 0.5 * h**2 * sampled.second
    forth, back = sampled.values[:, 0], sampled.back
    # to both sides: at a kink the gradient may be right on one
    with np.errstate(invalid="ignore"):  # far away E may be infinite
        remainder = np.maximum(np.abs(forth - (even + odd)), np.abs(back - (even - odd)))
        rounding = np.abs(forth) + np.abs(even) + np.abs(odd)
        noise = float(jnp.finfo(W.dtype).eps) * rounding + _noise(sampled.values)
    figures: dict[str, object] = {"h": h, "remainder": remainder, "noise": noise}
    if not np.isfinite(remainder[h < 0.1]).all():
        figures |= {"slope": np.nan, "resolution": np.inf}
        return Check(name, False, figures, "E or its derivatives are not finite near W.")
    agrees, difference, resolution = _agreement(h, sampled, noise, order)
    figures |= {"difference": difference, "resolution": resolution}
    slope, window = _first_slope(h, remainder, noise)
    figures |= {"window": window} if window else {}
    figures["slope"] = slope
    falls = slope > order - 0.15
    passed = falls and agrees and resolution < _BLIND
    return Check(name, passed, figures, _verdict(order, falls, agrees, figures))


def _first_slope(
    h: np.ndarray, remainder: np.ndarray, noise: np.ndarray
) -> tuple[float, tuple[float, float] | None]:
    """The slope of log r at the smallest steps where r stands clear of rounding, and their ends.

    Infinite where there are none. What does not fall with h at all is rounding that E itself hides
    (by computing in fewer digits than it returns).
    """
    clear = np.flatnonzero((remainder > 100 * noise) & (remainder < np.inf))
    for start in range(clear.size - _WINDOW + 1):
        window = clear[start : start + _WINDOW]
        slope = float(np.polyfit(np.log(h[window]), np.log(remainder[window]), 1)[0])
        if slope > 0.5:
            return slope, (float(h[window[0]]), float(h[window[-1]]))
    return math.inf, None


def _line(
    energy: Energy, W: ArrayLike, Z: ArrayLike | None, key: RandomKey | None
) -> tuple[Array, Array]:
    """W and the direction, scaled to the length of W, in the precision of the energy."""
    W = check_matrix(W)
    key = check_key(0 if key is None else key)
    Z = jax.random.normal(key, W.shape, W.dtype) if Z is None else check_matrix(Z, "Z")
    length = float(np.linalg.norm(Z))
    if Z.shape != W.shape or length == 0:
        raise InputError(
            f"Z must be a direction of the shape {W.shape} of W and not vanish, got shape "
            f"{Z.shape}."
        )
    W, Z = one_precision((W, Z))
    W = W.astype(check_energy(energy, W.shape, W.dtype))
    return W, (Z * ((float(np.linalg.norm(W)) or 1.0) / length)).astype(W.dtype)


def _verdict(order: int, falls: bool, agrees: bool, figures: Mapping[str, Any]) -> str:
    slope, resolution = figures["slope"], figures["resolution"]
    if not resolution < _BLIND:
        return (
            f"E is rounded too much near W, or varies too fast, for its differences to show its "
            f"derivative (resolution {resolution:.0e}): nothing was checked."
        )
    if not falls:
        return (
            f"Taylor's remainder falls like h^{slope:.2f} (h^{order} is right), so that the "
            "derivatives are not those of E."
        )
    if not agrees:
        return (
            f"The derivative differs from the differences of E by {figures['difference']:.1e} of "
            f"its size, and {resolution:.0e} is resolved: it is not that of E."
        )
    fall = "is rounding" if math.isinf(slope) else f"falls like h^{slope:.2f} (h^{order} is right)"
    return (
        f"Taylor's remainder {fall}, and the differences of E agree; a relative error above "
        f"{resolution:.0e} would show."
    )
