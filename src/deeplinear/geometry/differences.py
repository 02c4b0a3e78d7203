"""Divided differences of f(x, y) = λ_N(√x, √y)^q, where points may coincide.

Points that are close are joined by Gauss–Legendre quadrature of a derivative; farther apart the
quotient is taken. A difference says first which values and derivatives of f it needs, and all of
them are evaluated together: so a program holds f and its derivatives once, however many differences
there are (f is long, and compiling it is what a first call waits for).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .kernel import inverse_depth, kernel, log_gap, log_slope
from .leaf import Depth, Leaf, is_smooth_leaf, leaf_kernel, root_of_square

# Points within this distance, relative to the larger, are joined by quadrature, which is exact to
# rounding there; farther apart the quotient loses less than a digit (two of second order).
_NEAR = 0.2
_NODES = 0.5 * (1 + np.polynomial.legendre.leggauss(6)[0])
_WEIGHTS = 0.5 * np.polynomial.legendre.leggauss(6)[1]

# What is evaluated: f, f_x, and f_xx or f_xy. (f is symmetric: f_y is f_x with x and y exchanged.)
_VALUE, _SLOPE, _CURVATURE, _CROSS = range(4)


class _Request(NamedTuple):
    kind: int
    x: Array
    y: Array


Values = list[Array]
# What a difference needs, and how it is made of that.
_Difference = tuple[list[_Request], Callable[[Values], Array]]


def first_differences(
    a: Float[Array, " m"], b: Float[Array, " n"], N: Depth, q: int | float
) -> tuple[Array, Array]:
    """f[x_i, x_k; y_j] and f[x_i; y_j, y_l] of x = a², y = b², indexed ikj and jli."""
    at = is_smooth_leaf(N)
    wanted = [_firsts(a, b, at), *([_firsts(b, a, at)] if a.size != b.size else [])]
    found = _evaluated(wanted, N, q)
    return found[0], found[-1]


def second_differences(
    a: Float[Array, " m"], b: Float[Array, " n"], N: Depth, q: int | float
) -> tuple[tuple[Array, Array], tuple[Array, Array], Array]:
    """The differences of first and second order in x, the same in y, and f[x_i, x_k; y_j, y_l].

    Indexed ikj and iklj; jli and jlki; ikjl. Where a and b have one length they must be the same.
    """
    at = is_smooth_leaf(N)
    wanted = [_mixed(a, b, at), _firsts(a, b, at), _seconds(a, b, at)]
    if a.size != b.size:
        wanted += [_firsts(b, a, at), _seconds(b, a, at)]
    mixed, *found = _evaluated(wanted, N, q)
    return (found[0], found[1]), (found[-2], found[-1]), mixed


def _evaluated(wanted: list[_Difference], N: Depth, q: int | float) -> list[Array]:
    """The differences, with all that they need evaluated at once."""
    requests = [request for needed, _ in wanted for request in needed]
    x = jnp.concatenate([request.x.ravel() for request in requests])
    y = jnp.concatenate([request.y.ravel() for request in requests])
    kinds = np.concatenate([np.full(request.x.size, request.kind) for request in requests])
    ends = np.cumsum([request.x.size for request in requests])
    parts = iter(jnp.split(_derivatives(x, y, kinds, N, q), ends[:-1]))
    values = (next(parts).reshape(request.x.shape) for request in requests)
    out = []
    for needed, combine in wanted:
        out.append(combine([next(values) for _ in needed]))
    return out


def _derivatives(x: Array, y: Array, kinds: np.ndarray, N: Depth, q: int | float) -> Array:
    """At each point what its kind says: f, f_x, f_xx or f_xy, 0 in an argument that is 0.

    With f = e^{qL}, L = log λ of log a and log b: L_x = S_a/(2x), and S_a moves by −2 dS/dz with
    log a, by 2 dS/dz with log b, whichever is larger.
    """
    if isinstance(N, Leaf):
        return _leaf_derivatives(jnp.maximum(x, 0.0), jnp.maximum(y, 0.0), kinds, N.c, q)
    a, b, nu = _root(x), _root(y), inverse_depth(N, x.dtype)
    f = kernel(a, b, N) ** q
    S, change = log_slope(log_gap(a, b)[1], nu)
    S_a = jnp.where(a >= b, 2 * (1 - nu) - S, S)
    S_b = 2 * (1 - nu) - S_a
    per_x, per_y = (jnp.where(v > 0, 0.5 / jnp.where(v > 0, v, 1.0), 0.0) for v in (x, y))
    slope = q * S_a * per_x
    second = slope**2 - 2 * q * (change + S_a) * per_x**2
    cross = slope * (q * S_b * per_y) + 2 * q * change * per_x * per_y
    factor = jnp.where(kinds == _CURVATURE, second, jnp.where(kinds == _CROSS, cross, slope))
    return f * jnp.where(kinds == _VALUE, 1.0, factor)


def _leaf_derivatives(x: Array, y: Array, kinds: np.ndarray, c: Array, q: int | float) -> Array:
    """The same of λ^c, whose formula in the roots is a polynomial: its derivatives are exact."""

    def f(x: Array, y: Array) -> Array:
        return leaf_kernel(root_of_square(x, c), root_of_square(y, c), c) ** q

    def f_x(x: Array, y: Array) -> Array:
        return jax.jvp(lambda x: f(x, y), (x,), (jnp.ones_like(x),))[1]

    slope, second = jax.jvp(lambda x: f_x(x, y), (x,), (jnp.ones_like(x),))
    cross = jax.jvp(lambda y: f_x(x, y), (y,), (jnp.ones_like(y),))[1]
    factor = jnp.where(kinds == _CURVATURE, second, jnp.where(kinds == _CROSS, cross, slope))
    return jnp.where(kinds == _VALUE, f(x, y), factor)


def _root(x: Array) -> Array:
    return jnp.sqrt(jnp.maximum(x, 0.0))


def _along(numbers: np.ndarray, like: Array) -> Array:
    """``numbers`` along a new leading axis."""
    return jnp.asarray(numbers, like.dtype).reshape(-1, *(1 for _ in like.shape))


def _shaped(*arrays: Array) -> list[Array]:
    return list(jnp.broadcast_arrays(*arrays))


def _summed(weights: np.ndarray, values: Array) -> Array:
    """Σ_t w_t values[t], in the precision of the values."""
    return jnp.tensordot(weights.astype(values.dtype), values, 1)


def _first(x0: Array, x1: Array, y: Array, zeros: bool, *, cross: bool = False) -> _Difference:
    """f[x0, x1; y], or with ``cross`` that of f_y; 0 where both points are 0, unless ``zeros``.

    Without them singular values that are missing stay so, and never mix among themselves.
    """
    big = jnp.maximum(x0, x1)
    near = jnp.abs(x0 - x1) <= _NEAR * big
    counted = (big > 0) | zeros
    a, b = (jnp.where(near & counted, x, 1.0) for x in (x0, x1))
    nodes = a + _along(_NODES, a) * (b - a)
    inside = _Request(_CROSS if cross else _SLOPE, *_shaped(nodes, y))
    ends = [
        _Request(_SLOPE, *_shaped(y, x)) if cross else _Request(_VALUE, *_shaped(x, y))
        for x in (x0, x1)
    ]

    def combine(values: Values) -> Array:
        slopes, f0, f1 = values
        joined = _summed(_WEIGHTS, slopes)
        quotient = (f0 - f1) / jnp.where(near, 1.0, x0 - x1)
        return jnp.where(counted, jnp.where(near, joined, quotient), 0.0)

    return [inside, *ends], combine


def _firsts(a: Array, b: Array, zeros: bool) -> _Difference:
    """f[x_i, x_k; y_j], indexed ikj."""
    (i, k), ik = _symmetric(a.size, 2)
    x0, x1, y = _shaped(*(v[:, None] ** 2 for v in (a[i], a[k])), b**2)
    requests, combine = _first(x0, x1, y, zeros)
    return requests, lambda values: combine(values)[ik]


def _seconds(a: Array, b: Array, zeros: bool) -> _Difference:
    """f[x_i, x_k, x_l; y_j], indexed iklj: by Hermite and Genocchi where all three are close."""
    (i, k, l), ikl = _symmetric(a.size, 3)
    x0, x1, x2, y = _shaped(*(v[:, None] ** 2 for v in (a[i], a[k], a[l])), b**2)
    low = jnp.minimum(jnp.minimum(x0, x1), x2)
    high = jnp.maximum(jnp.maximum(x0, x1), x2)
    middle = jnp.maximum(jnp.minimum(x0, x1), jnp.minimum(jnp.maximum(x0, x1), x2))
    near = high - low <= _NEAR * high
    counted = (high > 0) | zeros
    p, q, r = (jnp.where(near & counted, x, 1.0) for x in (low, middle, high))
    s, t = (v.ravel() for v in np.meshgrid(_NODES, _NODES, indexing="ij"))
    nodes = p + _along(s, p) * ((q - p) + _along(t, p) * (r - q))
    weights = s * np.outer(_WEIGHTS, _WEIGHTS).ravel()
    upper, lower = _first(middle, high, y, zeros), _first(low, middle, y, zeros)

    def combine(values: Values) -> Array:
        joined = _summed(weights, values[0])
        difference = upper[1](values[1:4]) - lower[1](values[4:])
        quotient = difference / jnp.where(near, 1.0, high - low)
        return jnp.where(counted, jnp.where(near, joined, quotient), 0.0)[ikl]

    return [_Request(_CURVATURE, *_shaped(nodes, y)), *upper[0], *lower[0]], combine


def _mixed(a: Array, b: Array, zeros: bool) -> _Difference:
    """f[x_i, x_k; y_j, y_l], indexed ikjl: the difference in y of that in x."""
    ((i, k), ik), ((j, l), jl) = _symmetric(a.size, 2), _symmetric(b.size, 2)
    x0, x1, y0, y1 = _shaped(
        *(v[:, None] ** 2 for v in (a[i], a[k])), *(v**2 for v in (b[j], b[l]))
    )
    big = jnp.maximum(y0, y1)
    near = jnp.abs(y0 - y1) <= _NEAR * big
    counted = (big > 0) | zeros
    p, r = (jnp.where(near & counted, y, 1.0) for y in (y0, y1))
    nodes = p + _along(_NODES, p) * (r - p)
    inside_x0, inside_x1, inside_y = _shaped(x0, x1, nodes)
    inside = _first(inside_x0, inside_x1, inside_y, zeros, cross=True)
    ends = _first(x0, x1, y0, zeros), _first(x0, x1, y1, zeros)

    def combine(values: Values) -> Array:
        joined = _summed(_WEIGHTS, inside[1](values[:3]))
        difference = ends[0][1](values[3:6]) - ends[1][1](values[6:])
        quotient = difference / jnp.where(near, 1.0, y0 - y1)
        value = jnp.where(counted, jnp.where(near, joined, quotient), 0.0)
        return value[ik][:, :, jl]

    return [*inside[0], *ends[0][0], *ends[1][0]], combine


def _symmetric(size: int, order: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """The index tuples with i ≤ k ≤ …, and where each tuple of the full array is found among them.

    A divided difference is symmetric in its points, and so is evaluated once for each such tuple.
    """
    full = np.sort(np.stack(np.meshgrid(*[np.arange(size)] * order, indexing="ij"), -1), -1)
    unique, where = np.unique(full.reshape(-1, order), axis=0, return_inverse=True)
    return tuple(unique.T), where.reshape((size,) * order)
