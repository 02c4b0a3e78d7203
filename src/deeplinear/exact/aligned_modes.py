"""Singular values of a network whose singular vectors are those of the target from the start.

They move apart from each other, σ̇ = σ^{2−2/N} (s − σ), and the time is an integral of known
functions of σ.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import ArrayLike, Float

from ..checks import check_depth, check_numbers
from ..errors import InputError
from ..transforms import needs_values

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)
_PANELS = 32
_FAR = 40.0  # e^{−40} is below rounding
_END = 745.0  # e^{−745} is the smallest number
_HALVINGS = 64


@needs_values
def aligned_time(
    sigma0: ArrayLike, sigma: ArrayLike, target: ArrayLike, depth: ArrayLike
) -> Float[np.ndarray, "..."]:
    """When a singular value that started at σ_0 is at σ, on its way to s:

        t = ∫_{σ_0}^{σ} dx / (x^{2−2/N} (s − x)),

    for E(W) = ½‖W − S‖_F² (or regression on whitened inputs) from a balanced start with the
    singular vectors of S. With σ = s/2 it is the time at which the mode has switched on: about
    log(s/σ_0)/s at N = 2, and σ_0^{−(1−2/N)}/((1 − 2/N) s) for small σ_0 at larger N.

    **Shapes**: the arguments broadcast. 0 < σ_0 and 0 < σ, both on one side of s ≥ 0, and σ not
    before σ_0; at σ = s the time is ∞, from s itself 0. **Normalization**: [CMV]'s time; the time
    of gradient flow on the factors is N times shorter. **Accuracy**: 1e−13 relative, in float64.

    **Raises** `InputError`, `DepthError`. **Source**: Saxe, McClelland, Ganguli 2014 (N = 2);
    Arora, Cohen, Hazan 2018; theory: σ̇ = λ_N(σ, σ)(s − σ).

    >>> import deeplinear as dl
    >>> float(dl.exact.aligned_time(0.01, 0.5, 1.0, 2))  # log 99
    4.59511985013459
    """
    check_depth(depth)
    x0, x, s, nu = _checked(depth, sigma0=sigma0, sigma=sigma, target=target)
    if (((x0 == 0) | (x == 0)) & (nu < 1)).any():
        raise InputError(
            "sigma0 and sigma must be positive at depth > 1: a zero singular value never moves."
        )
    if ((x0 - s) * (x - s) < 0).any() or (abs(x - s) > abs(x0 - s)).any():
        raise InputError("sigma must lie between sigma0 and target: the flow passes nothing else.")
    with np.errstate(all="ignore"):
        start, end = _position(x0, s), _position(x, s)
        time = s ** (2 * nu - 2) * _time(start, end, nu, x0 > s)
        # to s = 0: ∫ x^{2ν−3} dx
        q = 2 - 2 * nu
        decay = np.where(q > 0, (x**-q - x0**-q) / np.where(q > 0, q, 1.0), np.log(x0 / x))
        time = np.where(s == 0, decay, time)
        time = np.where((nu == 1) & (s > 0), np.log1p((x - x0) / (s - x)), time)
    return np.where(x0 == x, 0.0, time)


@needs_values
def aligned(
    sigma0: ArrayLike, target: ArrayLike, depth: ArrayLike, t: ArrayLike
) -> Float[np.ndarray, "..."]:
    """The singular value σ(t) of a network that is aligned with its target:

        σ̇ = σ^{2−2/N} (s − σ),   σ(0) = σ_0,

    for E(W) = ½‖W − S‖_F² (or regression on whitened inputs) from a balanced start with the
    singular vectors of S. N = 1: s + (σ_0 − s) e^{−t}; N = 2: the logistic function
    s/(1 + (s/σ_0 − 1) e^{−st}); otherwise `aligned_time`, inverted.

    **Shapes**: the arguments broadcast; σ_0, s, t ≥ 0. A zero singular value stays 0. **Time**,
    **accuracy** and **source** as in `aligned_time`. **Raises** `InputError`, `DepthError`.

    >>> import deeplinear as dl
    >>> dl.exact.aligned(0.01, 1.0, (1, 2, 3, float("inf")), 5.0).round(4).tolist()
    [0.9933, 0.5999, 0.0368, 0.0105]
    """
    check_depth(depth)
    x0, s, t, nu = _checked(depth, sigma0=sigma0, target=target, t=t)
    with np.errstate(all="ignore"):
        moving = (x0 > 0) & (x0 != s) & (t > 0)
        start, goal = np.where(moving & (s > 0), x0, 0.5), np.where(moving & (s > 0), s, 1.0)
        moved = _inverted(start, goal, nu, np.where(moving & (s > 0), t, 0.0))
        # to s = 0 like a power: d(σ^{−q})/dt = q with q = 2 − 2ν
        q = 2 - 2 * nu
        safe = np.where(x0 > 0, x0, 1.0)
        decayed = safe * np.where(
            q > 0, np.exp(-np.log1p(q * safe**q * t) / np.where(q > 0, q, 1.0)), np.exp(-t)
        )
        first = x0 * np.exp(-t) - s * np.expm1(-t)
    value = np.where(s > 0, moved, decayed)
    value = np.where(nu == 1, first, np.where(moving, value, x0))
    return np.where(x0 == 0, np.where(nu == 1, first, 0.0), value)


def _checked(depth: ArrayLike, **values: ArrayLike) -> tuple[np.ndarray, ...]:
    """All as arrays of one shape, and ν = 1/N."""
    arrays = {name: check_numbers(value, name) for name, value in values.items()}
    try:
        return tuple(np.broadcast_arrays(*arrays.values(), 1 / np.asarray(depth, float)))
    except ValueError:
        shapes = ", ".join(f"{name} {value.shape}" for name, value in arrays.items())
        raise InputError(f"{shapes} and depth {np.shape(depth)} must broadcast.") from None


def _position(x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Where x is between 0, s and ∞, in a coordinate that keeps the digits of x and of s − x.

    Below s it is u = log(x/(s − x)), above s it is ℓ = log log(x/s); both move at a finite speed.
    """
    log_ratio = np.where(abs(x - s) < s / 2, np.log1p((x - s) / s), np.log(x) - np.log(s))
    return np.where(x > s, np.log(abs(log_ratio)), np.log(x) - np.log(abs(s - x)))


def _value(position: np.ndarray, s: np.ndarray, above: np.ndarray) -> np.ndarray:
    """x at a position."""
    u = np.where(above, 0.0, position)
    below = s * np.where(u > 0, 1 / (1 + np.exp(-abs(u))), np.exp(-abs(u)) / (1 + np.exp(-abs(u))))
    return np.where(above, s * np.exp(np.exp(np.where(above, position, -np.inf))), below)


def _time(start: np.ndarray, end: np.ndarray, nu: np.ndarray, above: np.ndarray) -> np.ndarray:
    """s^{2−2ν} t between two positions: sums of terms of one sign, in which nothing cancels.

    Below s the time is ∫ (1 + e^{−u})^p du with p = 1 − 2ν, above it is ∫ v e^{−pv}/(e^v − 1) dℓ
    with v = e^ℓ.
    """
    p = 1 - 2 * nu
    zero = np.zeros_like(p)

    def early(u: np.ndarray, p: np.ndarray) -> np.ndarray:
        return np.exp(-p * u) * np.expm1(p * np.log1p(np.exp(u)))

    def late(u: np.ndarray, p: np.ndarray) -> np.ndarray:
        return np.expm1(p * np.log1p(np.exp(-u)))

    def higher(l: np.ndarray, p: np.ndarray) -> np.ndarray:
        v = np.exp(l)
        return np.where(v < 1e-300, 1.0, v * np.exp(-p * v) / np.expm1(np.where(v > 0, v, 1.0)))

    a, b = np.minimum(start, 0), np.minimum(end, 0)
    safe = np.where(p == 0, 1.0, p)
    power = np.where(p == 0, b - a, -np.exp(-p * a) * np.expm1(-safe * (b - a)) / safe)
    # beyond 40 the correction is below rounding
    lower = power + _integral(early, np.maximum(a, -_FAR), np.maximum(b, -_FAR), p)
    a, b = np.maximum(start, 0), np.maximum(end, 0)
    upper = (b - a) + _integral(late, np.minimum(a, _FAR), np.minimum(b, _FAR), p)
    from_above = _integral(higher, np.where(above, end, zero), np.where(above, start, zero), p)
    return np.where(above, from_above, lower + upper)


def _integral(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    a: np.ndarray,
    b: np.ndarray,
    p: np.ndarray,
) -> np.ndarray:
    """∫_a^b of an analytic function, by Gauss and Legendre on panels."""
    at = (np.arange(_PANELS)[:, None] + (_NODES + 1) / 2).ravel() / _PANELS
    weights = np.tile(_WEIGHTS, _PANELS) / (2 * _PANELS)
    x = a[..., None] + (b - a)[..., None] * at
    return (b - a) * (function(x, p[..., None]) @ weights)


def _inverted(x0: np.ndarray, s: np.ndarray, nu: np.ndarray, t: np.ndarray) -> np.ndarray:
    """σ(t), by halving: the time is monotone in the position."""
    start, above = _position(x0, s), x0 > s
    goal = s ** (2 - 2 * nu) * t
    # the speed lies between those at the start and at s, where it is 1
    v = np.where(above, np.exp(np.where(above, start, 0.0)), 1.0)
    own = np.where(above, np.exp((1 - 2 * nu) * v) * np.expm1(v) / v, (x0 / s) ** (1 - 2 * nu))
    slow, fast = np.minimum(own, 1.0) * goal, np.maximum(own, 1.0) * goal
    sign = np.where(above, -1.0, 1.0)
    near, far = start + sign * slow, np.clip(start + sign * fast, -_END, _END)
    near = np.clip(near, -_END, _END)
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        early = _time(start, middle, nu, above) < goal
        near, far = np.where(early, middle, near), np.where(early, far, middle)
    return _value((near + far) / 2, s, above)
